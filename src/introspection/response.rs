//! Reads responses of the introspection endpoint into claims, or into errors that name the party
//! at fault.

use bytes::Bytes;
use http::{
    Response, StatusCode,
    header::{CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE},
};

use crate::{
    checks::{
        check::Check,
        detail::{Detail, seen, seen_if},
        record::{demand, record},
    },
    claims::{
        claims_set::Claims,
        json::{self, NotStrict, Object},
        kind::{Evidence, UNMARKED},
        own_names::{OF_KIND, present},
        own_text,
        scope::ScopeClaim,
        token_type::check_token_type,
    },
    clock::UnixTime,
    error::{
        failure::Failure,
        kind::{ErrorKind, TokenKind},
        refusal::VerifyError,
    },
    telemetry::advice::{SEND_ACCESS_TOKEN, WrongKind, wants_wrong_kind, wrong_kind},
    transport::response::{bad, is_media_type, plain_body, unavailable_error},
};

/// Returns the body of a 200 response of type `media_type`, or the error that another response
/// stands for.
pub(super) fn body<'a>(
    response: &'a Response<Bytes>,
    media_type: &str,
    now: UnixTime,
) -> Result<&'a [u8], VerifyError> {
    let status = response.status();
    if status != StatusCode::OK {
        return Err(error_from_status(response, now));
    }
    if !is_media_type(response.headers(), media_type) {
        return Err(bad(format!("the response is not {media_type}")));
    }
    plain_body(response)
}

/// Describes the response, for a recording of the checks.
pub(super) fn detail(response: &Response<Bytes>, media_type: &str) -> Detail {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let status = response.status();
    let mut found = match response.headers().get(LOCATION).filter(|_| status.is_redirection()) {
        Some(to) => format!("{}, to {}", status.as_u16(), String::from_utf8_lossy(to.as_bytes())),
        None => format!("{} {}", status.as_u16(), kind.unwrap_or("without a type")),
    };
    let object = Object::parse(response.body()).ok().filter(|_| !status.is_success());
    for name in ["error", "error_description"] {
        if let Some(Ok(Some(text))) = object.as_ref().map(|object| object.string(name)) {
            found.push_str(&format!(", {name} {text:?}"));
        }
    }
    seen(found).wanted(format_args!("200 {media_type}"))
}

/// The settings for reading the claims of responses.
#[derive(Debug, Default)]
pub(super) struct ClaimSettings {
    /// The claim that holds the scope, if a setting names it.
    pub(super) scope_claim: Option<Box<str>>,
    /// The audience of tokens whose response has none.
    pub(super) default_audience: Option<Box<str>>,
    /// Accepts JWTs that nothing marks as access tokens.
    pub(super) accept_unmarked: bool,
}

impl ClaimSettings {
    /// Returns the claims of an introspection response (RFC 7662 §2.2), if `token` is active and
    /// an access token.
    pub(super) fn claims(
        &self,
        text: &[u8],
        token: &str,
        issuer: &str,
    ) -> Result<Claims, VerifyError> {
        let object = Object::parse(text)
            .map_err(|NotStrict| bad("the response is not one JSON object with unique members"));
        let object = record(Check::Active, Detail::default, object)?;
        // Only the boolean `true` makes a token active. With `false`, no other member counts (RFC
        // 7662 §2.2).
        let active = match object.get("active").map(json::boolean) {
            Some(Some(true)) => {
                Claims::from_response(text, &object, self.scope_claim()).map_err(|error| {
                    bad("the claims in the response are malformed").with_source(error)
                })
            }
            Some(Some(false)) => Err(VerifyError::new(ErrorKind::Inactive)),
            Some(None) => Err(bad("`active` is not a boolean")),
            None => Err(bad("the response lacks `active`")),
        };
        let detail = || seen_if(object.get("active")).wanted("true");
        let claims = record(Check::Active, detail, active)?;
        let is_other = claims.issuer().is_some_and(|named| named != issuer);
        demand(
            Check::AnswerIssuer,
            || seen_if(claims.issuer()).wanted(format_args!("{issuer}, or none")),
            !is_other,
            ErrorKind::WrongIssuer,
        )
        .map_err(|kind| VerifyError::new(kind).with_context("introspection"))?;
        let kind = self.check_kind(&claims, token, issuer);
        record(Check::AnswerKind, || kind_detail(&claims, token), kind)?;
        record(Check::AnswerBinding, Detail::default, check_binding(&claims))?;
        Ok(claims)
    }

