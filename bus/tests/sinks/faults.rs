//! Servers that misbehave: each failure is the decision that it asks for, within its time, and shows no secret.

use std::time::{Duration, Instant};

use tapio_bus::sink::pagerduty::PagerDuty;
use tapio_bus::sink::slack::Slack;
use tapio_bus::sink::webhook::{Webhook, WebhookConfig};
use tapio_bus::sink::Hidden;
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

#[test]
fn a_certificate_that_is_no_certificate_is_not_talked_to() {
    // A server that speaks no TLS, asked by https.
    let server = Server::start(Vec::new());
    let url = server.url.replace("http://", "https://");
    let slack = Slack::new(Hidden::of(format!("{url}/{SECRET}")), http(2_000));
    assert!(wait(slack.send(&alerts()[..1], now())).is_err());
    assert!(server.asked().is_empty());
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
