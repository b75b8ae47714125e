use serde_json::{Map, Value, json};

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::test_util) enum IssuedKind {
    Access,
    Id,
    Refresh,
}

/// The facts of a token, in the forms in which providers write them.
pub(super) struct Facts<'a>(pub(super) &'a Map<String, Value>);

impl Facts<'_> {
    /// Returns a fact, or null if there is none.
    pub(super) fn get(&self, name: &str) -> Value {
        self.0.get(name).cloned().unwrap_or_default()
    }

    pub(super) fn client(&self) -> Value {
        self.get("client_id")
    }

    /// Returns true if the client acts for itself, without a user.
    pub(super) fn of_client(&self) -> bool {
        self.0.get("sub") == self.0.get("client_id")
    }

    /// Returns the value for tokens of users, and null for those of clients.
    pub(super) fn of_user(&self, value: impl Into<Value>) -> Value {
        if self.of_client() { Value::Null } else { value.into() }
    }

    /// Returns the scope as an array of its values.
    pub(super) fn scopes(&self) -> Value {
        match self.0.get("scope").and_then(Value::as_str) {
            Some(scope) => scope.split(' ').collect(),
            None => Value::Null,
        }
    }

    /// Returns the audiences that the test set.
    pub(super) fn audiences(&self) -> Vec<Value> {
        match self.get("aud") {
            Value::Null => Vec::new(),
            Value::Array(audiences) => audiences,
            one => vec![one],
        }
    }

    /// Returns a fact, or `default` if there is none.
    pub(super) fn or(&self, name: &str, default: impl Into<Value>) -> Value {
        match self.get(name) {
            Value::Null => default.into(),
            value => value,
        }
    }

    /// Returns the members that are the same everywhere, if the token has them, and `others`
    /// without those that are null.
    pub(super) fn with(&self, others: Value) -> Map<String, Value> {
        let mut members = Map::new();
        for name in ["iss", "sub", "iat", "exp", "nbf", "cnf"] {
            members.insert(name.to_owned(), self.get(name));
        }
        if let Value::Object(mut others) = others {
            members.append(&mut others);
        }
        members.retain(|_, value| !value.is_null());
        members
    }

    pub(super) fn all_but(&self, names: &[&str]) -> Map<String, Value> {
        let kept = self.0.iter().filter(|(name, _)| !names.contains(&name.as_str()));
        kept.map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

/// Returns one audience as a string, several as an array (RFC 7519 §4.1.3).
pub(super) fn one_or_many(mut audiences: Vec<Value>) -> Value {
    match audiences.len() {
        1 => audiences.remove(0),
        _ => json!(audiences),
    }
}

/// Returns the audiences as an array, even if there is only one.
pub(super) fn array(audience: Value) -> Value {
    if audience.is_array() { audience } else { json!([audience]) }
}