    fn scope_claim(&self) -> ScopeClaim<'_> {
        self.scope_claim.as_deref().map_or(ScopeClaim::Usual, ScopeClaim::Named)
    }

    /// Refuses an active token that is not an access token, by the response or by its own text.
    ///
    /// A response that says that it is about an access token makes up for a JWT that says nothing,
    /// but not for one that says that it is another token.
    fn check_kind(&self, claims: &Claims, token: &str, issuer: &str) -> Result<(), VerifyError> {
        let response = Evidence::of_response(claims.members())
            .map_err(|name| bad(format!("`{name}` is not a string")))?;
        let own_text = own_text::evidence(token);
        let other = response.other_kind().or(own_text.and_then(|text| text.other_kind()));
        if let Some(kind) = other {
            tell(issuer, kind, claims);
            return Err(ErrorKind::WrongTokenKind(kind).into());
        }
        let is_unmarked = own_text.is_some_and(|text| text.is_unmarked());
        if is_unmarked && !response.is_of_access_token() && !self.accept_unmarked {
            tell(issuer, TokenKind::Unmarked, claims);
            let kind = ErrorKind::WrongTokenKind(TokenKind::Unmarked);
            return Err(VerifyError::new(kind).with_context(UNMARKED));
        }
        Ok(())
    }

    /// Returns the claims with the default audience, if they have none and one is configured.
    ///
    /// Some servers call refresh tokens and authorization codes active and say next to nothing of
    /// them. Only a scope, a type or a subject shows that the token may be an access token.
    ///
    /// A JWT may name its audience although the response does not. If it is for others, the default is
    /// not in place of anything missing.
    pub(super) fn with_default_audience(
        &self,
        claims: Claims,
        token: &str,
    ) -> Result<Claims, VerifyError> {
        let Some(audience) = self.default_audience.as_deref() else { return Ok(claims) };
        if claims.raw("aud").is_some() {
            return Ok(claims);
        }
        let is_shown =
            ["scope", "token_type", "sub"].into_iter().any(|name| claims.raw(name).is_some());
        let result = if own_text::names_another_audience(token, audience) {
            Err(VerifyError::new(ErrorKind::WrongAudience).with_context(FOR_OTHERS))
        } else if is_shown {
            Ok(claims.with_audience(audience))
        } else {
            Err(VerifyError::new(ErrorKind::MissingClaim("aud")).with_context(BARE_RESPONSE))
        };
        record(Check::AnswerKind, Detail::default, result)
    }
}

/// Reports a token that the issuer calls active, and that is refused for its kind.
fn tell(issuer: &str, kind: TokenKind, claims: &Claims) {
    if !wants_wrong_kind(issuer, kind) {
        return;
    }
    let setting = match kind {
        TokenKind::Unmarked => {
            "have the issuer tell the scope or the type of the token, or choose \
             `danger_accept_unmarked_jwts`"
        }
        _ => SEND_ACCESS_TOKEN,
    };
    wrong_kind(WrongKind {
        issuer,
        kind,
        typ: None,
        claims: &present(&OF_KIND, claims.members()),
        wanted: "an access token, by the response or by its own text",
        setting,
    });
}

/// The reason why a default audience is not used.
const FOR_OTHERS: &str =
    "the response has no audience, and that of the JWT does not name the default one";

