//! The example `rest_api`: its printed lines are pasted into a shell, followed by common mistakes.
//! The client is curl.

use std::{io::Write as _, process::Stdio};

use testing::program::{output, stop};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::{examples::example, support::PATIENCE};

/// The number of lines that it prints for pasting.
const LINES: usize = 28;

/// A running example, and its output.
struct Service {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
    base: String,
    /// For each line to paste: its subject, the announced response, and the line.
    lines: Vec<[String; 3]>,
}

impl Service {
    /// Returns `None` without curl.
    async fn start() -> Option<Self> {
        let curl = Command::new("curl").arg("--version").stdout(Stdio::null()).status().await;
        if curl.is_err() {
            let must = std::env::var_os("CI").is_some_and(|ci| ci == "true");
            assert!(!must, "curl is missing");
            // `eprintln!` would not be shown for a passing test.
            let _ = writeln!(std::io::stderr(), "SKIPPED: curl is missing");
            return None;
        }
        let mut command = example("rest_api");
        let mut child = command.args(["--port", "0"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut base, mut lines, mut comments) = (String::new(), Vec::new(), Vec::new());
        while lines.len() < LINES {
            let line = timeout(PATIENCE, out.next_line()).await.expect("in time").unwrap();
            let line = line.expect("no further line");
            if let Some(address) = line.strip_prefix("listening on ") {
                base = address.to_owned();
            } else if let Some(comment) = line.strip_prefix("# ") {
                comments.push(comment.to_owned());
            } else if line.starts_with("curl ") {
                let [what, told] = std::mem::take(&mut comments).try_into().expect("two comments");
                lines.push([what, told, line]);
            }
        }
        Some(Self { child, out, base, lines })
    }

    async fn curl(&self, path: &str, args: &[&str]) -> Answer {
        let mut command = Command::new("curl");
        command.args(["-q", "-sS", "-i", "--noproxy", "*", "--path-as-is"]);
        command.args(args).arg(format!("{}{path}", self.base));
        Answer::of(&mut command).await
    }
}

/// The response that curl shows.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    async fn of(command: &mut Command) -> Self {
        let (ok, out, err) = output(command.stdin(Stdio::null()).kill_on_drop(true)).await;
        assert!(ok, "{command:?}: {err}");
        let (head, body) = out.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).expect("a status line").parse().expect("a status");
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// Fails if there are several.
    fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.head.lines().skip(1).filter_map(|line| {
            let (have, value) = line.split_once(": ")?;
            have.eq_ignore_ascii_case(name).then_some(value)
        });
        let first = found.next();
        assert_eq!(found.next(), None, "several of {name}");
        first
    }

    fn challenge(&self) -> Option<&str> {
        self.header("www-authenticate")
    }
}

/// Returns the challenge with these parameters after the realm.
fn bearer(rest: &str) -> String {
    format!("Bearer realm=\"https://api.example.com\"{rest}")
}

#[tokio::test]
async fn example_passes_its_self_check() {
    let (ok, out, err) = output(example("rest_api").arg("--check")).await;
    assert!(ok, "{out}{err}");
    assert!(
        out.contains(&format!("all {LINES} answers are as told")) && !out.contains("WRONG"),
        "{out}"
    );
    let streams: Vec<_> = out.lines().filter_map(|line| line.split_at_checked(40)).collect();
    for (what, seen) in [
        ("events, with a token for seconds", "a clean end"),
        ("the same token, after it has expired", "401 invalid_token"),
        ("the events of the user", "a clean end"),
        ("the browser asks again", "401 invalid_token"),
        ("another token of the user", "renewed"),
        ("the issuer revokes it", "1008"),
    ] {
        assert!(streams.contains(&(&*format!("{what:<40}"), seen)), "{what}: {out}");
    }
    assert!(out.contains("all streams end as told"), "{out}");
    assert!(out.contains("exports need a scope of their own: would refuse 1 of 1"), "{out}");
}

#[tokio::test]
async fn example_refuses_unknown_arguments() {
    for args in [&["--chek"][..], &["--port"], &["--port", "x"], &["--port", "65536"]] {
        let (ok, out, err) = output(example("rest_api").args(args)).await;
        assert!(!ok && out.is_empty() && err.contains("usage"), "{args:?}: {out}{err}");
    }
    let (ok, _, err) = output(example("rest_api").env("PORT", "none")).await;
    assert!(!ok && err.contains("usage"), "{err}");
}

