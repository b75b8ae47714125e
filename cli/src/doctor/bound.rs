//! Checks tokens that are bound to a key or a certificate, which only their clients have.

use tower_introspect::{
    checks::Check,
    credentials::Token,
    verify::{Verifier as _, VerifyRequest},
};

use super::{Doctor, tokens::Seen};
use crate::diagnosis::Setting;

impl Doctor<'_> {
    /// Reports a token that is bound to a key or a certificate, which only its client has.
    pub(super) fn report_bound(&mut self, seen: &Seen<'_>) -> bool {
        let failed = seen.attempt.trace.failed().map(|step| step.check);
        let own = seen.kind.form.jws().and_then(|jws| jws.payload.get("cnf"));
        let own = own.and_then(|cnf| serde_json::from_str(cnf.get()).ok());
        let cnf = own.unwrap_or_else(|| seen.response["cnf"].clone());
        let (by_key, by_certificate) = (cnf["jkt"].is_string(), cnf["x5t#S256"].is_string());
        if failed != Some(Check::Possession) || !(by_key || by_certificate) {
            return false;
        }
        let settings = &mut self.deployment.settings;
        let bound = if by_key { "a key (DPoP)" } else { "a client certificate" };
        let missing = match (by_key, by_certificate) {
            (true, _) if !settings.has_dpop => {
                Some((Setting::DPOP, "dpop = { url = \"https://..\" }"))
            }
            (_, true) if !settings.has_mtls => Some((Setting::MTLS, "mtls = {}")),
            _ => None,
        };
        if let Some((setting, line)) = missing {
            self.found.bad("not_admitted").text(format!(
                "this service refuses it: it is bound to {bound}, and no setting says how \
                 clients prove that they have it"
            ));
            self.found.change(self.place().with(setting, line));
            self.found.change("have the authorization server issue bearer tokens to this client");
            return true;
        }
        let how = match by_key {
            true => "the scheme `DPoP` and a header `DPoP` with a new proof (RFC 9449 §7.1)",
            false => "that certificate on its connection (RFC 8705 §3)",
        };
        let seen = match self.missing_scopes(&seen.given.token).as_deref() {
            Some([]) => ": all other checks passed",
            None => ", so that its scope was not checked",
            Some(missing) => {
                let missing = missing.join(" ");
                self.found.bad("not_admitted").text(format!(
                    "this service refuses it: it lacks the required scope `{missing}`"
                ));
                self.found.change("have the client request the scope");
                self.found.change(self.place().with(Setting::SCOPE, "require less"));
                return true;
            }
        };
        self.found.unseen("possession_not_tried").text(format!(
            "it is bound to {bound}, which only its client has{seen}. The client must send it with \
             {how}"
        ));
        true
    }

    /// Returns the required scopes that a token lacks. They are checked after the proof.
    fn missing_scopes(&self, token: &str) -> Option<Vec<String>> {
        let required = &self.deployment.settings.required_scopes;
        if required.is_empty() {
            return Some(Vec::new());
        }
        let (token, verifier) = (Token::bearer(token)?, self.server.verifier());
        let verifying = async { verifier.verify(VerifyRequest::new(token)).await };
        let active = self.cx.wait("verifying a token", verifying);
        self.transport.take();
        let scope = active.ok()?.ok()?.claims().scope().clone();
        Some(required.iter().filter(|one| !scope.contains(one)).cloned().collect())
    }
}
