use super::{
    super::{
        configuration::EndpointName,
        error::{TransmitterError, TransmitterErrorKind},
        stream::StreamStatus,
        stream_configuration::{DeliveryMethod, StreamRequest},
    },
    *,
};

pub(super) fn metadata() -> Value {
    json!({
        "issuer": ISSUER,
        "jwks_uri": "https://tr.example.com/jwks",
        "delivery_methods_supported": ["urn:ietf:rfc:8936", "urn:example:other"],
        "configuration_endpoint": "https://tr.example.com/streams?a=b",
        "status_endpoint": "https://tr.example.com/status",
        "add_subject_endpoint": "https://tr.example.com/add",
        "remove_subject_endpoint": null,
        "verification_endpoint": "https://tr.example.com/verify",
    })
}

pub(super) fn configuration() -> Value {
    json!({
        "stream_id": "s1",
        "iss": ISSUER,
        "aud": ["api", "web"],
        "delivery": { "method": "urn:ietf:rfc:8936", "endpoint_url": POLL_URL },
        "events_supported": ["urn:a", "urn:b"],
        "events_requested": null,
        "events_delivered": ["urn:a"],
        "min_verification_interval": 60,
        "inactivity_timeout": null,
        "description": null,
        "something": { "new": [] },
    })
}

fn kind<T: std::fmt::Debug>(outcome: Result<T, TransmitterError>) -> TransmitterErrorKind {
    let error = outcome.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("quoted") && !shown.contains("t0"), "{shown}");
    error.kind()
}

#[tokio::test(start_paused = true)]
async fn ssf_7_2_metadata_is_between_host_and_path_of_the_issuer() {
    for (issuer, target) in [
        ("https://tr.example.com/one", "GET /.well-known/ssf-configuration/one"),
        ("https://tr.example.com/one/", "GET /.well-known/ssf-configuration/one"),
        ("https://tr.example.com/", "GET /.well-known/ssf-configuration"),
        ("https://tr.example.com", "GET /.well-known/ssf-configuration"),
    ] {
        let script = Script::new([ok(&json!({ "issuer": issuer }))]);
        let auth = TransmitterAuth::bearer("t0");
        let streams = EventStreams::builder(issuer, auth).transport(script.transport()).build();
        streams.unwrap().client().metadata().await.unwrap();
        let seen = script.seen();
        assert_eq!((&*seen[0].target, &*seen[0].auth), (target, ""));
    }
    for issuer in ["http://tr.example.com", "https://tr.example.com?x", "tr", ""] {
        let auth = TransmitterAuth::bearer("t0");
        let built = EventStreams::builder(issuer, auth).transport(Script::new([]).transport());
        assert!(built.build().unwrap_err().to_string().starts_with("issuer: "), "{issuer}");
    }
}

#[tokio::test(start_paused = true)]
async fn ssf_7_1_members_that_are_null_are_absent_and_endpoints_are_https() {
    let mut document = metadata();
    document["status_endpoint"] = "http://tr.example.com/status".into();
    document["verification_endpoint"] = 7.into();
    let script = Script::new([ok(&document)]);
    let metadata = script.streams().client().metadata().await.unwrap();
    assert!(metadata.require(EndpointName::Jwks).is_ok());
    for (name, problem) in [
        (EndpointName::RemoveSubject, "`remove_subject_endpoint` in the metadata: missing"),
        (EndpointName::Status, "not an https URL"),
        (EndpointName::Verification, "not a string"),
    ] {
        let error = metadata.require(name).unwrap_err();
        assert_eq!(error.kind(), TransmitterErrorKind::Unsupported);
        assert!(error.to_string().contains(problem), "{error}");
    }
    assert!(metadata.may_deliver_by(DeliveryMethod::Poll));
    assert!(!metadata.may_deliver_by(DeliveryMethod::Push));
}

