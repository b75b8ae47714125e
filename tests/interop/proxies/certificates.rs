//! The certificate that `forward-auth` goes by is that of the connection to the proxy.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use testing::pki::{Authority, Signed};

use super::{Change, Proxy, World, proofs::insecure};
use crate::mtls::{bound, serve};
use tower_introspect::{proof::CertificateField, test_util::AuthorizationServer};

/// The certificate in every field that some proxy writes, and in other spellings.
fn forged(own: &Signed) -> Vec<String> {
    let der = own.certificate.der();
    let base64 = STANDARD.encode(der);
    let hash = tower_introspect::proof::PeerCertificate::from_der(der).expect("DER").thumbprint();
    let hash = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(hash).expect("base64url");
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut lines = Vec::new();
    for (name, value) in [
        ("Client-Cert", format!(":{base64}:")),
        ("X-Forwarded-Client-Cert", format!("Hash={hash}")),
        ("X-Forwarded-Tls-Client-Cert", base64),
    ] {
        for name in [name.to_owned(), name.replace('-', "_"), name.to_lowercase()] {
            lines.push(format!("{name}: {value}\r\n"));
        }
    }
    let all = lines.concat();
    lines.push(all);
    lines
}

#[tokio::test]
async fn rfc8705_3_bound_token_needs_its_certificate_behind_every_proxy() {
    let unchanged: Change = |_, text| text.to_owned();
    let all = Proxy::ALL.map(|proxy| (proxy, unchanged));
    // Traefik does not take its own field off the requests of these clients by itself.
    for (proxy, change) in all.into_iter().chain([(Proxy::Traefik, insecure as Change)]) {
        let Some(world) = World::with(proxy, change).await else { continue };
        let (own, other) = (world.authority.client(), world.authority.client());
        let bound = bound(&world.server, &own);
        let status = async |shown: Option<&Signed>, lines: &str| {
            world.client(shown).get(world.address, &bound, lines).await.status
        };
        assert_eq!(status(Some(&own), "").await, 200, "{proxy:?}");
        assert_eq!(status(Some(&other), "").await, 401, "{proxy:?}");
        assert_eq!(status(None, "").await, 401, "{proxy:?}");
        for lines in forged(&own) {
            assert_eq!(status(None, &lines).await, 401, "{proxy:?} {lines}");
            assert_eq!(status(Some(&other), &lines).await, 401, "{proxy:?} {lines}");
        }
        // A client does itself no harm by a field, as long as it is not in the way.
        for lines in forged(&other) {
            assert_eq!(status(Some(&own), &lines).await, 200, "{proxy:?} {lines}");
        }
        // What the client writes does not go past the proxy.
        let told =
            world.client(Some(&own)).get(world.address, &bound, &forged(&other).concat()).await;
        for line in forged(&other) {
            let (_, value) = line.trim_end().rsplit_once(' ').expect("a field");
            assert!(
                !told.text.contains(value.trim_matches(':')),
                "{proxy:?} {line}: {}",
                told.text
            );
        }
    }
}

/// Returns a file without what asks `forward-auth`, as docs/operations.md describes it.
fn without_asking(file: &str, text: &str) -> String {
    let between = |start: &str, end: &str| {
        let (before, rest) = text.split_once(start).expect("the start");
        let (_, after) = rest.split_once(end).expect("the end");
        format!("{before}{end}{after}")
    };
    let last = "          - name: envoy.filters.http.router";
    match file {
        "Caddyfile" => between("\t\tforward_auth @AUTHORIZER@ {", "\n\t\t# The nonce of"),
        "envoy.yaml" => between("          - name: envoy.filters.http.ext_authz", last),
        "traefik-routes.yaml" => {
            let changed = text.replace("[strip, certificate, ask]", "[strip, certificate]");
            assert_ne!(changed, text);
            changed
        }
        _ => text.to_owned(),
    }
}

#[tokio::test]
async fn rfc8705_3_service_goes_by_the_certificate_that_its_proxy_passes_on() {
    for (proxy, field) in [
        (Proxy::Caddy, CertificateField::ClientCert),
        (Proxy::Envoy, CertificateField::Xfcc),
        (Proxy::Traefik, CertificateField::XForwardedTlsClientCert),
    ] {
        let service = async |server: &AuthorizationServer| serve(server, field, "127.0.0.1").await;
        let Some(world) = World::around(proxy, without_asking, service).await else { continue };
        let (own, other) = (world.authority.client(), world.authority.client());
        let bound = bound(&world.server, &own);
        let status = async |shown: Option<&Signed>, lines: &str| {
            world.client(shown).get(world.address, &bound, lines).await.status
        };
        assert_eq!(status(Some(&own), "").await, 200, "{proxy:?}");
        for lines in forged(&own) {
            assert_eq!(status(None, &lines).await, 401, "{proxy:?} {lines}");
            assert_eq!(status(Some(&other), &lines).await, 401, "{proxy:?} {lines}");
        }
        for lines in forged(&other) {
            assert_eq!(status(Some(&own), &lines).await, 200, "{proxy:?} {lines}");
        }
    }
}

#[tokio::test]
async fn certificate_of_another_authority_is_no_certificate_behind_every_proxy() {
    for proxy in Proxy::ALL {
        let Some(world) = World::new(proxy).await else { continue };
        let stranger = Authority::new().client();
        let bound = bound(&world.server, &stranger);
        let request = format!(
            "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {bound}\r\n\r\n"
        );
        let told = world.client(Some(&stranger)).try_send(world.address, &request).await;
        assert!(told.is_none_or(|told| [400, 401].contains(&told.status)), "{proxy:?}");
    }
}
