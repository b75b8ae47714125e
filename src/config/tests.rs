use tower::ServiceExt as _;

use super::*;
use crate::config::reader;

fn problems(text: &str) -> Vec<String> {
    let error = Config::from_toml(text).expect_err("something is wrong");
    error.to_string().lines().map(str::to_owned).collect()
}

fn minimal(issuer: &str) -> String {
    format!(
        "audience = \"https://api.example.com\"\n[[issuer]]\n\
         issuer = \"https://as.example.com\"\n{issuer}"
    )
}

#[test]
fn every_problem_is_named() {
    let text = r#"
        audience = ["https://api.example.com", ""]
        required_scopes = "two words"
        leeway_seconds = -1
        max_token_lifetime_seconds = "1h"
        max_age_seconds = "30"
        stale_if_error_seconds = -0.5
        resource_metadata = 7
        audiance = "https://api.example.com"

        [[issuer]]
        mode = "jwks"
        algorithms = ["ES256", "none"]
        jwks_uri = "https://as.example.com/jwks"
        jwks_file = "keys.json"

        [[issuer]]
        issuer = "https://two.example.com"
        mode = "introspect"
        profile = "generic"
        require_signed_response = "yes"
        timeout_seconds = "3"

        [[issuer]]
        issuer = "https://three.example.com"
        mode = "hybrid"
        client = { method = "basic", secret_env = "A", danger_secret = "s3cret", kid = "x" }

        [[issuer]]
        issuer = "https://four.example.com"
        mode = "jwt"
        client = { method = "basic" }
    "#;
    assert_eq!(
        problems(text),
        [
            "audience: expected a non-empty text or an array of them",
            "leeway_seconds: expected a number of seconds",
            "max_token_lifetime_seconds: expected a number of seconds",
            "max_age_seconds: expected a number of seconds",
            "stale_if_error_seconds: expected a number of seconds",
            "resource_metadata: expected a non-empty text",
            "issuer[0].issuer: missing",
            "issuer[0].mode: expected `jwt` or `introspect` or `hybrid` or `jwt_and_introspect`",
            "issuer[0].jwks_file: conflicts with `jwks_uri`",
            "issuer[0].algorithms: `none`: not a supported signature algorithm",
            "issuer[1].client: missing",
            "issuer[1].timeout_seconds: expected a number of seconds",
            "issuer[1].require_signed_response: expected true or false",
            "issuer[1].profile: unknown setting",
            "issuer[2].client.id: missing",
            "issuer[2].client.secret: give exactly one of `secret_file`, `secret_env` and `danger_secret`",
            "issuer[2].client.kid: unknown setting",
            "issuer[3].client: unknown setting",
            "required_scopes: contains an invalid scope (RFC 6749 §3.3)",
            "audiance: unknown setting",
        ]
    );
    assert_eq!(problems(""), ["audience: missing", "issuer: missing"]);
}

#[test]
fn no_problem_and_no_debug_form_shows_a_secret() {
    let secret = "hunter2";
    let good = minimal(
        "mode = \"hybrid\"\n\
         client = { method = \"post\", id = \"api\", danger_secret = \"hunter2\" }",
    );
    let config = Config::from_toml(&good).expect("sound settings");
    assert!(!format!("{config:?}").contains(secret));
    for client in [
        "{ method = \"post\", id = \"api\", danger_secret = \"hunter2",
        "{ method = \"post\", id = \"api\", danger_secret = hunter2 }",
        "{ method = \"post\", id = \"api\", danger_secret = [\"hunter2\"] }",
        "{ method = \"hunter2\", danger_secret = \"hunter2\" }",
        "{ danger_secret = \"hunter2\", danger_secret = \"hunter2\" }",
        "\"hunter2\"",
    ] {
        let text = minimal(&format!("mode = \"hybrid\"\nclient = {client}"));
        let told = problems(&text).join("\n");
        assert!(!told.contains(secret), "{told}");
    }
    let key = good.replace("post", "private_key_jwt").replace("_secret", "_key");
    let key = key.replace("id = \"api\"", "id = \"api\", algorithm = \"ES256\"");
    let config = Config::from_toml(&key).expect("a key that is not read yet");
    let told = config.build().unwrap_err().to_string();
    assert!(told.starts_with("issuer `https://as.example.com`.client.key: "), "{told}");
    assert!(!told.contains(secret), "{told}");
}

