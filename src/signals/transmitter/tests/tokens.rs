use super::*;

#[tokio::test(start_paused = true)]
async fn function_without_a_token_is_an_unavailable_transmitter() {
    for text in [Ok("a b"), Ok(""), Err("vault is sealed")] {
        let script = Script::new([]);
        let auth = TransmitterAuth::from_fn(move |_| async move {
            text.map(str::to_owned).map_err(Into::into)
        });
        let error = script.builder(auth).build().unwrap().client().metadata().await;
        // Metadata needs no token.
        assert!(error.is_err());
        let auth = TransmitterAuth::from_fn(move |_| async move {
            text.map(str::to_owned).map_err(Into::into)
        });
        let stream = script.builder(auth).build().unwrap().stream("s1");
        let (receiver, state) = (Arc::<Events>::default(), state());
        let poller = Poller::new(&stream, POLL_URL, receiver as _, &state).unwrap();
        let before = script.seen().len();
        poller.run(tokio::time::sleep(Duration::from_secs(9))).await;
        assert_eq!(script.seen().len(), before, "nothing is sent without a token");
        assert!(state.failing().is_some());
    }
}

#[test]
fn text_that_is_no_token_is_a_problem_of_the_configuration() {
    let built = EventStreams::builder(ISSUER, TransmitterAuth::bearer("a b"))
        .transport(Script::new([]).transport())
        .build();
    assert_eq!(built.unwrap_err().to_string(), "auth: not a bearer token");
}

#[cfg(feature = "introspection")]
mod client_credentials {
    use super::{super::super::error::TransmitterErrorKind, *};
    use crate::introspection::auth::ClientAuth;

    fn auth() -> TransmitterAuth {
        let client = ClientAuth::post("api", "horse");
        TransmitterAuth::client_credentials(
            "https://as.example.com/token",
            client,
            Some("ssf.read"),
        )
    }

    fn token(name: &str, expires_in: &Value) -> Answer {
        ok(&json!({ "access_token": name, "token_type": "bearer", "expires_in": expires_in }))
    }

    /// Returns the kind of the error with which a poll fails at this token response.
    async fn failure(answer: Answer) -> Option<TransmitterErrorKind> {
        let script = Script::new([answer, ok(&events(&[]))]);
        let (state, _) = poll(&script, 0.5).await;
        state.failing().map(|(kind, _)| kind)
    }

    async fn poll(script: &Script, secs: f64) -> (Arc<PollState>, Vec<Seen>) {
        let stream = script.builder(auth()).build().unwrap().stream("s1");
        let (receiver, state) = (Arc::<Events>::default(), state());
        let poller = Poller::new(&stream, POLL_URL, receiver as _, &state).unwrap();
        poller.run(tokio::time::sleep(Duration::from_secs_f64(secs))).await;
        (state, script.seen())
    }

    #[tokio::test(start_paused = true)]
    async fn rfc6749_4_4_token_is_requested_by_client_credentials_and_kept_until_it_expires_soon() {
        let script = Script::new([token("t1", &json!(100)), ok(&events(&[]))])
            .then_always(|| ok(&events(&[])));
        let (_, seen) = poll(&script, 80.0).await;
        assert_eq!(seen[0].target, "POST /token");
        let form = "grant_type=client_credentials&scope=ssf.read&client_id=api&client_secret=horse";
        assert_eq!(seen[0].text, form);
        assert!(seen[0].auth.is_empty());
        assert!(seen[1..].iter().all(|it| it.auth == "Bearer t1"), "{seen:?}");

        let script = Script::new([token("t1", &json!("100"))]);
        let polls = script.then_always(|| {
            ok(&json!({
                "access_token": "t2", "token_type": "Bearer", "sets": {},
            }))
        });
        let (_, seen) = poll(&polls, 100.0).await;
        let renewed = seen.iter().skip(1).find(|it| it.target == "POST /token").unwrap();
        assert!(renewed.at >= 90.0 && renewed.at < 96.0, "{}", renewed.at);
        assert_eq!(seen.last().unwrap().auth, "Bearer t2");
    }

    #[tokio::test(start_paused = true)]
    async fn rfc6750_3_1_rejected_token_is_replaced_once() {
        let script = Script::new([
            token("t1", &Value::Null),
            empty(401),
            token("t2", &Value::Null),
            ok(&events(&["a"])),
        ]);
        let (state, seen) = poll(&script, 9.0).await;
        let auths: Vec<_> = seen.iter().map(|it| &*it.auth).collect();
        assert_eq!(auths[..5], ["", "Bearer t1", "", "Bearer t2", "Bearer t2"]);
        assert!(state.failing().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn callers_wait_for_one_token() {
        let script = Script::new([ok(&management::metadata()), token("t1", &json!(3600))]);
        let script = script.then_always(|| empty(204));
        let streams = script.builder(auth()).build().unwrap();
        streams.client().metadata().await.unwrap();
        let verify = |id: &'static str| {
            let stream = streams.stream(id);
            tokio::spawn(async move { stream.verify(None).await })
        };
        for task in [verify("s1"), verify("s2"), verify("s3")] {
            task.await.unwrap().unwrap();
        }
        let requested = script.seen().iter().filter(|it| it.target == "POST /token").count();
        assert_eq!(requested, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn rfc6749_5_response_that_is_no_token_is_refused() {
        use TransmitterErrorKind::{BadResponse, Unauthorized, Unavailable};
        let error = json!({ "error": "invalid_client", "error_description": "secret horse" });
        for (answer, kind) in [
            (status(401, &error), Unauthorized),
            (status(400, &error), Unauthorized),
            (empty(503), Unavailable),
            (empty(302), BadResponse),
            (empty(200), BadResponse),
            (ok(&json!([])), BadResponse),
            (ok(&json!({ "access_token": "t1" })), BadResponse),
            (ok(&json!({ "access_token": "t1", "token_type": "DPoP" })), BadResponse),
            (ok(&json!({ "access_token": "a b", "token_type": "Bearer" })), BadResponse),
            (ok(&json!({ "access_token": null, "token_type": "Bearer" })), BadResponse),
            (token("t1", &json!(-1)), BadResponse),
            (token(&"x".repeat(300_000), &json!(1)), BadResponse),
        ] {
            assert_eq!(failure(answer).await, Some(kind));
        }
    }

    #[test]
    fn token_endpoint_is_https() {
        let client = ClientAuth::post("api", "");
        let auth = TransmitterAuth::client_credentials("http://as.example.com/", client, None);
        let built = EventStreams::builder(ISSUER, auth).transport(Script::new([]).transport());
        let problems = built.build().unwrap_err().to_string();
        assert!(problems.contains("auth.token_endpoint: not an https URL"), "{problems}");
        assert!(problems.contains("the client secret is empty"), "{problems}");
    }
}
