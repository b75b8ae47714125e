//! Client authentication (RFC 6749 §2.3).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, header};

use super::{
    assertion,
    client::{Client, Credential},
    error::EndpointError,
    fault::Endpoint,
    form::{self, Form},
    state::State,
};

/// Authenticates the client that sends a request.
///
/// # Errors
///
/// Returns an error if the request has no credentials, wrong credentials, or more than one kind of
/// credentials (RFC 6749 §2.3).
pub(super) fn authenticate(
    state: &mut State,
    endpoint: Endpoint,
    headers: &HeaderMap,
    form: &Form,
) -> Result<Client, EndpointError> {
    let credentials = ClientCredentials::find(headers, form)?;
    if let ClientCredentials::Assertion(text) = &credentials {
        return authenticate_assertion(state, endpoint, text, form.get("client_id"));
    }
    let client = state
        .clients
        .iter()
        .find(|client| credentials.matches(client))
        .ok_or(EndpointError::InvalidClient)?;
    if form.get("client_id").is_some_and(|id| id != client.id) {
        return Err(EndpointError::invalid_request("client_id names another client"));
    }
    Ok(client.clone())
}

/// Authenticates a client by its assertion, and marks the assertion as used.
fn authenticate_assertion(
    state: &mut State,
    endpoint: Endpoint,
    text: &str,
    client_id: Option<&str>,
) -> Result<Client, EndpointError> {
    let id = assertion::named_client(text).ok_or(EndpointError::InvalidClient)?;
    let client = state.clients.iter().find(|client| client.id == id);
    let client = client.ok_or(EndpointError::InvalidClient)?.clone();
    let Credential::Assertions(keys) = &client.credential else {
        return Err(EndpointError::InvalidClient);
    };
    if client_id.is_some_and(|shown| shown != id) {
        return Err(EndpointError::invalid_request("client_id names another client"));
    }
    let url = state.url(endpoint);
    let audiences = [&*state.issuer, &*url];
    let jti = assertion::check(text, keys, &id, &audiences, state.clock.now());
    let jti = jti.ok_or(EndpointError::InvalidClient)?;
    if !state.assertions.insert((id, jti)) {
        return Err(EndpointError::InvalidClient);
    }
    Ok(client)
}

/// The client credentials of a request.
enum ClientCredentials {
    Assertion(String),
    Bearer(String),
    Id(String),
    Secret { id: String, secret: String },
}

impl ClientCredentials {
    fn find(headers: &HeaderMap, form: &Form) -> Result<Self, EndpointError> {
        let mut authorization = headers.get_all(header::AUTHORIZATION).iter();
        let header = authorization.next();
        if authorization.next().is_some() {
            return Err(EndpointError::invalid_request("two Authorization headers"));
        }
        let param = |name| form.get(name).map(str::to_owned);
        let (id, secret, assertion) =
            (param("client_id"), param("client_secret"), param("client_assertion"));
        let ways = [header.is_some(), secret.is_some(), assertion.is_some()];
        if ways.into_iter().filter(|way| *way).count() > 1 {
            return Err(EndpointError::invalid_request("two ways of client authentication"));
        }
        if assertion.is_some() != (form.get("client_assertion_type") == Some(assertion::TYPE)) {
            return Err(EndpointError::invalid_request("unknown client_assertion_type"));
        }
        match (header, assertion, id, secret) {
            (Some(value), ..) => {
                value.to_str().ok().and_then(Self::read).ok_or_else(|| {
                    EndpointError::invalid_request("unreadable Authorization header")
                })
            }
            (None, Some(assertion), ..) => Ok(Self::Assertion(assertion)),
            (None, None, Some(id), Some(secret)) => Ok(Self::Secret { id, secret }),
            (None, None, Some(id), None) => Ok(Self::Id(id)),
            (None, None, None, _) => Err(EndpointError::InvalidClient),
        }
    }

    fn read(header: &str) -> Option<Self> {
        let (scheme, credentials) = header.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Self::Bearer(credentials.into()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let pair = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
        let (id, secret) = pair.split_once(':')?;
        // Both are form-encoded before they are joined (RFC 6749 §2.3.1).
        Some(Self::Secret { id: form::decode(id)?, secret: form::decode(secret)? })
    }

    fn matches(&self, client: &Client) -> bool {
        match (self, &client.credential) {
            (Self::Bearer(shown), Credential::Bearer(token)) => shown == token,
            (Self::Id(id), Credential::Mtls) => *id == client.id,
            (Self::Secret { id, secret }, Credential::Secret(own)) => {
                *id == client.id && secret == own
            }
            _ => false,
        }
    }
}
