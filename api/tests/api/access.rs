//! Who may ask: addresses, tokens, certificates.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tapio_api::{ServeError, TlsFiles};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::place::{Place, config};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_for_and_a_new_one_takes_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let mut with = config();
    with.token_file = Some(file.clone());
    let place = Place::new(with).await;
    let bearer = |t: &str| format!("Bearer {t}");
    let status = async |t: &str| {
        place.ask(Method::GET, "/api/v1/scope", &[("authorization", &bearer(t))], "").await.status.as_u16()
    };
    assert_eq!((status(TOKEN).await, status("wrong").await, status("").await), (200, 401, 401));
    place.get("/metrics").await.is_problem(401);
    for open in ["/livez", "/readyz", "/openapi.json", "/docs/"] {
        assert!(place.get(open).await.status.is_success(), "{open}");
    }
    // Who has the token may ask under any name.
    let foreign = [("authorization", bearer(TOKEN)), ("host", "tapio.example".to_owned())];
    let foreign: Vec<(&str, &str)> = foreign.iter().map(|(n, v)| (*n, v.as_str())).collect();
    assert!(place.ask(Method::GET, "/api/v1/scope", &foreign, "").await.status.is_success());
    // Half a write is no token; the old one stays.
    std::fs::write(&file, "").unwrap();
    let failed = "tapio_reload_errors_total{operation=\"token\"";
    until(|| place.metrics.text().contains(failed)).await;
    assert_eq!(status(TOKEN).await, 200);
    let new = "fedcba9876543210fedcba9876543210";
    std::fs::write(&file, new).unwrap();
    let begun = std::time::Instant::now();
    while status(new).await != 200 {
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(status(TOKEN).await, 401);
}

async fn until(mut so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(10), "it never came to be");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_machines_need_a_token_or_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let mut open = config();
    open.listen = "0.0.0.0:0".parse().unwrap();
    assert!(matches!(refused(&open), ServeError::Open(_)));
    open.insecure_without_token = true;
    let place = Place::new(open.clone()).await;
    assert!(place.warnings[0].contains("reads everything"), "{:?}", place.warnings);
    assert!(place.ask(Method::GET, "/livez", &[("host", "tapio.example")], "").await.status.is_success());
    open.insecure_without_token = false;
    let file = dir.path().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    open.token_file = Some(file.clone());
    assert!(Place::new(open.clone()).await.warnings[0].contains("clear text"));
    // What cannot be used is said before anybody listens.
    open.token_file = Some(dir.path().join("none"));
    assert!(refused(&open).to_string().contains("token file"));
    let mut zero = config();
    zero.max_requests = 0;
    assert!(refused(&zero).to_string().contains("max_requests is 0"));
    let mut taken = config();
    taken.listen = std::net::SocketAddr::from(([127, 0, 0, 1], place.addr.port()));
    assert!(matches!(refused(&taken), ServeError::Listen { .. }));
    let named = "tapio.example".to_owned();
    let mut known = config();
    known.allowed_hosts = vec![named];
    let place = Place::new(known).await;
    assert!(place.ask(Method::GET, "/livez", &[("host", "tapio.example:80")], "").await.status.is_success());
    assert!(place.warnings.is_empty());
}

/// Why a server with these settings does not begin.
fn refused(config: &tapio_api::ApiConfig) -> ServeError {
    use tapio_api::{Feed, Health, Metrics, Parts, Server, desk};
    let dir = tempfile::tempdir().unwrap();
    let graph = tapio_graph::EmbeddedGraph::open(dir.path(), tapio_graph::EmbeddedConfig::default()).unwrap();
    let queue = tapio_api::ApiConfig::default();
    let (reader, _desk) = desk::desk(&queue, Arc::default());
    let parts = Parts {
        reader,
        graph: Arc::new(graph),
        feed: Arc::new(Feed::new(config)),
        health: Arc::new(Health::default()),
        metrics: Metrics::new(),
        manifests: Arc::new(|_| Ok(Vec::new())),
        log_level: None,
        query: tapio_core::ports::Limits::default(),
    };
    Server::bind(config, parts).err().expect("it is refused")
}

