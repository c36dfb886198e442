//! A webhook of one's own: CloudEvents 1.0, structured JSON; several at once as a JSON batch.
//!
//! With a secret, each request carries `Tapio-Signature: t=SECONDS,v1=HEX`, where HEX is the HMAC-SHA256 of
//! `SECONDS.BODY`. Whoever checks it also checks that SECONDS is near, and drops ids that it has seen: a delivery may
//! come twice.

use ring::hmac;
use serde_json::{Value, json};
use tapio_core::alert::Alert;
use tapio_core::ports::{AlertSink, BoxFuture, SinkError};
use tapio_core::time::Time;

use super::hidden::Hidden;
use super::http::{Http, Post};

/// The header with the signature.
pub const SIGNATURE: &str = "tapio-signature";

/// How a webhook is told.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// Its address.
    pub url: Hidden,
    /// A bearer token, where it wants one.
    pub token: Option<Hidden>,
    /// A secret to sign with.
    pub secret: Option<Hidden>,
}

/// A webhook.
#[derive(Debug)]
pub struct Webhook {
    config: WebhookConfig,
    http: Http,
}

impl Webhook {
    /// A webhook, through `http`.
    pub fn new(config: WebhookConfig, http: Http) -> Self {
        Webhook { config, http }
    }
}

/// An alert as a CloudEvent.
pub(super) fn event(a: &Alert) -> Value {
    json!({
        "specversion": "1.0",
        "id": a.key,
        "source": format!("/tapio/clusters/{}", path(a.cluster())),
        "type": format!("io.tapio.incident.{}", a.transition),
        "subject": a.incident,
        "time": a.at,
        "datacontenttype": "application/json",
        "data": a,
    })
}

/// A text as part of a URI's path.
fn path(text: &str) -> String {
    let mut out = String::new();
    for b in text.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(b)),
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

/// The signature of a body sent at `now`.
fn signature(secret: &str, now: Time, body: &[u8]) -> String {
    let secs = now.micros().div_euclid(tapio_core::time::SECOND);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut signing = hmac::Context::with_key(&key);
    signing.update(format!("{secs}.").as_bytes());
    signing.update(body);
    let hex: String = signing.sign().as_ref().iter().map(|b| format!("{b:02x}")).collect();
    format!("t={secs},v1={hex}")
}

impl AlertSink for Webhook {
    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn send<'a>(&'a self, alerts: &'a [Alert], now: Time) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            let c = &self.config;
            let (url, token) = (c.url.get()?, c.token.as_ref().map(Hidden::get).transpose()?);
            let secret = c.secret.as_ref().map(Hidden::get).transpose()?;
            let (content, body) = match alerts {
                [one] => ("application/cloudevents+json", event(one)),
                many => ("application/cloudevents-batch+json", Value::Array(many.iter().map(event).collect())),
            };
            let body = body.to_string().into_bytes();
            let header = secret.map(|s| (SIGNATURE, signature(&s, now, &body)));
            self.http.post(Post { url: &url, token: token.as_deref(), content, header, body }).await
        })
    }

    fn takes_groups(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_any_other_hmac_makes_of_it() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key
        let made = signature("key", Time::from_micros(1_700_000_000_000_000), br#"{"a":1}"#);
        assert_eq!(made, "t=1700000000,v1=a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03");
    }

    #[test]
    fn any_name_of_a_cluster_is_part_of_a_uri() {
        assert_eq!(path("arn:aws:eks/ä b"), "arn%3Aaws%3Aeks%2F%C3%A4%20b");
    }
}
