//! A server that is away, ill, cut off in the middle of its answers, set back; a spool that is full.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tapio_bus::forward::{ForwardConfig, Link};
use tapio_core::ports::EventLog;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::fixture::*;

#[test]
fn everything_arrives_once_and_in_order_with_node_and_cluster() {
    run(async {
        let (_dir, s, a) = folders();
        let server = Server::plain(&s, None).await;
        let agent = Agent::plain(&a, &server.url()).await;
        for n in 0..50 {
            agent.spool.append(events(n * 100..(n + 1) * 100)).await.unwrap();
        }
        server.until(5_000).await;
        let records = read_all(&*server.log).await;
        exactly(&records, 0..5_000);
        assert!(records.iter().all(|r| r.event.node() == Some("n1") && r.event.cluster() == "test"));
        assert_eq!(agent.state.link(), Link::Up);
        assert_eq!(server.ingest.agents(), 1);
        agent.end().await;
        server.end().await;
    });
}

#[test]
fn a_server_that_is_away_costs_nothing_and_the_end_sends_the_rest() {
    run(async {
        let (_dir, s, a) = folders();
        let server = Server::plain(&s, None).await;
        let url = server.url();
        let address = server.end().await;
        let agent = Agent::plain(&a, &url).await;
        agent.spool.append(events(0..3_000)).await.unwrap();
        until("the agent to say so", async || matches!(agent.state.link(), Link::Down { .. })).await;
        let server = Server::plain(&s, Some(address)).await;
        server.until(3_000).await;
        // It goes once more, and comes back.
        let address = server.end().await;
        agent.spool.append(events(3_000..4_000)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(700)).await;
        let server = Server::plain(&s, Some(address)).await;
        server.until(4_000).await;
        // What is told at the very end is still sent.
        agent.spool.append(events(4_000..4_500)).await.unwrap();
        agent.end().await;
        exactly(&read_all(&*server.log).await, 0..4_500);
        server.end().await;
    });
}

#[test]
fn a_server_that_is_ill_is_asked_again_as_it_wishes() {
    run(async {
        for (what, times, said) in [
            ("busy", 2, answer(429, Some(1), "")),
            ("unavailable", 2, answer(503, Some(1), "")),
            ("broken", 3, answer(500, None, "oh")),
            ("half an answer", 3, answer(200, None, "{\"thr")),
            ("somebody else", 1, answer(404, None, "<html>")),
        ] {
            let (_dir, s, a) = folders();
            let server = Server::start(&s, None, None, Mood::Ill(AtomicUsize::new(times), said)).await;
            let agent = Agent::plain(&a, &server.url()).await;
            agent.spool.append(events(0..300)).await.unwrap();
            server.until(300).await;
            let failed = agent.state.counts.failed.load(Ordering::Relaxed);
            assert!((1..=times as u64).contains(&failed), "{what}: {failed} requests failed");
            agent.end().await;
            exactly(&read_all(&*server.log).await, 0..300);
            server.end().await;
        }
    });
}

/// Passes bytes on, and cuts every connection after so many of the server's bytes: ten at first, a thousand in the end.
async fn scissors(to: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let cuts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&cuts);
    tokio::spawn(async move {
        let mut allowed = 10;
        while let Ok((inner, _)) = listener.accept().await {
            let Ok(outer) = TcpStream::connect(to).await else { continue };
            let cuts = Arc::clone(&counted);
            let left = allowed;
            allowed = (allowed * 2).min(1_000);
            tokio::spawn(async move {
                let (mut from_agent, mut to_agent) = inner.into_split();
                let (mut from_server, mut to_server) = outer.into_split();
                let there = tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut from_agent, &mut to_server).await;
                });
                let (mut left, mut piece) = (left, [0; 64]);
                while left > 0 {
                    let Ok(n @ 1..) = from_server.read(&mut piece).await else { break };
                    let n = n.min(left);
                    left -= n;
                    if to_agent.write_all(&piece[..n]).await.is_err() {
                        break;
                    }
                }
                cuts.fetch_add(1, Ordering::SeqCst);
                there.abort();
            });
        }
    });
    (address, cuts)
}