#[tokio::test(start_paused = true)]
async fn ssf_7_2_3_metadata_of_another_issuer_or_form_is_refused() {
    let of = |issuer: &str| ok(&json!({ "issuer": issuer }));
    let twice = format!("{{\"issuer\":\"{ISSUER}\",\"issuer\":\"{ISSUER}\"}}");
    for answer in [
        of("https://tr.example.com/ONE"),
        of("https://tr.example.com/one/"),
        of("quoted"),
        ok(&json!({})),
        ok(&json!([])),
        Answer::Of(200, vec![("content-type", "application/json")], twice),
        Answer::Of(200, vec![("content-type", "text/html")], metadata().to_string()),
        ok(&json!({ "issuer": ISSUER, "x": "x".repeat(256 * 1024) })),
        empty(302),
        empty(404),
    ] {
        let streams = Script::new([answer]).streams();
        assert_eq!(kind(streams.client().metadata().await), TransmitterErrorKind::BadResponse);
    }
}

#[tokio::test(start_paused = true)]
async fn ssf_8_1_1_1_stream_is_created_and_its_configuration_is_read() {
    let script = Script::new([ok(&metadata()), status(201, &configuration())]);
    let request = StreamRequest::poll().event("urn:a").event("urn:b").description("orders");
    let created = script.streams().create(&request).await.unwrap();
    let seen = script.seen();
    assert_eq!((&*seen[1].target, &*seen[1].auth), ("POST /streams?a=b", "Bearer t0"));
    let expected = json!({
        "delivery": { "method": "urn:ietf:rfc:8936" },
        "events_requested": ["urn:a", "urn:b"],
        "description": "orders",
    });
    assert_eq!(seen[1].body, expected);
    assert_eq!((created.stream_id(), created.issuer()), ("s1", ISSUER));
    assert_eq!(created.audience().collect::<Vec<_>>(), ["api", "web"]);
    assert_eq!(created.delivery_method(), DeliveryMethod::Poll);
    assert_eq!(created.endpoint_url(), Some(POLL_URL));
    assert_eq!(created.events_supported().count(), 2);
    assert_eq!(created.events_requested().count(), 0);
    assert_eq!(created.events_delivered().collect::<Vec<_>>(), ["urn:a"]);
    assert_eq!(created.min_verification_interval(), Some(Duration::from_secs(60)));
    assert_eq!(created.inactivity_timeout(), None);
}

#[tokio::test(start_paused = true)]
async fn ssf_6_1_1_push_has_a_url_and_a_header_and_is_not_requested_where_it_is_not_offered() {
    let request =
        StreamRequest::push("https://api.example.com/events").authorization_header("Bearer quoted");
    assert!(!format!("{request:?}").contains("quoted"));
    let script = Script::new([ok(&metadata())]);
    let outcome = script.streams().create(&request).await;
    assert_eq!(kind(outcome), TransmitterErrorKind::Unsupported);
    assert_eq!(script.seen().len(), 1);
    let mut document = metadata();
    document["delivery_methods_supported"] = Value::Null;
    let script = Script::new([ok(&document), status(201, &configuration())]);
    script.streams().create(&request).await.unwrap();
    let expected = json!({ "delivery": {
        "method": "urn:ietf:rfc:8935",
        "endpoint_url": "https://api.example.com/events",
        "authorization_header": "Bearer quoted",
    } });
    assert_eq!(script.seen()[1].body, expected);
}

