//! The names of claims that may be shown to the operator.
//!
//! A client may choose the names of the claims in its token, at some issuers. These lists are ours.

/// The claims that tell the kind of a token.
pub(crate) const OF_KIND: [&str; 17] = [
    "typ",
    "token_use",
    "token_type",
    "at_hash",
    "c_hash",
    "s_hash",
    "nonce",
    "events",
    "token_introspection",
    "htm",
    "htu",
    "scope",
    "scp",
    "client_id",
    "cid",
    "appid",
    "azpacr",
];

/// The claims that grant something, as issuers name them.
pub(crate) const OF_GRANTS: [&str; 11] = [
    "scope",
    "scp",
    "scopes",
    "permissions",
    "roles",
    "groups",
    "authorities",
    "entitlements",
    "realm_access",
    "resource_access",
    "cognito:groups",
];

/// Returns those of `names` that are among the `members`, separated by commas, or `none`.
pub(crate) fn present<'a>(
    names: &[&'static str],
    members: impl Iterator<Item = (&'a str, &'a str)>,
) -> String {
    let mut found = vec![false; names.len()];
    for (member, _) in members {
        if let Some(at) = names.iter().position(|name| *name == member) {
            found[at] = true;
        }
    }
    let found = names.iter().zip(found).filter(|(_, found)| *found).map(|(name, _)| *name);
    let all: Vec<_> = found.collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}
