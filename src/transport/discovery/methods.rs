use std::fmt;

use crate::claims::json::{self, Object};

/// The registered authentication methods that a server may list (RFC 8414 §2, RFC 8705 §6.5), and
/// the access token types that RFC 8414 also admits there.
const REGISTERED: [&str; 9] = [
    "client_secret_basic",
    "client_secret_post",
    "client_secret_jwt",
    "private_key_jwt",
    "tls_client_auth",
    "self_signed_tls_client_auth",
    "none",
    "Bearer",
    "DPoP",
];

/// The client authentication methods of the introspection endpoint, as the metadata lists them.
///
/// It holds no text from the server: unknown names are only counted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct AuthMethods {
    offered: Vec<&'static str>,
    others: usize,
}

impl AuthMethods {
    /// Reads `introspection_endpoint_auth_methods_supported`.
    ///
    /// The methods are unknown if it is absent or not a list of names. The default of the token
    /// endpoint does not apply (RFC 8414 §2).
    pub(super) fn read(object: &Object<'_>) -> Self {
        let listed = object.get("introspection_endpoint_auth_methods_supported");
        let names = listed.and_then(json::strings).unwrap_or_default();
        let offers = |known: &&str| names.iter().any(|name| name == known);
        let others = names.iter().filter(|name| !REGISTERED.contains(&name.as_ref())).count();
        Self { offered: REGISTERED.into_iter().filter(offers).collect(), others }
    }

    /// Returns true if the metadata lists no method.
    pub(crate) fn is_unknown(&self) -> bool {
        self.offered.is_empty() && self.others == 0
    }

    pub(crate) fn offers(&self, method: &str) -> bool {
        self.offered.contains(&method)
    }
}

impl fmt::Display for AuthMethods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.offered.join(", "))?;
        match (self.offered.len(), self.others) {
            (_, 0) => Ok(()),
            (0, others) => write!(f, "{others} unknown"),
            (_, others) => write!(f, " and {others} unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> AuthMethods {
        let text = format!("{{\"introspection_endpoint_auth_methods_supported\":{value}}}");
        AuthMethods::read(&Object::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn value_that_is_no_list_of_names_is_unknown() {
        for value in
            ["[]", "7", "null", "{}", "\"client_secret_post\"", "[\"client_secret_post\",7]"]
        {
            assert!(read(value).is_unknown(), "{value}");
        }
    }

    #[test]
    fn names_are_compared_exactly() {
        let methods = read(r#"["client_secret_post ","CLIENT_SECRET_JWT","private_key_jwt"]"#);
        assert!(!methods.is_unknown());
        assert!(methods.offers("private_key_jwt"));
        assert!(!methods.offers("client_secret_post") && !methods.offers("client_secret_jwt"));
    }

    #[test]
    fn unknown_names_are_counted_but_not_shown() {
        let evil = r#"["none","x\r\ny","none","private_key_jwt"]"#;
        assert_eq!(read(evil).to_string(), "private_key_jwt, none and 1 unknown");
        assert_eq!(read(r#"["<b>"]"#).to_string(), "1 unknown");
        let many = format!("[{}\"none\"]", "\"none\",".repeat(10_000));
        assert_eq!(read(&many).to_string(), "none");
    }
}
