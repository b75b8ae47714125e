//! The checks of a proof (RFC 9449 §4.3), cheap ones first.
//!
//! No signature is verified before the key of the proof is known to be the one that the token is
//! bound to. A client without a token of its own therefore cannot cause a signature verification,
//! whichever keys it sends.

use std::borrow::Cow;

use base64::Engine as _;
use http::HeaderMap;

use super::settings::{Dpop, DpopConfig};
use crate::{
    claims::{claims_set::numeric_date, json::Object},
    clock::{Moment, RESOLUTION, UnixTime},
    credentials::token::Token,
    error::{kind::ErrorKind, refusal::VerifyError},
    jose::{
        algorithm::Algorithm, base64url::BASE64URL, crypto, header::Header, jwk::ProofKey,
        jws::CompactJws,
    },
    proof::{
        effects::ProofResult,
        presented::{DPOP, Presented},
        replay::{
            pending_mark::{MarkedProof, PendingMark},
            store::Mark,
        },
    },
};

/// The longest proof that is parsed, in bytes. A proof by an RSA key of 8192 bits has about 4000.
const MAX_PROOF: usize = 8 * 1024;

/// The longest `jti` that is accepted, in bytes. Only its hash is stored. Real ones are below 100
/// bytes.
const MAX_JTI: usize = 256;

/// The reason why a proof is refused, for operators. It never holds a value from the proof.
pub(super) type Flaw = &'static str;

/// The request and token that a proof must name.
pub(super) struct Expected<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) token: &'a Token,
    pub(super) jkt: &'a str,
    pub(super) fapi2: bool,
    pub(super) now: UnixTime,
}

/// A proof that is good unless it was used before.
pub(super) struct Proof {
    pub(super) jti: Box<str>,
    /// The time from which the proof is no longer good.
    pub(super) until: UnixTime,
    /// True if its nonce is about to expire.
    pub(super) is_aging: bool,
}

/// Returns the only proof of a request.
pub(super) fn find(headers: &HeaderMap) -> Result<&str, Flaw> {
    let mut fields = headers.get_all(DPOP).into_iter();
    let only = match (fields.next(), fields.next()) {
        (Some(only), None) => only,
        (None, _) => return Err("there is no proof"),
        (Some(_), Some(_)) => return Err("there are several proofs"),
    };
    if only.len() > MAX_PROOF {
        return Err("the proof is too long");
    }
    std::str::from_utf8(only.as_bytes()).map_err(|_| "the proof is not UTF-8")
}

impl Dpop {
    /// Checks the proof of a request against the key `jkt`, and records the remaining work in
    /// `result`.
    pub(crate) fn check(
        &self,
        jkt: &str,
        presented: &Presented<'_>,
        fapi2: bool,
        now: Moment,
        result: &mut ProofResult,
    ) -> Result<(), VerifyError> {
        let config = &*self.0;
        let head = presented.head;
        let proof = find(head.headers()).map_err(flawed)?;
        // Without the token, `ath` cannot be compared.
        let token = presented.token.ok_or_else(|| flawed("there is no token to compare"))?;
        let original = config.request_uri.as_deref().and_then(|original| original(head));
        let check_at = |at: Moment| {
            let expected = Expected {
                method: head.method().as_str(),
                path: original.unwrap_or(head.uri()).path(),
                token,
                jkt,
                fapi2,
                now: at.wall(),
            };
            let proof = config.verify(proof, &expected)?;
            let mark = Mark::new(jkt, &proof.jti, now, proof.until);
            Ok::<_, VerifyError>((PendingMark::new(&config.store, mark), proof.is_aging))
        };
        // A proof that was marked for this request was in time when the request came. The client is
        // not at fault if the request has been waiting here since.
        let marked = head.extension::<MarkedProof>();
        let checked_at = marked.and_then(|marked| marked.checked_at(&config.store));
        let (mut pending, mut is_aging) = check_at(checked_at.unwrap_or(now))?;
        let is_marked = marked.is_some_and(|marked| pending.was_marked_by(marked));
        if checked_at.is_some() && !is_marked {
            // Another proof, which a layer in between has put there.
            (pending, is_aging) = check_at(now)?;
        }
        result.pending_mark = (!is_marked).then_some(pending);
        result.effects.nonce = is_aging.then(|| config.nonces.make(now.wall())).flatten();
        Ok(())
    }
}

impl DpopConfig {
    /// Makes all checks except whether the proof was used before.
    pub(super) fn verify(
        &self,
        proof: &str,
        expected: &Expected<'_>,
    ) -> Result<Proof, VerifyError> {
        let jws = CompactJws::parse(proof).map_err(|_| flawed("the proof is not a JWS"))?;
        // Only `jwk` holds nested JSON that matters, and it is parsed below.
        let header =
            Header::parse_shallow(jws.header()).map_err(|_| flawed("the header is malformed"))?;
        if header.typ.as_deref() != Some("dpop+jwt") {
            return Err(flawed("`typ` is not `dpop+jwt`"));
        }
        let algorithm = self
            .algorithm(&header, expected.fapi2)
            .ok_or_else(|| flawed("`alg` is not allowed"))?;
        if header.demands_extension() {
            return Err(flawed("the proof requires an unsupported extension"));
        }
        let jwk = header.get("jwk").ok_or_else(|| flawed("there is no `jwk`"))?;
        let key = ProofKey::parse(jwk.get())
            .map_err(|error| flawed("the `jwk` can't be used").with_source(error))?;
        let claims = Claims::read(jws.payload())?;
        if claims.htm != expected.method {
            return Err(flawed("`htm` names another method"));
        }
        if !self.bases.iter().any(|base| base.matches(&claims.htu, expected.path)) {
            return Err(flawed("`htu` names another resource"));
        }
        self.check_stated_times(&claims, expected.now)?;
        let (until, is_aging) = self.check_time(&claims, expected.now)?;
        if key.thumbprint() != expected.jkt {
            return Err(VerifyError::new(ErrorKind::UnprovenPossession).with_context(
                "the proof was made with another key than the one the token is bound to",
            ));
        }
        let ath = BASE64URL.encode(expected.token.fingerprint(crypto::backend::sha256).as_bytes());
        if *claims.ath != *ath {
            return Err(flawed("`ath` names another token"));
        }
        if !key.verify(algorithm, jws.signing_input().as_bytes(), jws.signature()) {
            return Err(flawed("the signature does not verify with this key and algorithm"));
        }
        Ok(Proof { jti: claims.jti.into(), until, is_aging })
    }

