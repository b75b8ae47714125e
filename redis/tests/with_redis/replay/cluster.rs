//! A cluster.

use std::time::Duration;

use redis::cluster::ClusterClient;
use testing::host::PATIENCE;

use super::{FIRST, LONG, REPLAYED, Server, mark_keys, send, set_new, settle, store};

#[tokio::test]
async fn marks_are_spread_over_the_slots_of_a_cluster() {
    let Some(server) = Server::start(&["--cluster-enabled", "yes"]).await else { return };
    let mut connection = server.connection().await;
    send(&mut connection, "CLUSTER ADDSLOTSRANGE 0 16383").await;
    let forms = async {
        while !send(&mut connection, "CLUSTER INFO").await.contains("cluster_state:ok") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, forms).await.expect("no cluster");
    settle(&mut connection).await;
    let client = ClusterClient::builder([format!("redis://127.0.0.1:{}/", server.port)])
        .response_timeout(LONG)
        .build()
        .unwrap();
    let store = store(client.get_async_connection().await.unwrap());
    for n in 0..200 {
        assert_eq!(set_new(&store, &n.to_string()).await, FIRST);
        assert_eq!(set_new(&store, &n.to_string()).await, REPLAYED);
    }
    let keys = mark_keys(&mut connection).await;
    let mut slots = std::collections::BTreeSet::new();
    for key in keys {
        let slot: u16 = redis::cmd("CLUSTER")
            .arg("KEYSLOT")
            .arg(&key)
            .query_async(&mut connection)
            .await
            .unwrap();
        slots.insert(slot);
    }
    assert!(slots.len() > 40, "{slots:?}");
    let report = store.check().await;
    assert_eq!((report.marks, report.is_cluster), (Ok(()), Some(true)));
    assert_eq!((report.keeps_marks, report.is_replica), (Some(true), None));
}
