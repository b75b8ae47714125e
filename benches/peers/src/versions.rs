//! The versions of the peers that are measured.

const PEERS: [&str; 9] = [
    "aliri_tower",
    "axum-jwt-auth",
    "axum-oidc-layer",
    "huskarl-axum",
    "huskarl-resource-server",
    "jwt-authorizer",
    "oauth-resource-server",
    "tower-oauth2-resource-server",
    "zitadel",
];

/// The peers and their versions, out of the lock file that this was built with.
pub fn versions() -> String {
    let packages = include_str!("../Cargo.lock").split("[[package]]");
    let found = packages.filter_map(|package| {
        let value = |key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(key))?;
            Some(line.trim_matches(['"', ' ', '=']))
        };
        let (name, version) = (value("name")?, value("version")?);
        PEERS.contains(&name).then(|| format!("{name} {version}"))
    });
    found.collect::<Vec<_>>().join(", ")
}