    fn algorithm(&self, header: &Header<'_>, fapi2: bool) -> Option<Algorithm> {
        let named = header.alg.parse().ok()?;
        self.accepted(fapi2).any(|allowed| allowed == named).then_some(named)
    }

    /// Refuses a proof that is not good at present by its own words (RFC 7519 §4.1.4, §4.1.5).
    ///
    /// The clock of the client may be ahead as far as for `iat`. A nonce does not stand in for these
    /// claims, which a client need not set.
    fn check_stated_times(&self, claims: &Claims<'_>, now: UnixTime) -> Result<(), VerifyError> {
        if claims.exp.is_some_and(|exp| exp <= now) {
            return Err(flawed("`exp` is in the past"));
        }
        let latest = now.saturating_add(self.max_ahead());
        if claims.nbf.is_some_and(|nbf| nbf > latest) {
            return Err(flawed("`nbf` is in the future"));
        }
        Ok(())
    }

    /// Checks that the proof was made now: by its nonce, which holds the time it was issued, or
    /// else by `iat`.
    ///
    /// Returns the end of its validity, and whether its nonce is about to expire.
    fn check_time(
        &self,
        claims: &Claims<'_>,
        now: UnixTime,
    ) -> Result<(UnixTime, bool), VerifyError> {
        let nonce = claims.nonce.as_deref().filter(|_| self.nonce_mode.accepts_nonces());
        if let Some(nonce) = nonce {
            // RFC 9449 §4.3, check 11: the server-managed time in the nonce stands in for `iat`.
            let known = self.nonces.read(nonce, now);
            return match known {
                Some(known) => Ok((known.until, known.is_aging)),
                None => Err(self.nonce_required(
                    now,
                    "the nonce has expired or was not issued by this service",
                )),
            };
        }
        if self.nonce_mode.requires_nonces() {
            return Err(self.nonce_required(now, "there is no nonce"));
        }
        let (earliest, latest) =
            (now.saturating_sub(self.window), now.saturating_add(self.max_ahead()));
        if !(earliest..=latest).contains(&claims.iat) {
            let why = "`iat` is too far from the current time";
            let may_send_nonce = self.nonce_mode.accepts_nonces();
            return Err(if may_send_nonce { self.nonce_required(now, why) } else { flawed(why) });
        }
        // The window includes its end, so the proof is refused from the next millisecond on.
        let until = claims.iat.saturating_add(self.window).saturating_add(RESOLUTION);
        Ok((until, false))
    }

    fn nonce_required(&self, now: UnixTime, why: Flaw) -> VerifyError {
        match self.nonces.make(now) {
            Some(nonce) => VerifyError::use_nonce(nonce).with_context(why),
            None => VerifyError::new(ErrorKind::Misconfigured)
                .with_context("the cryptography backend failed to make a nonce"),
        }
    }
}

/// The claims of a proof (RFC 9449 §4.2), and the limits of its validity that it may state itself. All
/// others are ignored.
struct Claims<'a> {
    jti: Cow<'a, str>,
    htm: Cow<'a, str>,
    htu: Cow<'a, str>,
    ath: Cow<'a, str>,
    iat: UnixTime,
    exp: Option<UnixTime>,
    nbf: Option<UnixTime>,
    nonce: Option<Cow<'a, str>>,
}

impl<'a> Claims<'a> {
    fn read(payload: &'a [u8]) -> Result<Self, VerifyError> {
        let claims =
            Object::parse(payload).map_err(|_| flawed("the claims are not a JSON object"))?;
        let text = |name| claims.string(name).map_err(|_| flawed("a claim has the wrong type"));
        let needed = |name, missing: Flaw| text(name)?.ok_or_else(|| flawed(missing));
        let date = |name| match claims.get(name).map(|value| numeric_date(value.get())) {
            Some(None) => Err(flawed("a time is not a number")),
            given => Ok(given.flatten()),
        };
        let jti = needed("jti", "there is no `jti`")?;
        if jti.is_empty() || jti.len() > MAX_JTI {
            return Err(flawed("`jti` is empty or too long"));
        }
        Ok(Self {
            jti,
            htm: needed("htm", "there is no `htm`")?,
            htu: needed("htu", "there is no `htu`")?,
            ath: needed("ath", "there is no `ath`")?,
            iat: date("iat")?.ok_or_else(|| flawed("there is no `iat`"))?,
            exp: date("exp")?,
            nbf: date("nbf")?,
            nonce: text("nonce")?,
        })
    }
}

pub(super) fn flawed(why: Flaw) -> VerifyError {
    VerifyError::new(ErrorKind::InvalidProof).with_context(why)
}