/// A certificate of its own authority for `localhost`, written to both files.
fn certify(files: &TlsFiles) -> RootCertStore {
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    std::fs::write(&files.key_file, key.serialize_pem()).unwrap();
    std::fs::write(&files.cert_file, cert.pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    roots
}

/// One request over TLS with HTTP/1; what was said in the handshake where it failed.
async fn over_tls(place: &Place, roots: &RootCertStore, alpn: &[u8]) -> std::io::Result<(Option<Vec<u8>>, String)> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    client.alpn_protocols = vec![alpn.to_vec()];
    let socket = TcpStream::connect(place.addr).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(client)).connect(name, socket).await?;
    let chosen = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    if chosen.as_deref() == Some(b"h2") {
        return Ok((chosen, String::new()));
    }
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut out = String::new();
    let _ = stream.read_to_string(&mut out).await;
    Ok((chosen, out))
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_shows_the_certificate_of_the_files_and_a_new_one_when_they_change() {
    let dir = tempfile::tempdir().unwrap();
    let at = |n: &str| dir.path().join(n);
    let files = TlsFiles { cert_file: at("cert.pem"), key_file: at("key.pem") };
    let old = certify(&files);
    let mut with = config();
    with.tls = Some(files.clone());
    let place = Place::new(with.clone()).await;
    assert!(place.url.starts_with("https://127.0.0.1:"), "{}", place.url);
    let (alpn, text) = over_tls(&place, &old, b"http/1.1").await.unwrap();
    assert!(alpn.as_deref() == Some(b"http/1.1") && text.starts_with("HTTP/1.1 200"), "{text}");
    assert_eq!(over_tls(&place, &old, b"h2").await.unwrap().0.as_deref(), Some(&b"h2"[..]));
    // Who speaks plainly, or not at all, is cut off.
    let mut plain = TcpStream::connect(place.addr).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said).await;
    assert!(!said.starts_with(b"HTTP"));
    let mut silent = TcpStream::connect(place.addr).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(3), silent.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok(), "a handshake has a time limit");
    // A key that is not the certificate's is no change.
    let right = std::fs::read(&files.key_file).unwrap();
    std::fs::write(&files.key_file, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    until(|| place.metrics.text().contains("tapio_reload_errors_total{operation=\"certificate\"")).await;
    assert!(over_tls(&place, &old, b"http/1.1").await.is_ok());
    wrong_files(&with, &files, &right);
    let new = certify(&files);
    let begun = std::time::Instant::now();
    while over_tls(&place, &new, b"http/1.1").await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(over_tls(&place, &old, b"http/1.1").await.is_err());
}

/// Files with which no server begins; none of the messages tells of the key.
fn wrong_files(with: &tapio_api::ApiConfig, files: &TlsFiles, key: &[u8]) {
    let says = |cert: &Path, key: &Path| {
        let tls = Some(TlsFiles { cert_file: cert.to_owned(), key_file: key.to_owned() });
        refused(&tapio_api::ApiConfig { tls, ..with.clone() }).to_string()
    };
    assert!(says(&files.cert_file, &files.key_file).contains("not that of the certificate"));
    assert!(says(&files.cert_file, Path::new("/nowhere/key")).contains("/nowhere/key"));
    let other = files.key_file.with_extension("bad");
    std::fs::write(&other, key.iter().rev().copied().collect::<Vec<u8>>()).unwrap();
    assert!(says(&files.cert_file, &other).contains("no private key"));
    assert!(says(&files.key_file, &files.key_file).contains("no certificate"));
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_spoken_to_who_begins_with_it() {
    use http_body_util::BodyExt;
    let place = Place::new(config()).await;
    let mut builder = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new());
    let client: hyper_util::client::legacy::Client<_, http_body_util::Empty<bytes::Bytes>> =
        builder.http2_only(true).build_http();
    let request = http::Request::get(format!("{}/api/v1/scope", place.url)).body(http_body_util::Empty::new()).unwrap();
    let response = client.request(request).await.unwrap();
    assert_eq!((response.version(), response.status().as_u16()), (http::Version::HTTP_2, 200));
    assert!(!response.into_body().collect().await.unwrap().to_bytes().is_empty());
}