#[test]
fn answers_that_are_cut_off_lose_and_double_nothing() {
    run(async {
        let (_dir, s, a) = folders();
        let server = Server::plain(&s, None).await;
        let (between, cuts) = scissors(server.address).await;
        let config = ForwardConfig { batch_events: 50, ..quick() };
        let agent = Agent::start(&a, target(&a, &format!("http://{between}")), config).await;
        for n in 0..20 {
            agent.spool.append(events(n * 100..(n + 1) * 100)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        server.until(2_000).await;
        agent.end().await;
        exactly(&read_all(&*server.log).await, 0..2_000);
        assert!(cuts.load(Ordering::SeqCst) >= 5, "{cuts:?} cuts");
        server.end().await;
    });
}

#[test]
fn a_server_that_begins_anew_gets_what_is_kept() {
    run(async {
        let (dir, s, a) = folders();
        let server = Server::plain(&s, None).await;
        let agent = Agent::plain(&a, &server.url()).await;
        agent.spool.append(events(0..500)).await.unwrap();
        server.until(500).await;
        let address = server.end().await;
        let fresh = dir.path().join("fresh");
        std::fs::create_dir(&fresh).unwrap();
        let server = Server::plain(&fresh, Some(address)).await;
        agent.spool.append(events(500..600)).await.unwrap();
        server.until(600).await;
        exactly(&read_all(&*server.log).await, 0..600);
        agent.end().await;
        server.end().await;
    });
}

#[test]
fn a_spool_that_was_set_back_gives_no_number_twice() {
    run(async {
        let (_dir, s, a) = folders();
        let server = Server::plain(&s, None).await;
        let agent = Agent::plain(&a, &server.url()).await;
        agent.spool.append(events(0..200)).await.unwrap();
        server.until(200).await;
        agent.end().await;
        // A spool in an emptyDir goes with its pod.
        for f in std::fs::read_dir(&a).unwrap().map(|f| f.unwrap().path()) {
            if f.file_name().unwrap().to_string_lossy().starts_with("spool") {
                std::fs::remove_file(f).unwrap();
            }
        }
        let agent = Agent::plain(&a, &server.url()).await;
        agent.spool.append(events(200..250)).await.unwrap();
        server.until(250).await;
        exactly(&read_all(&*server.log).await, 0..250);
        agent.end().await;
        server.end().await;
    });
}

#[test]
fn a_full_spool_drops_the_oldest_counts_them_and_says_so() {
    run(async {
        let (_dir, s, a) = folders();
        let server = Server::plain(&s, None).await;
        let url = server.url();
        let address = server.end().await;
        let config = ForwardConfig { spool_max_bytes: 40_000, ..quick() };
        let agent = Agent::start(&a, target(&a, &url), config).await;
        for n in 0..10 {
            agent.spool.append(events(n * 100..(n + 1) * 100)).await.unwrap();
        }
        until("the bound to bite", async || agent.state.counts.dropped.load(Ordering::Relaxed) > 0).await;
        let dropped = agent.state.counts.dropped.load(Ordering::Relaxed);
        assert!(agent.spool.stats().await.unwrap().bytes <= 40_000);
        let server = Server::plain(&s, Some(address)).await;
        // One more: the fact that something was dropped.
        server.until(1_000 - dropped + 1).await;
        agent.end().await;
        let records = read_all(&*server.log).await;
        exactly(&records, dropped..1_000);
        let gap = records.iter().find(|r| r.event.kind == "Gap").expect("a fact");
        let data: serde_json::Value = serde_json::from_str(gap.event.data.get()).unwrap();
        assert_eq!(data["lost"], dropped);
        assert!(data["reason"].as_str().unwrap().contains("full"), "{data}");
        server.end().await;
    });
}