#[cfg(unix)]
#[tokio::test]
async fn printed_lines_give_the_announced_responses() {
    let Some(mut service) = Service::start().await else { return };
    assert_eq!(service.lines.last().unwrap()[0], "no such route");
    for [what, told, line] in &service.lines {
        assert!(line.starts_with("curl -i "), "{line}");
        // Unchanged, except for the progress bar and the user's environment.
        let quiet = line.replacen("curl -i", "curl -q -i -sS --noproxy '*'", 1);
        let answer = Answer::of(Command::new("sh").args(["-c", &quiet])).await;
        let (status, header) = told.split_once(", ").unwrap_or((told, ""));
        assert_eq!(answer.status.to_string(), status, "{what}: {answer:?}");
        match header.split_once(": ") {
            Some((name, value)) => assert_eq!(answer.header(name), Some(value), "{what}"),
            None => assert_eq!(answer.challenge(), None, "{what}"),
        }
    }
    stop(service.child).await;
    let mut last = String::new();
    while let Some(line) = service.out.next_line().await.unwrap() {
        last = line;
    }
    assert_eq!(last, "exports need a scope of their own: would refuse 1 of 1");
}

#[tokio::test]
async fn lines_of_the_readme_are_printed() {
    let Some(service) = Service::start().await else { return };
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let lines: Vec<_> = readme.lines().filter(|line| line.starts_with("curl ")).collect();
    assert!(!lines.is_empty());
    for line in lines {
        let line = line.replace("http://127.0.0.1:3000", &service.base);
        assert!(service.lines.iter().any(|[.., printed]| *printed == line), "{line}");
    }
}

