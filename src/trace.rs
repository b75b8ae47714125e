//! What the program `introspect` overhears. No part of the API.

use crate::{claims::Claims, error::TokenKind, jwt};

/// What a JWT is by the `typ` of its header, if that is no access token.
#[must_use]
pub fn kind_by_typ(typ: &str) -> Option<TokenKind> {
    jwt::kind_by_typ(typ)
}

/// What a JWT is by its claims, if that is no access token. `typed`: its `typ` says that it is.
#[must_use]
pub fn kind_by_claims(claims: &Claims, typed: bool) -> Option<TokenKind> {
    jwt::foreign_kind(claims, typed)
}
