//! Checks whether the proxy of a service lets through certificate headers that its clients write.

use std::{path::PathBuf, str::FromStr as _};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri, header::AUTHORIZATION};
use serde_json::Value;
use tower_introspect::proof::{CertificateField, PeerCertificate};

use super::Doctor;
use crate::{
    cert, input,
    net::{self, RecordingTransport},
    pasted::Pasted,
    report::Failure,
    token::Form,
};

/// A token that is sent to a proxy without the certificate that it is bound to.
#[derive(clap::Args)]
#[command(next_help_heading = "Proxy")]
pub(super) struct ForgedArgs {
    /// The URL of a resource that needs a token, by which clients reach it through the proxy. The
    /// bound token is sent there without its certificate, and with its certificate in the header
    /// that only the proxy may set.
    #[arg(long, value_name = "URL", requires_all = ["bound_token_file", "bound_cert_file"])]
    forge_at: Option<String>,
    /// A file with a valid token that is bound to a client certificate.
    #[arg(long, value_name = "FILE", requires = "forge_at")]
    bound_token_file: Option<PathBuf>,
    /// A PEM file with that certificate. Its private key is not needed.
    #[arg(long, value_name = "FILE", requires = "forge_at")]
    bound_cert_file: Option<PathBuf>,
}

/// The request to send, and its target.
pub(super) struct Forgery {
    url: Uri,
    authorization: HeaderValue,
    certificate: Vec<u8>,
    transport: RecordingTransport,
}

impl ForgedArgs {
    /// Reads the token and the certificate, if the command line names them.
    ///
    /// # Errors
    ///
    /// If they can't be read or do not belong together, or if the URL is not one that a token may
    /// be sent to.
    pub(super) fn read(&self, doctor: &Doctor<'_>) -> Result<Option<Forgery>, Failure> {
        let (Some(url), Some(token), Some(cert)) =
            (&self.forge_at, &self.bound_token_file, &self.bound_cert_file)
        else {
            return Ok(None);
        };
        let url: Uri = url.parse().map_err(|_| Failure::usage("--forge-at is not a URL"))?;
        if !net::is_allowed(&url, doctor.deployment.settings.loopback_http) {
            return Err(Failure::usage("--forge-at: a token is sent to https URLs only"));
        }
        let pem = input::file(cert)?;
        let certificate = cert::in_pem(&pem).into_iter().next();
        let found = certificate.and_then(|der| Some((PeerCertificate::from_der(&der)?, der)));
        let none = || Failure::usage(format!("`{}` has no certificate", cert.display()));
        let (peer, certificate) = found.ok_or_else(none)?;
        let place = format!("`{}`", token.display());
        let pasted = Pasted::read(&input::file(token)?);
        let token = pasted.map_err(|problem| Failure::usage(format!("{place}: {problem}")))?.token;
        // An opaque token may be bound to anything.
        if let Form::Jws(jws) = Form::of(&token) {
            let claims = serde_json::from_str(&jws.payload.text).unwrap_or(Value::Null);
            if claims["cnf"]["x5t#S256"] != *peer.thumbprint() {
                let problem = format!("{place} is not bound to the certificate in");
                return Err(Failure::usage(format!("{problem} `{}`", cert.display())));
            }
        }
        let authorization = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut authorization =
            authorization.map_err(|_| Failure::usage(format!("{place} is not a token")))?;
        authorization.set_sensitive(true);
        let transport = RecordingTransport::new(&doctor.args.net.without_identity(), None)?;
        Ok(Some(Forgery { url, authorization, certificate, transport }))
    }
}

impl Doctor<'_> {
    /// Sends the token without its certificate, and then with forged headers.
    pub(super) fn check_proxy(&mut self, forgery: &Forgery) {
        self.report_forged(forgery);
        self.add_section(format!("Proxy at {}", forgery.url), Value::Null);
    }

    fn report_forged(&mut self, forgery: &Forgery) {
        let Some(field) = self.deployment.settings.certificate_field else {
            let text = "the configuration trusts no header (`mtls.field`), so none can be forged";
            return self.found.note("no_certificate_header").text(text);
        };
        match self.send_forged(forgery, None) {
            Ok(StatusCode::UNAUTHORIZED) => {}
            // A token that is not enough for the resource was accepted all the same.
            Ok(status) if status.is_success() || status == StatusCode::FORBIDDEN => {
                return self.found.bad("certificate_not_needed").text(format!(
                    "without its certificate, the bound token gets {status}: the resource \
                     needs no token, or a bound token is good without its certificate"
                ));
            }
            Ok(status) => {
                let text =
                    format!("without its certificate, the bound token gets {status}, not 401");
                return self.found.unknown("bound_token_not_judged").text(text);
            }
            Err(why) => return self.found.unknown("unreachable").text(why),
        }
        let (name, value) = forged(field, &forgery.certificate);
        // Proxies may take these spellings for the same.
        for name in [name.to_owned(), name.replace('-', "_")] {
            match self.send_forged(forgery, Some((&name, &value))) {
                Ok(status) if is_refusal(status) => {}
                Ok(status) if status.is_server_error() => {
                    let text = format!("with a forged `{name}`, the response is {status}");
                    return self.found.unknown("forged_certificate_not_judged").text(text);
                }
                // Without the header it was 401.
                Ok(status) => {
                    return self.found.bad("forged_certificate_admitted").text(format!(
                        "a client that writes `{name}` itself gets {status} with a token that \
                         is bound to the certificate of another: have the proxy remove the \
                         header before it sets its own (docs/operations)"
                    ));
                }
                Err(why) => return self.found.unknown("unreachable").text(why),
            }
        }
        let text = format!("a bound token is refused if a client writes `{name}` itself");
        self.found.good("forged_certificate_refused").text(text);
    }

    /// Sends the token, and returns the status of the response, or why there is none.
    fn send_forged(
        &self,
        forgery: &Forgery,
        header: Option<(&str, &str)>,
    ) -> Result<StatusCode, String> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = forgery.url.clone();
        request.headers_mut().insert(AUTHORIZATION, forgery.authorization.clone());
        if let Some((name, value)) = header
            && let (Ok(name), Ok(value)) = (HeaderName::from_str(name), value.parse())
        {
            request.headers_mut().insert(name, value);
        }
        let sending = forgery.transport.send(request);
        let waited = self.cx.wait("sending a forged header to the proxy", sending);
        waited.map_err(|failure| failure.message)?;
        let exchange = forgery.transport.take().pop();
        match exchange.and_then(|exchange| exchange.outcome) {
            Some(Ok(response)) => Ok(response.status()),
            Some(Err(error)) => Err(error.describe()),
            None => Err("no response in time".to_owned()),
        }
    }
}

/// Returns true for the responses to a token that is not good, or to a header that is not welcome.
fn is_refusal(status: StatusCode) -> bool {
    [StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE]
        .contains(&status)
}

/// Returns the header as the proxy writes it for this certificate.
fn forged(field: CertificateField, der: &[u8]) -> (&'static str, String) {
    let base64 = STANDARD.encode(der);
    match field {
        CertificateField::ClientCert => ("client-cert", format!(":{base64}:")),
        CertificateField::Xfcc => {
            let thumbprint = PeerCertificate::from_der(der).map(|peer| peer.thumbprint());
            let digest = URL_SAFE_NO_PAD.decode(thumbprint.unwrap_or_default()).unwrap_or_default();
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            ("x-forwarded-client-cert", format!("Hash={hex}"))
        }
        _ => ("x-forwarded-tls-client-cert", base64),
    }
}