#[tokio::test]
async fn refusals_have_exact_challenges_and_problem_documents() {
    let Some(service) = Service::start().await else { return };
    let scope = bearer(", error=\"insufficient_scope\", scope=\"payments:read\"");
    let invalid = bearer(", error=\"invalid_token\"");
    let step_up =
        ", error=\"insufficient_user_authentication\", acr_values=\"mfa\", max_age=\"300\"";
    for (path, token, status, challenge, detail) in [
        ("/payments", "", 401, bearer(""), "authentication required"),
        ("/payments", "nonsense", 401, invalid.clone(), "invalid token"),
        ("/payments", "elsewhere", 401, invalid.clone(), "invalid token"),
        ("/payments", "a.b.c", 401, invalid.clone(), "invalid token"),
        ("/payments", "bob", 403, scope, "insufficient scope"),
        (
            "/statements",
            "alice",
            401,
            bearer(step_up),
            "stronger or more recent authentication required",
        ),
        // Optional routes accept no invalid token.
        ("/", "nonsense", 401, invalid, "invalid token"),
    ] {
        let authorization = format!("Authorization: Bearer {token}");
        let args: &[&str] = if token.is_empty() { &[] } else { &["-H", &authorization] };
        let answer = service.curl(path, args).await;
        assert_eq!(answer.status, status, "{path} {token}: {answer:?}");
        assert_eq!(answer.challenge(), Some(&*challenge), "{path} {token}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let document: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!(document["status"], status);
        assert_eq!(document["detail"], detail, "{path} {token}");
    }
    // Faults of the service have no challenge.
    let denied = service.curl("/me", &["-H", "Authorization: Bearer bob"]).await;
    assert_eq!((denied.status, denied.challenge()), (403, None));
}

/// Mistakes when a token is pasted or inserted by a script.
#[tokio::test]
async fn rfc6750_3_1_malformed_token_is_400_and_other_schemes_are_401() {
    let Some(service) = Service::start().await else { return };
    for authorization in [
        "Bearer \"alice\"",
        "Bearer 'alice'",
        "Bearer <alice>",
        "Bearer Bearer alice",
        "Bearer alice, Bearer alice",
        "Bearer alice bob",
        "Bearer token=alice",
        "Bearer %61lice",
        "Bearer $TOKEN",
        "Bearer:alice",
        "Bearer",
        "bearer ",
    ] {
        let header = format!("Authorization: {authorization}");
        let answer = service.curl("/payments", &["-H", &header]).await;
        assert_eq!(answer.status, 400, "{authorization}: {answer:?}");
        let challenge = bearer(", error=\"invalid_request\"");
        assert_eq!(answer.challenge(), Some(&*challenge), "{authorization}");
    }
    // A semicolon makes curl send an empty header.
    assert_eq!(service.curl("/payments", &["-H", "Authorization;"]).await.status, 400);
    let twice = ["-H", "Authorization: Bearer alice", "-H", "Authorization: Bearer alice"];
    assert_eq!(service.curl("/payments", &twice).await.status, 400);

    let header = |value| vec!["-H", value];
    for args in [
        vec!["-u", "alice:secret"],
        header("Authorization: alice"),
        header("Authorization: Token alice"),
        // Here curl sends no such header.
        header("Authorization:"),
        header("Proxy-Authorization: Bearer alice"),
        header("X-Authorization: Bearer alice"),
        header("Cookie: access_token=alice"),
    ] {
        let answer = service.curl("/payments", &args).await;
        assert_eq!((answer.status, answer.challenge()), (401, Some(&*bearer(""))), "{args:?}");
    }
    let query = service.curl("/payments?access_token=alice", &[]).await;
    assert_eq!((query.status, query.challenge()), (401, Some(&*bearer(""))));
    let form = service.curl("/payments", &["-d", "access_token=root"]).await;
    assert_eq!((form.status, form.challenge()), (401, Some(&*bearer(""))));

    // Schemes and field names are compared without case.
    for good in ["authorization: bearer alice", "AUTHORIZATION:   BEARER   alice  "] {
        assert_eq!(service.curl("/payments", &["-H", good]).await.status, 200, "{good}");
    }
}

#[tokio::test]
async fn other_methods_and_spellings_of_a_path_are_refused() {
    let Some(service) = Service::start().await else { return };
    let alice: &[&str] = &["-H", "Authorization: Bearer alice"];

    let head = service.curl("/payments", &["--head"]).await;
    assert_eq!((head.status, head.challenge(), &*head.body), (401, Some(&*bearer("")), ""));
    let head = service.curl("/payments", &["--head", alice[0], alice[1]]).await;
    assert_eq!((head.status, &*head.body), (200, ""));
    for method in ["PUT", "DELETE", "PATCH", "BREW", "get"] {
        let answer = service.curl("/payments", &["-X", method]).await;
        assert_eq!((answer.status, answer.challenge()), (401, Some(&*bearer(""))), "{method}");
        let answer = service.curl("/payments", &["-X", method, alice[0], alice[1]]).await;
        assert_eq!(answer.status, 405, "{method}");
    }

    // The CORS layer handles every OPTIONS request as a preflight, without calling a handler, and
    // allows other origins nothing.
    let options = service.curl("/payments", &["-X", "OPTIONS"]).await;
    assert_eq!((options.status, &*options.body), (200, ""));
    let preflight = |origin: &'static str| {
        let origin = format!("Origin: {origin}");
        let method = "Access-Control-Request-Method: POST";
        let service = &service;
        async move { service.curl("/payments", &["-X", "OPTIONS", "-H", &origin, "-H", method]).await }
    };
    let ours = preflight("https://app.example.com").await;
    let origin = "access-control-allow-origin";
    assert_eq!((ours.status, ours.header(origin)), (200, Some("https://app.example.com")));
    let theirs = preflight("https://evil.example.com").await;
    assert_ne!(theirs.header(origin), Some("https://evil.example.com"));
    assert_ne!(theirs.header(origin), Some("*"));

    for path in [
        "//payments",
        "/payments/",
        "/payments//",
        "/Payments",
        "/%70ayments",
        "/payments%2F",
        "/payments%00",
        "/payments;x=1",
        "/health/../payments",
        "/health/%2e%2e/payments",
        "/./payments",
    ] {
        let answer = service.curl(path, &[]).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
    assert_eq!(service.curl("/payments?", &[]).await.status, 401);
    assert_eq!(service.curl("/payments?/health", &[]).await.status, 401);
}

#[tokio::test]
async fn rfc7009_live_route_refuses_a_revoked_token_at_once() {
    let Some(service) = Service::start().await else { return };
    let carol = ["-X", "POST", "-H", "Authorization: Bearer carol"];
    for _ in 0..2 {
        assert_eq!(service.curl("/transfers", &carol).await.status, 201);
    }
    let [.., revoke] = service
        .lines
        .iter()
        .find(|[what, ..]| what.contains("revokes"))
        .expect("the line is not printed");
    let (_, args) = revoke.split_once("curl ").unwrap();
    let args = args.split(' ').chain(["-sS", "--noproxy", "*"]);
    assert_eq!(Answer::of(Command::new("curl").arg("-q").args(args)).await.status, 200);
    let refused = service.curl("/transfers", &carol).await;
    let challenge = bearer(", error=\"invalid_token\"");
    assert_eq!((refused.status, refused.challenge()), (401, Some(&*challenge)));
}