#[test]
fn secrets_come_from_files_without_their_line_end() {
    let directory = std::env::temp_dir().join(format!("introspect-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("secret");
    let build = |content: &str| {
        std::fs::write(&file, content).unwrap();
        let text = minimal(&format!(
            "mode = \"introspect\"\n\
             client = {{ method = \"basic\", id = \"api\", secret_file = '{}' }}",
            file.display()
        ));
        Config::from_toml(&text).unwrap().build().map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(build("s3cret\r\n"), Ok(()));
    let name = "issuer `https://as.example.com`.client.secret";
    assert_eq!(build("\n"), Err(format!("{name}: the secret is empty")));
    let long = "x".repeat(1024 * 1024 + 1);
    assert_eq!(build(&long), Err(format!("{name}: `{}` is too large", file.display())));
    std::fs::remove_dir_all(&directory).unwrap();

    let secret = reader::Secret::Inline("  s3cret \n".to_owned().into());
    assert_eq!(secret.load().as_deref(), Ok("  s3cret "));
    let unset = reader::Secret::Env("INTROSPECT_NO_SUCH_VARIABLE".to_owned());
    let problem = "the variable `INTROSPECT_NO_SUCH_VARIABLE` is not set";
    assert_eq!(unset.load(), Err(problem.to_owned()));
}

#[test]
fn invalid_toml_is_reported_with_its_line() {
    let [problem] = problems("audience = \"a\"\n\n[issuer").try_into().unwrap();
    assert!(problem.starts_with("line 3: "), "{problem}");
}

#[test]
fn problems_found_by_building_name_the_setting() {
    for (issuer, name) in [
        ("mode = \"jwt\"\njwks_file = \"/nowhere\"", "jwks_file"),
        ("mode = \"jwt\"\njwks_uri = \"http://as.example.com\"", "jwt.jwks_uri"),
        ("mode = \"jwt\"\ndanger_audience_claim = \"aud\"", "jwt.audience_claim"),
        (
            "mode = \"introspect\"\nintrospection_endpoint = \"http://x\"\n\
             client = { method = \"secret\", id = \"api\", danger_secret = \"x\", \
             assertion_audience = \"https://as.example.com/introspect\" }",
            "introspection.endpoint",
        ),
        (
            "mode = \"introspect\"\nintrospection_endpoint = \"ftp://x\"\n\
             client = { method = \"bearer\", danger_token = \"x\" }",
            "introspection.endpoint",
        ),
    ] {
        let problems = Config::from_toml(&minimal(issuer)).unwrap().build().unwrap_err();
        let names: Vec<_> = problems.problems().map(|(name, _)| name).collect();
        assert_eq!(names, [format!("issuer `https://as.example.com`.{name}")]);
    }
}

fn with_metadata(more: &str) -> String {
    minimal(&format!("mode = \"jwt\"\n[metadata]\n{more}"))
}

#[test]
fn metadata_table_equals_the_setters_of_the_builder() {
    let text = with_metadata(
        r#"
        scopes_supported = ["read", "write"]
        resource_name = "Payments"
        "resource_name#de" = "Zahlungen"
        resource_documentation = "https://example.com/docs"
        "resource_policy_uri#fr" = "https://example.com/fr/policy"
        resource_tos_uri = "https://example.com/tos"
        jwks_uri = "https://api.example.com/jwks"
        resource_signing_alg_values_supported = "ES256"
        authorization_details_types_supported = ["payment"]
        max_age_seconds = 60
        without_cors = true
        "#,
    );
    let api = Config::from_toml(&text).unwrap().build().unwrap();
    let built = ResourceServer::builder("https://api.example.com")
        .issuer(crate::resource_server::issuer::Issuer::jwt("https://as.example.com"))
        .metadata(|about| {
            about
                .scopes_supported(["read", "write"])
                .resource_name("Payments")
                .resource_name_in("de", "Zahlungen")
                .resource_documentation("https://example.com/docs")
                .resource_policy_uri_in("fr", "https://example.com/fr/policy")
                .resource_tos_uri("https://example.com/tos")
                .jwks_uri("https://api.example.com/jwks")
                .resource_signing_alg_values_supported(["ES256"])
                .authorization_details_types_supported(["payment"])
                .max_age(Duration::from_secs(60))
                .without_cors()
        })
        .build()
        .unwrap();
    let fields = |api: &ResourceServer| {
        let service = api.metadata_service::<bytes::Bytes>();
        let Ok(response) = tokio_test::block_on(service.oneshot(http::Request::new(())));
        response.headers().clone()
    };
    assert_eq!(fields(&api)["cache-control"], "public, max-age=60");
    assert_eq!(fields(&api), fields(&built));
    assert!(api.metadata_document().is_some());
    assert_eq!(api.metadata_document(), built.metadata_document());

    let bare = Config::from_toml(&with_metadata("")).unwrap().build().unwrap();
    let url = "https://api.example.com/.well-known/oauth-protected-resource";
    assert_eq!(bare.metadata_url(), Some(url));
    let none = Config::from_toml(&minimal("mode = \"jwt\"")).unwrap().build().unwrap();
    assert_eq!(none.metadata_url(), None);
}

#[test]
fn metadata_is_signed_with_a_key_from_a_file() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/keys/p256.pem");
    let signed = |key: &str| {
        let signed = format!("{{ issuer = \"https://a\", algorithm = \"ES256\", {key} }}");
        let config = Config::from_toml(&with_metadata(&format!("signed = {signed}"))).unwrap();
        config.build().map_err(|error| error.to_string())
    };
    let api = signed(&format!("kid = \"x\", key_file = '{file}'")).unwrap();
    assert!(api.metadata_document().unwrap().contains("\"signed_metadata\":\"ey"));
    let told = signed("danger_key = \"hunter2\"").unwrap_err();
    assert!(told.starts_with("metadata.signed.key: ") && !told.contains("hunter2"), "{told}");
}

#[test]
fn problems_of_the_metadata_are_named() {
    let text = with_metadata(
        r#"
        scopes_supported = [1]
        resource_name = ""
        "resource_name#de" = 7
        "jwks_uri#de" = "https://api.example.com/jwks"
        max_age_seconds = -1
        signed = { algorithm = ["ES256", "RS256"] }
        "#,
    );
    let expected = [
        "metadata.resource_name: expected a non-empty text",
        "metadata.resource_name#de: expected a non-empty text",
        "metadata.scopes_supported: expected a non-empty text or an array of them",
        "metadata.max_age_seconds: expected a number of seconds",
        "metadata.signed.issuer: missing",
        "metadata.signed.algorithm: expected one algorithm",
        "metadata.signed.key: give exactly one of `key_file`, `key_env` and `danger_key`",
        "metadata.jwks_uri#de: unknown setting",
    ];
    assert_eq!(problems(&text), expected);
    let both = minimal("mode = \"jwt\"").replacen(
        "[[issuer]]",
        "advertised_scopes = [\"a b\"]\nresource_metadata = \"https://m\"\nmetadata = {}\n[[issuer]]",
        1,
    );
    let expected = [
        "resource_metadata: conflicts with `metadata`",
        "advertised_scopes: contains an invalid scope (RFC 6749 §3.3)",
    ];
    assert_eq!(problems(&both), expected);

    // The builder reports what the document can't contain.
    let unfit = with_metadata(
        "scopes_supported = \"offline_access\"\n\"resource_name#de_DE\" = \"x\"\njwks_uri = \"x\"",
    );
    let error = Config::from_toml(&unfit).unwrap().build().unwrap_err();
    let names: Vec<_> = error.problems().map(|(name, _)| name).collect();
    let expected = ["scopes_supported", "resource_name#de_DE", "jwks_uri"];
    assert_eq!(names, expected.map(|name| format!("metadata.{name}")));
}

#[test]
fn realm_and_advertised_scopes_are_in_the_challenge() {
    let text = minimal("mode = \"jwt\"").replacen(
        "[[issuer]]",
        "realm = \"payments\"\nadvertised_scopes = [\"read\", \"list\"]\n[[issuer]]",
        1,
    );
    let api = Config::from_toml(&text).unwrap().build().unwrap();
    let missing = crate::error::kind::ErrorKind::MissingCredentials.into();
    let challenge = api.policy().challenges().header(&missing).unwrap();
    assert_eq!(challenge, "Bearer realm=\"payments\", scope=\"read list\"");
}

#[test]
fn longest_lifetime_of_tokens_is_set_in_the_policy_and_ends_cutoffs() {
    for (setting, expected) in
        [("", None), ("max_token_lifetime_seconds = 3600\n", Some(Duration::from_secs(3600)))]
    {
        let text = format!("{setting}{}", minimal("mode = \"jwt\""));
        let api = Config::from_toml(&text).unwrap().build().unwrap();
        assert_eq!(api.policy().longest_lifetime(), expected);
        assert_eq!(api.revocations().longest_lifetime(), expected);
    }
}
