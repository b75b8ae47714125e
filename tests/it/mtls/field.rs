//! The syntax of the field in which a proxy sends the certificate.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE},
};

use super::*;

/// Returns the outcome of a token bound to `own`, if the proxy sends these values.
async fn outcome_with_field(
    world: &World,
    own: &Certificate,
    values: &[&str],
) -> Result<(), ErrorKind> {
    let [token, _] = world.tokens(&own.cnf());
    let fields: Vec<_> = values.iter().map(|value| ("client-cert", *value)).collect();
    world.outcome(request_from(PROXY, &token, &fields)).await
}

fn hash(own: &Certificate) -> String {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let digest = URL_SAFE_NO_PAD.decode(own.peer().thumbprint()).unwrap();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(start_paused = true)]
async fn rfc9440_2_2_certificate_is_read_from_client_cert() {
    let world = World::with(trusting_proxy(CertificateField::ClientCert));
    let (own, other) = (Certificate::new("a"), Certificate::new("b"));
    assert_eq!(outcome_with_field(&world, &own, &[&own.field()]).await, Ok(()));
    assert_eq!(outcome_with_field(&world, &own, &[&other.field()]).await, UNPROVEN);
    assert_eq!(outcome_with_field(&world, &own, &[]).await, UNPROVEN);
    for token in world.tokens(&own.cnf()) {
        let fields = [("client-cert", &*own.field())];
        assert_eq!(world.outcome(request_from(PROXY, &token, &fields)).await, Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn rfc9440_2_2_other_forms_are_refused() {
    let world = World::with(trusting_proxy(CertificateField::ClientCert));
    // A certificate that needs padding, and whose base64 differs between the two alphabets.
    let own = (0..64)
        .map(|at| Certificate::new(&"n".repeat(at + 1)))
        .find(|own| own.der.len() % 3 != 0 && own.field().contains(['+', '/']))
        .expect("no such certificate");
    let pem = pem_of(&own.der);
    let encoded: String = pem
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect();
    let good = own.field();
    let base64 = good.trim_matches(':');
    let longer = [own.der.clone(), vec![0]].concat();
    for (what, value) in [
        ("bare base64", base64.to_owned()),
        ("half of the colons", format!(":{base64}")),
        ("the other half", format!("{base64}:")),
        ("PEM", pem.replace('\n', " ")),
        ("PEM in colons", format!(":{}:", pem.replace('\n', ""))),
        ("encoded PEM", encoded.clone()),
        ("encoded PEM in colons", format!(":{encoded}:")),
        ("base64url", format!(":{}:", URL_SAFE.encode(&own.der))),
        ("no padding", format!(":{}:", STANDARD_NO_PAD.encode(&own.der))),
        ("a string", format!("\"{base64}\"")),
        ("a parameter", format!("{good};a=1")),
        ("a list", format!("{good}, {good}")),
        ("a list without spaces", format!("{good},{good}")),
        ("a space within", format!(": {base64}:")),
        ("nothing", String::new()),
        ("one colon", ":".to_owned()),
        ("no bytes", "::".to_owned()),
        ("no DER", format!(":{}:", STANDARD.encode("no certificate"))),
        ("less than it says", format!(":{}:", STANDARD.encode(&own.der[..own.der.len() - 1]))),
        ("more than it says", format!(":{}:", STANDARD.encode(longer))),
        ("64 KiB", format!(":{}:", "A".repeat(64 << 10))),
    ] {
        assert_eq!(outcome_with_field(&world, &own, &[&value]).await, UNPROVEN, "{what}");
    }
    assert_eq!(outcome_with_field(&world, &own, &[&good]).await, Ok(()));
}

fn pem_of(der: &[u8]) -> String {
    let lines: Vec<_> = STANDARD.encode(der).into_bytes();
    let lines: Vec<_> = lines.chunks(64).map(|line| String::from_utf8_lossy(line)).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

#[tokio::test(start_paused = true)]
async fn rfc9440_2_2_repeated_field_is_refused() {
    let world = World::with(trusting_proxy(CertificateField::ClientCert));
    let (own, other) = (Certificate::new("a"), Certificate::new("b"));
    for values in [
        [own.field(), own.field()],
        [own.field(), other.field()],
        [other.field(), own.field()],
        [String::new(), own.field()],
    ] {
        assert_eq!(outcome_with_field(&world, &own, &[&values[0], &values[1]]).await, UNPROVEN);
    }
}

#[tokio::test(start_paused = true)]
async fn rfc9440_2_3_client_cert_chain_is_not_read_as_the_certificate() {
    let world = World::with(trusting_proxy(CertificateField::ClientCert));
    let (own, other) = (Certificate::new("a"), Certificate::new("b"));
    let [token, _] = world.tokens(&own.cnf());
    let chain = ("client-cert-chain", &*own.field());
    assert_eq!(world.outcome(request_from(PROXY, &token, &[chain])).await, UNPROVEN);
    let fields = [("client-cert", &*other.field()), chain];
    assert_eq!(world.outcome(request_from(PROXY, &token, &fields)).await, UNPROVEN);
    let fields = [("client-cert", &*own.field()), ("client-cert-chain", "anything")];
    assert_eq!(world.outcome(request_from(PROXY, &token, &fields)).await, Ok(()));
}

/// A malformed field proves no certificate, and this service is not at fault for it. It does not
/// matter who wrote the field, the proxy or the client.
#[tokio::test(start_paused = true)]
async fn a_malformed_field_is_401_invalid_token() {
    let world = World::with(trusting_proxy(CertificateField::ClientCert));
    let own = Certificate::new("a");
    let [token, _] = world.tokens(&own.cnf());
    let response = world.send(request_from(PROXY, &token, &[("client-cert", "what")])).await;
    assert_eq!(response.status(), 401);
    let outcome_with_field = format!("Bearer realm=\"{AUDIENCE}\", error=\"invalid_token\"");
    assert_eq!(response.headers()["www-authenticate"], outcome_with_field.as_str());
    assert_eq!(response.headers()["cache-control"], "no-store");
}

#[tokio::test(start_paused = true)]
async fn xfcc_is_accepted_as_envoy_writes_it() {
    let world = World::with(trusting_proxy(CertificateField::Xfcc));
    let (own, other) = (Certificate::new("a"), Certificate::new("b"));
    let (own_hash, other_hash) = (hash(&own), hash(&other));
    for (value, outcome) in [
        (format!("Hash={own_hash}"), Ok(())),
        (format!("By=spiffe://a;Hash={own_hash};Subject=\"CN=a,O=b\";URI=;DNS=a"), Ok(())),
        (format!("By=spiffe://a;Hash={other_hash};Subject=\"CN=a\""), UNPROVEN),
        // Envoy in appending mode: the first element may be forged, and it is unknown which one
        // Envoy wrote.
        (format!("Hash={own_hash},Hash={other_hash};Subject=\"\""), UNPROVEN),
        (format!("Hash={other_hash},Hash={own_hash};Subject=\"\""), UNPROVEN),
        // A name in a certificate that imitates another element.
        (format!("Hash={other_hash};URI=spiffe://b,Hash={own_hash}"), UNPROVEN),
        (format!("Hash={other_hash};DNS=b;Hash={own_hash}"), UNPROVEN),
        (format!("Hash={other_hash};Subject=\"CN=b;Hash={own_hash}\""), UNPROVEN),
        (own.field(), UNPROVEN),
        (String::new(), UNPROVEN),
    ] {
        let [token, _] = world.tokens(&own.cnf());
        let fields = [("x-forwarded-client-cert", &*value)];
        assert_eq!(world.outcome(request_from(PROXY, &token, &fields)).await, outcome, "{value}");
    }
    let [token, _] = world.tokens(&own.cnf());
    let twice = format!("Hash={own_hash}");
    let fields = [("x-forwarded-client-cert", &*twice), ("x-forwarded-client-cert", &*twice)];
    assert_eq!(world.outcome(request_from(PROXY, &token, &fields)).await, UNPROVEN);
}

#[tokio::test(start_paused = true)]
async fn x_forwarded_tls_client_cert_is_accepted_as_traefik_writes_it() {
    let world = World::with(trusting_proxy(CertificateField::XForwardedTlsClientCert));
    let base64 = |own: &Certificate| own.field().trim_matches(':').to_owned();
    // One that needs padding, so that every form without it differs. The length of a signature varies.
    let mut own = (1..64).map(|length| Certificate::new(&"a".repeat(length)));
    let own = own.find(|own| base64(own).ends_with('=')).expect("no such certificate");
    let (good, other) = (base64(&own), base64(&Certificate::new("b")));
    for (value, outcome) in [
        (good.clone(), Ok(())),
        // With the certificates of its issuers.
        (format!("{good},{other}"), Ok(())),
        (format!("{good},{other},{good}"), Ok(())),
        // Another certificate is the client's.
        (format!("{other},{good}"), UNPROVEN),
        (other.clone(), UNPROVEN),
        // Nothing that Traefik writes.
        (format!("{good},"), UNPROVEN),
        (format!(",{good}"), UNPROVEN),
        (format!("{good}, {other}"), UNPROVEN),
        (format!("{good},{}", &other[..other.len() - 4]), UNPROVEN),
        (format!("{good},x"), UNPROVEN),
        (good.replace('=', "%3D"), UNPROVEN),
        (good.trim_matches('=').to_owned(), UNPROVEN),
        (own.field(), UNPROVEN),
        (pem_of(&own.der).replace('\n', " "), UNPROVEN),
        (pem_of(&own.der).replace('\n', ""), UNPROVEN),
        (format!("{good},{}", vec![&*other; 64 * 1024 / other.len()].join(",")), UNPROVEN),
        (String::new(), UNPROVEN),
    ] {
        let [token, _] = world.tokens(&own.cnf());
        let fields = [("x-forwarded-tls-client-cert", &*value)];
        assert_eq!(world.outcome(request_from(PROXY, &token, &fields)).await, outcome, "{value}");
    }
    let [token, _] = world.tokens(&own.cnf());
    let field = ("x-forwarded-tls-client-cert", &*good);
    assert_eq!(world.outcome(request_from(PROXY, &token, &[field, field])).await, UNPROVEN);
    // The other field that Traefik can write names no certificate.
    let info = ("x-forwarded-tls-client-cert-info", &*good);
    assert_eq!(world.outcome(request_from(PROXY, &token, &[info])).await, UNPROVEN);
}

#[tokio::test(start_paused = true)]
async fn only_the_configured_field_counts() {
    let own = Certificate::new("a");
    let xfcc = format!("Hash={}", hash(&own));
    let field = own.field();
    let all = [
        (CertificateField::ClientCert, ("client-cert", &*field)),
        (CertificateField::Xfcc, ("x-forwarded-client-cert", &*xfcc)),
        (
            CertificateField::XForwardedTlsClientCert,
            ("x-forwarded-tls-client-cert", field.trim_matches(':')),
        ),
    ];
    for (chosen, _) in all {
        let world = World::with(trusting_proxy(chosen));
        let [token, _] = world.tokens(&own.cnf());
        let others = all.iter().filter(|(field, _)| *field != chosen).map(|(_, sent)| *sent);
        let others: Vec<_> = others.collect();
        assert_eq!(world.outcome(request_from(PROXY, &token, &others)).await, UNPROVEN);
        let every = all.map(|(_, sent)| sent);
        assert_eq!(world.outcome(request_from(PROXY, &token, &every)).await, Ok(()));
    }
}