#[tokio::test(start_paused = true)]
async fn ssf_8_1_1_creation_and_deletion_are_not_repeated_on_a_new_connection() {
    let script = Script::new([ok(&metadata()), Answer::Closes, status(201, &configuration())]);
    let outcome = script.streams().create(&StreamRequest::poll()).await;
    assert_eq!(kind(outcome), TransmitterErrorKind::Unavailable);
    assert_eq!(script.seen().len(), 2);
    let script = Script::new([ok(&metadata()), Answer::Closes, empty(404)]);
    let outcome = script.streams().stream("s1").delete().await;
    assert_eq!(kind(outcome), TransmitterErrorKind::Unavailable);
    // Where repetition is harmless, it is done.
    let answers =
        [ok(&metadata()), Answer::Closes, empty(204), Answer::Closes, ok(&configuration())];
    let stream = Script::new(answers).streams().stream("s1");
    stream.verify(None).await.unwrap();
    stream.read().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn ssf_8_1_1_configuration_of_another_form_stream_or_issuer_is_refused() {
    let with = |member: &str, value: Value| {
        let mut changed = configuration();
        changed[member] = value;
        ok(&changed)
    };
    for answer in [
        with("iss", "https://quoted.example.com".into()),
        with("iss", Value::Null),
        with("stream_id", "quoted".into()),
        with("stream_id", 7.into()),
        with("delivery", Value::Null),
        with("delivery", json!({ "endpoint_url": POLL_URL })),
        with("aud", json!([7])),
        with("events_delivered", "urn:a".into()),
        with("min_verification_interval", (-1).into()),
        with("description", "x".repeat(256 * 1024).into()),
        Answer::Of(200, vec![("content-type", "text/html")], configuration().to_string()),
        empty(204),
    ] {
        let script = Script::new([ok(&metadata()), answer]);
        let outcome = script.streams().stream("s1").read().await;
        assert_eq!(kind(outcome), TransmitterErrorKind::BadResponse);
    }
    let script = Script::new([ok(&metadata()), with("aud", "api".into())]);
    let read = script.streams().stream("s1").read().await.unwrap();
    assert_eq!(read.audience().collect::<Vec<_>>(), ["api"]);
}

#[tokio::test(start_paused = true)]
async fn ssf_8_1_1_2_streams_are_read_alone_or_all() {
    let mut found = configuration();
    found["stream_id"] = "s/1 &x=".into();
    let script = Script::new([ok(&metadata()), ok(&found)]);
    script.streams().stream("s/1 &x=").read().await.unwrap();
    assert_eq!(script.seen()[1].target, "GET /streams?a=b&stream_id=s%2F1+%26x%3D");
    for (body, count) in
        [(json!([]), 0), (configuration(), 1), (json!([configuration(), configuration()]), 2)]
    {
        let script = Script::new([ok(&metadata()), ok(&body)]);
        assert_eq!(script.streams().list().await.unwrap().len(), count);
        assert_eq!(script.seen()[1].target, "GET /streams?a=b");
    }
    for body in [json!([7]), json!("quoted"), json!([configuration(), {}])] {
        let script = Script::new([ok(&metadata()), ok(&body)]);
        assert_eq!(kind(script.streams().list().await), TransmitterErrorKind::BadResponse);
    }
}

#[tokio::test(start_paused = true)]
async fn ssf_8_1_1_stream_is_updated_and_deleted() {
    let answers = [ok(&metadata()), ok(&configuration()), empty(202), empty(204), empty(404)];
    let script = Script::new(answers);
    let stream = script.streams().stream("s1");
    let request = StreamRequest::poll().event("urn:a");
    assert!(stream.update(&request).await.unwrap().is_some());
    assert!(stream.update(&request).await.unwrap().is_none());
    stream.delete().await.unwrap();
    assert_eq!(kind(stream.delete().await), TransmitterErrorKind::NotFound);
    let seen = script.seen();
    assert_eq!(seen[1].target, "PATCH /streams?a=b");
    let delivery = json!({ "method": "urn:ietf:rfc:8936" });
    let expected =
        json!({ "stream_id": "s1", "delivery": delivery, "events_requested": ["urn:a"] });
    assert_eq!(seen[1].body, expected);
    assert_eq!((&*seen[3].target, &*seen[3].text), ("DELETE /streams?a=b&stream_id=s1", ""));
}

#[tokio::test(start_paused = true)]
async fn ssf_8_1_2_status_is_read_and_set() {
    let of = |status: &str| ok(&json!({ "stream_id": "s1", "status": status, "reason": null }));
    let answers = [ok(&metadata()), of("paused"), of("disabled"), empty(202), of("quoted")];
    let script = Script::new(answers);
    let stream = script.streams().stream("s1");
    assert_eq!(stream.status().await.unwrap(), StreamStatus::Paused);
    let set = stream.set_status(StreamStatus::Disabled, Some("maintenance")).await;
    assert_eq!(set.unwrap(), Some(StreamStatus::Disabled));
    assert_eq!(stream.set_status(StreamStatus::Enabled, None).await.unwrap(), None);
    assert_eq!(kind(stream.status().await), TransmitterErrorKind::BadResponse);
    let seen = script.seen();
    assert_eq!(seen[1].target, "GET /status?stream_id=s1");
    let first = json!({ "stream_id": "s1", "status": "disabled", "reason": "maintenance" });
    assert_eq!(seen[2].body, first);
    assert_eq!(seen[3].body, json!({ "stream_id": "s1", "status": "enabled" }));
}

#[tokio::test(start_paused = true)]
async fn ssf_8_1_3_subjects_are_added_and_removed() {
    let mut document = metadata();
    document["remove_subject_endpoint"] = "https://tr.example.com/remove".into();
    let script = Script::new([ok(&document), empty(200), empty(204)]);
    let stream = script.streams().stream("s1");
    let subject = r#"{"format":"email","email":"a@example.com"}"#;
    stream.add_subject(subject, Some(false)).await.unwrap();
    stream.remove_subject(subject).await.unwrap();
    for wrong in ["", "[]", "\"x\"", "{\"a\":1,\"a\":2}"] {
        assert_eq!(kind(stream.add_subject(wrong, None).await), TransmitterErrorKind::Refused);
    }
    let seen = script.seen();
    let subject = json!({ "format": "email", "email": "a@example.com" });
    let added = json!({ "stream_id": "s1", "subject": subject, "verified": false });
    assert_eq!((&*seen[1].target, &seen[1].body), ("POST /add", &added));
    let removed = json!({ "stream_id": "s1", "subject": subject });
    assert_eq!((&*seen[2].target, &seen[2].body), ("POST /remove", &removed));
    assert_eq!(seen.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn ssf_8_1_4_2_verification_is_requested_with_a_state() {
    let later = Answer::Of(429, vec![("retry-after", "7")], "quoted".into());
    let script = Script::new([ok(&metadata()), empty(204), later]);
    let stream = script.streams().stream("s1");
    stream.verify(Some("x")).await.unwrap();
    assert_eq!(script.seen()[1].body, json!({ "stream_id": "s1", "state": "x" }));
    let error = stream.verify(None).await.unwrap_err();
    assert_eq!(error.kind(), TransmitterErrorKind::Unavailable);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    assert_eq!(script.seen()[2].body, json!({ "stream_id": "s1" }));
}

#[tokio::test(start_paused = true)]
async fn statuses_have_kinds_and_no_response_is_quoted() {
    use TransmitterErrorKind::{
        BadResponse, Conflict, NotFound, Refused, Unauthorized, Unavailable,
    };
    for (code, expected) in [
        (400, Refused),
        (401, Unauthorized),
        (403, Unauthorized),
        (404, NotFound),
        (409, Conflict),
        (422, Refused),
        (302, BadResponse),
        (500, Unavailable),
        (503, Unavailable),
    ] {
        let answer = status(code, &json!({ "error": "quoted" }));
        let script = Script::new([ok(&metadata()), answer]);
        assert_eq!(kind(script.streams().create(&StreamRequest::poll()).await), expected, "{code}");
        assert_eq!(script.seen().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_have_ten_seconds() {
    let script = Script::new([ok(&metadata())]);
    let start = Moment::now(&SystemClock);
    assert_eq!(kind(script.streams().list().await), TransmitterErrorKind::Unavailable);
    let took = Moment::now(&SystemClock).monotonic_since(start).as_secs_f64();
    assert!((took - 10.0).abs() < 0.1, "{took}");
}
