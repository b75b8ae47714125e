//! Users, passwords and what they may do.

use super::{FIRST, MarkError, REPLAYED, Server, send, set_new, settle, store};

#[tokio::test]
async fn wrong_password_is_an_error_and_is_shown_nowhere() {
    let Some(server) = Server::start(&["--requirepass", "right"]).await else { return };
    let store_of = |user: &str| store(server.manager(user));
    for user in [":wr0ng@", "nobody:wr0ng@", ""] {
        let store = store_of(user);
        let error = set_new(&store, "a").await.unwrap_err();
        assert_eq!(error, MarkError::Denied, "{user}");
        let shown = format!("{store:?} {error:?} {error} {:?}", store.check().await);
        assert!(!shown.contains("wr0ng") && !shown.contains("127.0.0.1"), "{shown}");
    }
    settle(&mut server.connection_of(":right@").await).await;
    let store = store_of(":right@");
    assert_eq!(set_new(&store, "a").await, FIRST);
    assert!(!format!("{store:?}").contains("right"), "{store:?}");
}

#[tokio::test]
async fn user_who_may_only_set_can_mark_proofs() {
    let Some(server) = Server::settled(&[]).await else { return };
    let mut admin = server.connection().await;
    send(&mut admin, "ACL SETUSER api on >secret ~tower-introspect:dpop:* +set").await;
    let store = store(server.manager("api:secret@"));
    assert_eq!(set_new(&store, "a").await, FIRST);
    assert_eq!(set_new(&store, "a").await, REPLAYED);
    let report = store.check().await;
    assert_eq!(report.marks, Ok(()));
    let known = (report.keeps_marks, report.is_replica, report.is_cluster, report.replicas);
    assert_eq!(known, (None, None, None, None));
    assert!(report.problems().iter().any(|problem| problem.contains("not known")));
    let elsewhere = store.prefix("elsewhere:");
    assert_eq!(set_new(&elsewhere, "a").await, Err(MarkError::Denied));
}

#[tokio::test]
async fn user_whose_rights_are_taken_away_is_an_error() {
    let Some(server) = Server::settled(&[]).await else { return };
    let mut admin = server.connection().await;
    send(&mut admin, "ACL SETUSER api on >secret ~tower-introspect:* +set").await;
    let store = store(server.connection_of("api:secret@").await);
    assert_eq!(set_new(&store, "a").await, FIRST);
    send(&mut admin, "ACL SETUSER api -set").await;
    assert_eq!(set_new(&store, "b").await, Err(MarkError::Denied));
}