const BARE_RESPONSE: &str = "the response has neither scope, token_type nor sub: probably the \
     token is a refresh token or an authorization code";

/// Describes what shows the kind of the token, for a recording of the checks: members of the
/// response, or claims in the text of the token.
fn kind_detail(claims: &Claims, token: &str) -> Detail {
    let of_response = Evidence::of_response(claims.members()).ok();
    let is_other = |evidence: Evidence| evidence.other_kind().is_some();
    let by_text = own_text::evidence(token).is_some_and(is_other);
    let found = if by_text && !of_response.is_some_and(is_other) {
        own_text::describe(token).map(|found| format!("{found}, in the token itself"))
    } else {
        of_response.and_then(|evidence| evidence.describe(|name| claims.raw(name)))
    };
    seen_if(found).wanted("an access token")
}

/// Refuses a token whose type contradicts its binding: then the proof of possession that it needs is
/// not known (RFC 9449 §6.2).
fn check_binding(claims: &Claims) -> Result<(), VerifyError> {
    check_token_type(claims, claims.confirmation())
        .map_err(|why| VerifyError::new(ErrorKind::UnprovenPossession).with_context(why))
}

/// Returns the error that a response other than 200 stands for.
///
/// A firewall in front of the server may refuse one particular token, with any status. So only a
/// response that speaks of the credentials of this service counts as their rejection.
fn error_from_status(response: &Response<Bytes>, now: UnixTime) -> VerifyError {
    let status = response.status();
    let code = error_code(response.body());
    let named = match code {
        Some(code) => format!(", {code}"),
        None if status.is_client_error() => ", no error code".to_owned(),
        None => String::new(),
    };
    let context = format!("introspection returned {}{named}", status.as_u16());
    if let Some(error) = unavailable_error(response, now) {
        let failure = match status.as_u16() {
            408 | 429 | 503 => Failure::Overloaded,
            502 | 504 => Failure::Gateway,
            _ => Failure::Broken,
        };
        return error.with_context(context).with_failure(failure);
    }
    match (status, code) {
        // One server product responds so to its own JWTs, which it does not introspect.
        (StatusCode::BAD_REQUEST, Some("unsupported_token_type")) => {
            ErrorKind::NotIntrospectable.into()
        }
        (_, Some("invalid_client" | "unauthorized_client")) if status.is_client_error() => {
            VerifyError::new(ErrorKind::CredentialsRejected).with_context(context)
        }
        // A server that wants other credentials sends a challenge (RFC 9110 §11.6.1). If the
        // credentials are a bearer token, its `invalid_token` is about that one (RFC 7662 §2.3).
        (StatusCode::UNAUTHORIZED, _) if response.headers().contains_key(WWW_AUTHENTICATE) => {
            VerifyError::new(ErrorKind::CredentialsRejected).with_context(context)
        }
        (_, Some("invalid_token")) if status.is_client_error() => {
            bad(context).with_failure(Failure::InvalidToken)
        }
        _ if status.is_client_error() => bad(context).with_failure(Failure::Refused),
        _ => bad(context),
    }
}

/// Returns the code of an error response (RFC 6749 §5.2), if it is one of a specification or of a
/// common server. Others must not reach a log.
fn error_code(body: &[u8]) -> Option<&'static str> {
    const CODES: [&str; 18] = [
        "access_denied",
        "insufficient_scope",
        "invalid_client",
        "invalid_dpop_proof",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "invalid_target",
        "invalid_token",
        "request_unauthorized",
        "server_error",
        "temporarily_unavailable",
        "unauthorized_client",
        "unknown_error",
        "unsupported_grant_type",
        "unsupported_response_type",
        "unsupported_token_type",
        "use_dpop_nonce",
    ];
    let object = Object::parse(body).ok()?;
    let code = object.string("error").ok()??;
    CODES.into_iter().find(|known| code == *known)
}
