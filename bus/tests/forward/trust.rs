//! Tokens that are wrong, certificates that are not trusted, and accounts of the cluster.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tapio_bus::forward::{Link, UplinkTarget};
use tapio_bus::ingest::{Accounts, Gate, Refusal, Sender};
use tapio_cluster::{Connection, Target};
use tapio_core::ports::EventLog;
use tokio_rustls::TlsAcceptor;

use super::fake_api::{FakeApi, Fault};
use super::fixture::*;

#[test]
fn a_wrong_token_brings_nothing_in_and_a_right_one_is_taken_from_its_file() {
    run(async {
        let (_dir, s, a) = folders();
        std::fs::write(a.join("token"), "not the token of the server").unwrap();
        let server = Server::plain(&s, None).await;
        let agent = Agent::plain(&a, &server.url()).await;
        agent.spool.append(events(0..10)).await.unwrap();
        until("the refusal", async || matches!(agent.state.link(), Link::Down { .. })).await;
        let Link::Down { why } = agent.state.link() else { panic!() };
        assert!(why.contains("token"), "{why}");
        assert!(!why.contains("not the token of the server"), "{why}");
        assert_eq!(server.count().await, 0);
        std::fs::write(a.join("token"), format!("{TOKEN}\n")).unwrap();
        server.until(10).await;
        agent.end().await;
        server.end().await;
    });
}

/// An authority, and a certificate of it for 127.0.0.1 that ends in this year.
fn certificates(dir: &Path, until: i32) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "test authority");
    let ca = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    let certificate = params.signed_by(&key, &issuer).unwrap();
    std::fs::write(dir.join("ca.crt"), ca.pem()).unwrap();
    std::fs::write(dir.join("tls.crt"), certificate.pem()).unwrap();
    std::fs::write(dir.join("tls.key"), key.serialize_pem()).unwrap();
}

fn tls(dir: &Path) -> Option<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(dir.join("tls.crt")).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(dir.join("tls.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth();
    let mut config = config.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Some(TlsAcceptor::from(Arc::new(config)))
}

#[test]
fn nothing_is_sent_to_a_server_whose_certificate_is_expired_or_not_trusted() {
    run(async {
        let (dir, s, a) = folders();
        let (expired, good, other) = (dir.path().join("expired"), dir.path().join("good"), dir.path().join("other"));
        for (d, year) in [(&expired, 2021), (&good, 2090), (&other, 2090)] {
            std::fs::create_dir(d).unwrap();
            certificates(d, year);
        }
        let server = Server::start(&s, None, tls(&expired), Mood::Well).await;
        let target = |ca: &Path, server: &Server| UplinkTarget {
            server: format!("https://{}", server.address),
            ca_file: Some(ca.join("ca.crt")),
            ..target(&a, "")
        };
        let agent = Agent::start(&a, target(&expired, &server), quick()).await;
        agent.spool.append(events(0..100)).await.unwrap();
        until("the refusal", async || matches!(agent.state.link(), Link::Down { .. })).await;
        let Link::Down { why } = agent.state.link() else { panic!() };
        assert!(why.contains("certificate is not accepted") && why.to_lowercase().contains("expired"), "{why}");
        assert_eq!(server.count().await, 0);
        agent.end().await;
        let address = server.end().await;

        let server = Server::start(&s, Some(address), tls(&good), Mood::Well).await;
        let agent = Agent::start(&a, target(&other, &server), quick()).await;
        until("the refusal", async || matches!(agent.state.link(), Link::Down { .. })).await;
        let Link::Down { why } = agent.state.link() else { panic!() };
        assert!(why.contains("certificate is not accepted") && why.contains("--ca-file"), "{why}");
        // The right authority comes into the file.
        std::fs::copy(good.join("ca.crt"), other.join("ca.crt")).unwrap();
        server.until(100).await;
        agent.end().await;
        exactly(&read_all(&*server.log).await, 0..100);
        server.end().await;
    });
}

#[test]
fn an_account_of_the_cluster_is_let_in_for_its_own_node_also_while_the_api_server_is_away() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let api = FakeApi::start().await;
        std::fs::write(dir.path().join("token"), "good").unwrap();
        let kubeconfig = dir.path().join("config");
        std::fs::write(&kubeconfig, api.kubeconfig(&dir.path().join("token"))).unwrap();
        let connection =
            Arc::new(Connection::open(Target { kubeconfig: Some(kubeconfig), context: None }).await.unwrap());
        let gate = Gate::Accounts(Accounts::new(connection, &["tapio/tapio-agent".to_owned()]));
        api.vouch("agent", "system:serviceaccount:tapio:tapio-agent", "tapio", "n1");
        api.vouch("other", "system:serviceaccount:shop:tapio-agent", "tapio", "n1");
        api.vouch("elsewhere", "system:serviceaccount:tapio:tapio-agent", "vault", "n1");
        let n1 = Ok(Sender { node: Some("n1".to_owned()) });
        assert_eq!(gate.admit(Some("agent")).await, n1);
        assert!(matches!(gate.admit(Some("other")).await, Err(Refusal::Forbidden(_))));
        assert!(matches!(gate.admit(Some("elsewhere")).await, Err(Refusal::Unauthorised(_))));
        assert!(matches!(gate.admit(Some("forged")).await, Err(Refusal::Unauthorised(_))));
        let asked = || api.seen().iter().filter(|s| s.path.contains("tokenreviews")).count();
        let before = asked();
        for _ in 0..10 {
            assert_eq!(gate.admit(Some("agent")).await, n1);
        }
        assert_eq!(asked(), before, "a judgement holds for a while");
        api.away();
        assert_eq!(gate.admit(Some("agent")).await, n1);
        assert!(matches!(gate.admit(Some("new")).await, Err(Refusal::Unavailable { .. })));
        api.back();
        api.fail("tokenreviews", None, Fault::Status(403, "may not create tokenreviews", None), 1);
        let Err(Refusal::Unavailable { why, .. }) = gate.admit(Some("newer")).await else { panic!() };
        assert!(why.contains("`create` on tokenreviews"), "{why}");

        // The token of one node does not speak for another.
        let folder = tempfile::tempdir().unwrap();
        let log = Arc::new(
            tapio_bus::log::sqlite::SqliteLog::open(folder.path().join("log.sqlite"), Default::default()).unwrap(),
        );
        let ingest = ingest(&log, gate).await;
        assert!(ingest.through(Some("agent"), "n1", "spool").await.is_ok());
        assert!(matches!(ingest.through(Some("agent"), "n2", "spool").await, Err(Refusal::Forbidden(_))));
        let batch = super::hostile::batch("n2", 1, &events(0..1));
        assert!(matches!(ingest.take(Some("agent".to_owned()), batch).await, Err(Refusal::Forbidden(_))));
        assert_eq!(log.stats().await.unwrap().last.0, 0);
        assert_eq!(ingest.counts.batches.load(Ordering::Relaxed), 0);
    });
}
