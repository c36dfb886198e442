//! TLS between agent and server, with certificates from files.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::fake_kubelet::pod;
use super::place::Place;

/// An authority and a certificate of it for 127.0.0.1, in files that begin with `name`: `-ca.crt`, `.crt`, `.key`.
fn certificates(place: &Place, name: &str) -> [String; 3] {
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = authority.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    [("-ca.crt", ca), (".crt", certificate.pem()), (".key", key.serialize_pem())].map(|(end, text)| {
        let file = format!("{name}{end}");
        place.write(&file, &text);
        place.path(&file).display().to_string()
    })
}

#[test]
fn over_tls_an_agent_sends_to_whom_its_authority_vouches_for_and_to_nobody_else() {
    let place = Place::new();
    place.kubelet.put(pod("shop", "cart", "uid-cart"));
    let [authority, certificate, key] = certificates(&place, "good");
    let [stranger, ..] = certificates(&place, "other");
    let server = place.server_with("127.0.0.1:0", &["--no-lease", "--tls-cert", &certificate, "--tls-key", &key]);
    let url = format!("https://{}", server.address);

    let agent = place.agent_with(&url, &["--ca-file", &stranger]);
    agent.until("the refusal", |a| a.get("/readyz").1.contains("certificate is not accepted"));
    agent.until("events", |a| a.metric("tapio_agent_spool_waiting_events").is_some_and(|n| n > 0.0));
    assert_eq!(agent.metric(r#"tapio_agent_forwarded_total{what="sent"}"#), Some(0.0));
    assert!(agent.end().0.success());

    let agent = place.agent_with(&url, &["--ca-file", &authority]);
    agent.until("the server", |a| {
        a.metric("tapio_agent_connected") == Some(1.0) && a.metric("tapio_agent_spool_waiting_events") == Some(0.0)
    });
    let (status, said) = agent.end();
    assert!(status.success() && said.contains("events sent, 0 wait in the spool"), "{said}");
    assert!(server.end().0.success());
    let told = place.records("agent/spool.sqlite").len();
    let arrived = place.records("server/log.sqlite").iter().filter(|r| r.event.source != "cluster_collector").count();
    assert_eq!(told, arrived);
}
