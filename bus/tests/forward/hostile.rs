//! What a server makes of batches that no agent of ours would send.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tapio_bus::ingest::{AT_ONCE, Gate, Head, Ingest, Refusal, SharedToken, VERSION, pack};
use tapio_bus::log::sqlite::{SqliteConfig, SqliteLog};
use tapio_core::ports::EventLog;
use tapio_core::raw::RawEvent;

use super::fixture::*;

/// A batch as an agent would make it.
pub(crate) fn batch(agent: &str, first: u64, events: &[RawEvent]) -> Bytes {
    let count = events.len();
    let (agent, spool, last) = (agent.to_owned(), "s".to_owned(), first + count as u64 - 1);
    pack(&Head { version: VERSION, agent, spool, first, count, last, begins: false }, events).unwrap().into()
}

struct Place {
    log: Arc<SqliteLog>,
    ingest: Arc<Ingest>,
    _dir: tempfile::TempDir,
}

impl Place {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = Arc::new(SqliteLog::open(dir.path().join("log.sqlite"), SqliteConfig::default()).unwrap());
        std::fs::write(dir.path().join("token"), TOKEN).unwrap();
        let gate = Gate::Shared(SharedToken::open(dir.path().join("token")).unwrap());
        Place { ingest: ingest(&log, gate).await, log, _dir: dir }
    }

    async fn take(&self, batch: Bytes) -> Result<tapio_bus::ingest::Ack, Refusal> {
        self.ingest.take(Some(TOKEN.to_owned()), batch).await
    }
}

#[test]
fn numbers_must_join_and_what_comes_again_is_passed_over() {
    run(async {
        let p = Place::new().await;
        assert_eq!(p.take(batch("n1", 5, &events(4..6))).await, Err(Refusal::OutOfStep { through: 0 }));
        let ack = p.take(batch("n1", 1, &events(0..4))).await.unwrap();
        assert_eq!((ack.through, ack.accepted, ack.duplicates), (4, 4, 0));
        let ack = p.take(batch("n1", 1, &events(0..4))).await.unwrap();
        assert_eq!((ack.through, ack.accepted, ack.duplicates), (4, 0, 4));
        // One that reaches back does not know what is here.
        assert_eq!(p.take(batch("n1", 3, &events(2..9))).await, Err(Refusal::OutOfStep { through: 4 }));
        assert_eq!(p.take(batch("n1", 7, &events(6..9))).await, Err(Refusal::OutOfStep { through: 4 }));
        p.take(batch("n1", 5, &events(4..9))).await.unwrap();
        p.take(batch("n2", 1, &[])).await.unwrap_err();
        exactly(&read_all(&*p.log).await, 0..9);
    });
}

#[test]
fn an_agent_speaks_of_its_own_node_as_a_nodes_collector_and_not_of_the_future() {
    run(async {
        let p = Place::new().await;
        let mut list = events(0..4);
        list[0].source = "cluster_collector".to_owned();
        list[1].metadata.insert("node".to_owned(), "n9".to_owned());
        list[2].timestamp = from_now(3_600);
        list[3].metadata.insert("cluster".to_owned(), "another".to_owned());
        let ack = p.take(batch("n1", 1, &list)).await.unwrap();
        assert_eq!((ack.through, ack.accepted, ack.refused), (4, 2, 2));
        let records = read_all(&*p.log).await;
        exactly(&records, 2..4);
        assert!(records[0].event.seen_at() <= from_now(5), "{}", records[0].event.seen_at());
        assert_eq!(records[1].event.cluster(), "test");
        assert_eq!(p.ingest.counts.ahead.load(Ordering::Relaxed), 1);
        let letters = p.log.dead_letters(10).await.unwrap();
        assert!(letters[0].reason.contains("cluster_collector") && letters[1].reason.contains("another node"));
    });
}

#[test]
fn damaged_and_oversized_batches_are_refused_and_nothing_of_them_is_taken() {
    run(async {
        let p = Place::new().await;
        let whole = batch("n1", 1, &events(0..100));
        for cut in [0, 1, 10, whole.len() / 2, whole.len() - 1] {
            assert!(matches!(p.take(whole.slice(..cut)).await, Err(Refusal::Bad(_))), "cut at {cut}");
        }
        for at in (0..whole.len()).step_by(7) {
            let mut bent = whole.to_vec();
            bent[at] ^= 0x55;
            // Whatever it is then: an answer, and no panic.
            let _ = p.take(bent.into()).await;
        }
        assert!(matches!(p.take(vec![0_u8; 5 << 20].into()).await, Err(Refusal::TooLarge(_))));
        assert!(matches!(p.take(batch("../etc", 1, &events(0..1))).await, Err(Refusal::Bad(_))));
        assert!(matches!(p.ingest.take(None, whole).await, Err(Refusal::Unauthorised(_))));
    });
}

#[test]
fn more_batches_than_there_is_room_for_are_told_to_come_again_and_all_arrive() {
    run(async {
        let p = Arc::new(Place::new().await);
        let mut tasks = tokio::task::JoinSet::new();
        for agent in 0..AT_ONCE * 4 {
            let p = Arc::clone(&p);
            tasks.spawn(async move {
                let name = format!("n{agent}");
                let mut list = events(0..200);
                list.iter_mut().for_each(|e| _ = e.metadata.insert("node".to_owned(), name.clone()));
                let mut waits = 0;
                while let Err(e) = p.take(batch(&name, 1, &list)).await {
                    assert_eq!(e.status(), 429);
                    waits += 1;
                    tokio::time::sleep(e.retry_after().unwrap() / 20).await;
                }
                waits
            });
        }
        tasks.join_all().await;
        assert_eq!(p.log.stats().await.unwrap().last.0, AT_ONCE as u64 * 4 * 200);
    });
}
