//! The form of the field in which a proxy tells the certificate.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE},
};

use super::*;

/// What becomes of a token that is bound to `own`, where the proxy tells this.
async fn told(world: &World, own: &Certificate, values: &[&str]) -> Result<(), ErrorKind> {
    let [token, _] = world.tokens(&own.cnf());
    let fields: Vec<_> = values.iter().map(|value| ("client-cert", *value)).collect();
    world.outcome(from(PROXY, &token, &fields)).await
}

fn hash(own: &Certificate) -> String {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let digest = URL_SAFE_NO_PAD.decode(own.peer().thumbprint()).unwrap();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(start_paused = true)]
async fn rfc9440_2_2_the_certificate_is_told_in_client_cert() {
    let world = World::with(behind(CertificateField::ClientCert));
    let (own, other) = (Certificate::new("a"), Certificate::new("b"));
    assert_eq!(told(&world, &own, &[&own.field()]).await, Ok(()));
    assert_eq!(told(&world, &own, &[&other.field()]).await, UNPROVEN);
    assert_eq!(told(&world, &own, &[]).await, UNPROVEN);
    for token in world.tokens(&own.cnf()) {
        let fields = [("client-cert", &*own.field())];
        assert_eq!(world.outcome(from(PROXY, &token, &fields)).await, Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn rfc9440_2_2_no_other_form_is_taken() {
    let world = World::with(behind(CertificateField::ClientCert));
    // One that needs padding, and whose base64 is not the same in both alphabets.
    let own = (0..64)
        .map(|at| Certificate::new(&"n".repeat(at + 1)))
        .find(|own| own.der.len() % 3 != 0 && own.field().contains(['+', '/']))
        .expect("two of three");
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
        assert_eq!(told(&world, &own, &[&value]).await, UNPROVEN, "{what}");
    }
    assert_eq!(told(&world, &own, &[&good]).await, Ok(()));
}

fn pem_of(der: &[u8]) -> String {
    let lines: Vec<_> = STANDARD.encode(der).into_bytes();
    let lines: Vec<_> = lines.chunks(64).map(|line| String::from_utf8_lossy(line)).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

#[tokio::test(start_paused = true)]
async fn rfc9440_2_2_the_field_does_not_occur_twice() {
    let world = World::with(behind(CertificateField::ClientCert));
    let (own, other) = (Certificate::new("a"), Certificate::new("b"));
    for values in [
        [own.field(), own.field()],
        [own.field(), other.field()],
        [other.field(), own.field()],
        [String::new(), own.field()],
    ] {
        assert_eq!(told(&world, &own, &[&values[0], &values[1]]).await, UNPROVEN);
    }
}

#[tokio::test(start_paused = true)]
async fn rfc9440_2_3_the_chain_never_supplies_the_certificate() {
    let world = World::with(behind(CertificateField::ClientCert));
    let (own, other) = (Certificate::new("a"), Certificate::new("b"));
    let [token, _] = world.tokens(&own.cnf());
    let chain = ("client-cert-chain", &*own.field());
    assert_eq!(world.outcome(from(PROXY, &token, &[chain])).await, UNPROVEN);
    let fields = [("client-cert", &*other.field()), chain];
    assert_eq!(world.outcome(from(PROXY, &token, &fields)).await, UNPROVEN);
    let fields = [("client-cert", &*own.field()), ("client-cert-chain", "anything")];
    assert_eq!(world.outcome(from(PROXY, &token, &fields)).await, Ok(()));
}

/// Whether a proxy wrote it or let it through: it is no fault of ours, and no certificate.
#[tokio::test(start_paused = true)]
async fn a_malformed_field_is_401_invalid_token() {
    let world = World::with(behind(CertificateField::ClientCert));
    let own = Certificate::new("a");
    let [token, _] = world.tokens(&own.cnf());
    let response = world.send(from(PROXY, &token, &[("client-cert", "what")])).await;
    assert_eq!(response.status(), 401);
    let told = format!("Bearer realm=\"{AUDIENCE}\", error=\"invalid_token\"");
    assert_eq!(response.headers()["www-authenticate"], told.as_str());
    assert_eq!(response.headers()["cache-control"], "no-store");
}

#[tokio::test(start_paused = true)]
async fn xfcc_is_taken_as_envoy_writes_it() {
    let world = World::with(behind(CertificateField::Xfcc));
    let (own, other) = (Certificate::new("a"), Certificate::new("b"));
    let (own_hash, other_hash) = (hash(&own), hash(&other));
    for (value, outcome) in [
        (format!("Hash={own_hash}"), Ok(())),
        (format!("By=spiffe://a;Hash={own_hash};Subject=\"CN=a,O=b\";URI=;DNS=a"), Ok(())),
        (format!("By=spiffe://a;Hash={other_hash};Subject=\"CN=a\""), UNPROVEN),
        // Envoy that appends: the first is forged, and which was the last that Envoy wrote, who knows.
        (format!("Hash={own_hash},Hash={other_hash};Subject=\"\""), UNPROVEN),
        (format!("Hash={other_hash},Hash={own_hash};Subject=\"\""), UNPROVEN),
        // A name in the certificate of a client that wants to be another.
        (format!("Hash={other_hash};URI=spiffe://b,Hash={own_hash}"), UNPROVEN),
        (format!("Hash={other_hash};DNS=b;Hash={own_hash}"), UNPROVEN),
        (format!("Hash={other_hash};Subject=\"CN=b;Hash={own_hash}\""), UNPROVEN),
        (own.field(), UNPROVEN),
        (String::new(), UNPROVEN),
    ] {
        let [token, _] = world.tokens(&own.cnf());
        let fields = [("x-forwarded-client-cert", &*value)];
        assert_eq!(world.outcome(from(PROXY, &token, &fields)).await, outcome, "{value}");
    }
    let [token, _] = world.tokens(&own.cnf());
    let twice = format!("Hash={own_hash}");
    let fields = [("x-forwarded-client-cert", &*twice), ("x-forwarded-client-cert", &*twice)];
    assert_eq!(world.outcome(from(PROXY, &token, &fields)).await, UNPROVEN);
}

#[tokio::test(start_paused = true)]
async fn only_the_field_that_was_chosen_counts() {
    let own = Certificate::new("a");
    let xfcc = format!("Hash={}", hash(&own));
    let both = [("client-cert", &*own.field()), ("x-forwarded-client-cert", &*xfcc)];
    for (chosen, sent) in
        [(CertificateField::ClientCert, both[1]), (CertificateField::Xfcc, both[0])]
    {
        let world = World::with(behind(chosen));
        let [token, _] = world.tokens(&own.cnf());
        assert_eq!(world.outcome(from(PROXY, &token, &[sent])).await, UNPROVEN);
        assert_eq!(world.outcome(from(PROXY, &token, &both)).await, Ok(()));
    }
}
