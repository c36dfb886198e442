//! Servers that misbehave: each failure is the decision that it asks for, within its time, and shows no secret.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};
use tapio_bus::sink::pagerduty::PagerDuty;
use tapio_bus::sink::slack::Slack;
use tapio_bus::sink::webhook::{Webhook, WebhookConfig};
use tapio_bus::sink::{Hidden, Http, HttpConfig};
use tapio_core::ports::{AlertSink, SinkError};

use super::server::*;

fn word(e: &SinkError) -> String {
    match e {
        SinkError::Retry { .. } => "retry".to_owned(),
        SinkError::RetryAfter { secs, .. } => format!("after {secs}"),
        SinkError::Refused { .. } => "refused".to_owned(),
        SinkError::Off { .. } => "off".to_owned(),
    }
}

#[test]
fn every_sink_takes_a_fault_for_the_decision_that_it_asks_for_and_tells_no_secret() {
    let quoted = "you sent canary-of-a-secret-9f2c";
    let cases: Vec<(Reply, &str)> = vec![
        (Reply::Status(200, "", ""), "ok"),
        (Reply::Status(202, "", "{}"), "ok"),
        (Reply::Status(429, "Retry-After: 7\r\n", quoted), "after 7"),
        (Reply::Status(429, "", quoted), "retry"),
        (Reply::Status(503, "Retry-After: 3\r\n", ""), "after 3"),
        (Reply::Status(500, "", quoted), "retry"),
        (Reply::Status(502, "Retry-After: soon\r\n", ""), "retry"),
        (Reply::Status(302, "Location: http://127.0.0.1:1/canary-of-a-secret-9f2c\r\n", ""), "off"),
        (Reply::Status(400, "", quoted), "refused"),
        (Reply::Status(413, "", ""), "refused"),
        (Reply::Status(401, "", quoted), "off"),
        (Reply::Status(403, "", "invalid_token"), "off"),
        (Reply::Status(404, "", "no_service"), "off"),
        (Reply::Cut, "retry"),
        (Reply::Noise, "retry"),
        (Reply::Endless, "retry"),
        (Reply::Slow(Duration::from_millis(900)), "retry"),
    ];
    for (reply, want) in cases {
        let server = Server::start(vec![reply.clone(); 4]);
        for sink in sinks(&server.url, 400) {
            let (start, one) = (Instant::now(), &alerts()[..1]);
            let came = wait(sink.send(one, now()));
            let says = format!("{} on {reply:?}", sink.kind());
            assert!(start.elapsed() < Duration::from_secs(3), "{says} took {:?}", start.elapsed());
            match &came {
                Ok(()) => assert_eq!("ok", want, "{says}"),
                Err(e) => {
                    assert_eq!(word(e), want, "{says}: {e}");
                    assert!(!format!("{e} {e:?}").contains(SECRET), "{says}: {e}");
                }
            }
        }
    }
}

#[test]
fn nobody_there_is_tried_again_and_a_redirect_is_not_followed() {
    for sink in sinks("http://127.0.0.1:1", 2_000) {
        let e = wait(sink.send(&alerts()[..1], now())).unwrap_err();
        assert_eq!(word(&e), "retry", "{}: {e}", sink.kind());
    }
    let other = Server::start(Vec::new());
    let location: &'static str = Box::leak(format!("Location: {}/x\r\n", other.url).into_boxed_str());
    let server = Server::start(vec![Reply::Status(307, location, ""); 4]);
    for sink in sinks(&server.url, 2_000) {
        assert_eq!(word(&wait(sink.send(&alerts()[..1], now())).unwrap_err()), "off");
    }
    assert!(other.asked().is_empty());
}

/// A server with a certificate of the test's own authority (for `localhost` and 127.0.0.1), for one request.
fn with_tls(listener: TcpListener) -> bool {
    let here = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sinks/tls").join(name);
    let certs = CertificateDer::pem_file_iter(here("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(here("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certs, key)
        .unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut tls = ServerConnection::new(Arc::new(config)).unwrap();
    let mut stream = Stream::new(&mut tls, &mut stream);
    let mut bytes = [0; 4096];
    let read = stream.read(&mut bytes).unwrap_or(0);
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    read > 0
}

#[test]
fn a_certificate_is_verified_against_the_authorities_that_are_given() {
    let ca = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sinks/tls/ca.pem");
    let ask = |ca_file: Option<PathBuf>, host: &str| {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let url = format!("https://{host}:{}/{SECRET}", listener.local_addr().unwrap().port());
        let server = std::thread::spawn(move || with_tls(listener));
        let http = Http::new(&HttpConfig { timeout_millis: 5_000, ca_file }).unwrap();
        let came = wait(Slack::new(Hidden::of(url), http).send(&alerts()[..1], now()));
        (came, server.join().unwrap())
    };
    let (came, heard) = ask(Some(ca.clone()), "127.0.0.1");
    assert_eq!((came, heard), (Ok(()), true));
    let (came, heard) = ask(None, "127.0.0.1");
    let e = came.unwrap_err();
    assert_eq!((word(&e).as_str(), heard), ("off", false), "{e}");
    assert!(e.to_string().contains("not trusted"), "{e}");
    // A name that is not in it.
    let (came, heard) = ask(Some(ca), "127.0.0.2");
    assert!(!heard && came.is_err());
    let none = HttpConfig { timeout_millis: 1, ca_file: Some("/nowhere/ca.pem".into()) };
    assert!(Http::new(&none).unwrap_err().contains("/nowhere/ca.pem"));
}

#[test]
fn a_secret_that_is_missing_or_wrong_switches_the_sink_off_and_names_the_place() {
    let away = || Hidden::from(|| Err("its url cannot be read from /run/x: no such file".to_owned()));
    let e = wait(Slack::new(away(), http(1_000)).send(&alerts()[..1], now())).unwrap_err();
    assert!(matches!(&e, SinkError::Off { why } if why.contains("/run/x")), "{e}");
    for bad in ["", "  \n", "not an address", "ftp://x/y", "http://"] {
        let slack = Slack::new(Hidden::of(bad), http(1_000));
        assert_eq!(word(&wait(slack.send(&alerts()[..1], now())).unwrap_err()), "off", "{bad:?}");
    }
    let server = Server::start(Vec::new());
    let hook = |token: &str| {
        let config = WebhookConfig { url: Hidden::of(&server.url), token: Some(Hidden::of(token)), secret: None };
        Webhook::new(config, http(1_000))
    };
    assert_eq!(word(&wait(hook("a\nb").send(&alerts()[..1], now())).unwrap_err()), "off");
    let shown = format!("{:?} {:?}", hook(SECRET), PagerDuty::new(away(), Hidden::of(SECRET), http(1)));
    assert!(!shown.contains(SECRET), "{shown}");
}
