//! A running server, asked over HTTP; what it answers is laid out as if it had been worked out here.
//!
//! The token comes from a file and goes to the server alone. Nothing of a manifest's Secrets is sent.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tapio_core::object::ObjectRef;
use tapio_engine::read::FoundObject;
use tokio::runtime::Runtime;

use crate::args::{Target, Trust};
use crate::error::{Failure, Outcome, chain};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(60);
/// Bytes of an answer.
const MAX_BYTES: usize = 256 << 20;
/// How often a busy server is asked, and how long each time it may keep us waiting.
const TRIES: usize = 4;
const PAUSE: u64 = 5;
/// Longest token file that is read.
const MAX_TOKEN: u64 = 8_192;

/// What stays as it is in a part of a path.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A server.
pub(crate) struct Remote {
    base: String,
    token: Option<HeaderValue>,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Runtime,
}

/// What a server says instead of an answer.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    detail: String,
    remedy: String,
}

impl Remote {
    /// Prepares a client; nothing is sent yet.
    pub(crate) fn open(url: &str, trust: &Trust) -> Outcome<Self> {
        let base = base(url)?;
        let token = trust.token_file.as_deref().map(token).transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Failure::Unreachable(format!("cannot start the runtime: {e}")))?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT));
        let provider = rustls::crypto::ring::default_provider();
        let builder = HttpsConnectorBuilder::new();
        let builder = match &trust.ca_file {
            Some(file) => {
                let config = ClientConfig::builder_with_provider(provider.into())
                    .with_safe_default_protocol_versions()
                    .map_err(|e| Failure::Unreachable(format!("cannot prepare TLS: {e}")))?;
                builder.with_tls_config(config.with_root_certificates(authorities(file)?).with_no_client_auth())
            }
            // Where the machine has no authorities, plain HTTP still has to work.
            None => match builder.with_provider_and_native_roots(provider.clone()) {
                Ok(builder) => builder,
                Err(_) => {
                    let config = ClientConfig::builder_with_provider(provider.into())
                        .with_safe_default_protocol_versions()
                        .map_err(|e| Failure::Unreachable(format!("cannot prepare TLS: {e}")))?;
                    let none = config.with_root_certificates(RootCertStore::empty());
                    HttpsConnectorBuilder::new().with_tls_config(none.with_no_client_auth())
                }
            },
        };
        let connector = builder.https_or_http().enable_http1().enable_http2().wrap_connector(http);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Remote { base, token, client, runtime })
    }

    /// The object that was typed, as the server knows it.
    pub(crate) fn object(&self, target: &Target) -> Outcome<ObjectRef> {
        let (kind, name) = target.parts()?;
        let path: Vec<&str> = ["objects", kind].into_iter().chain(target.namespace.as_deref()).chain([name]).collect();
        match self.get::<FoundObject>(&path, &[]) {
            Ok(found) => Ok(found.object),
            // The server speaks of its paths.
            Err(Failure::Input(text)) => {
                Err(Failure::Input(text.replace("say which: …/KIND/NAMESPACE/NAME", "say which with -n")))
            }
            Err(e) => Err(e),
        }
    }

    /// What the server says to a question about an object.
    pub(crate) fn about<T: DeserializeOwned>(
        &self,
        question: &str,
        object: &ObjectRef,
        params: &[(&str, String)],
    ) -> Outcome<T> {
        let ns = object.namespace.as_deref();
        let path: Vec<&str> = [question, &object.kind].into_iter().chain(ns).chain([object.name.as_str()]).collect();
        self.get(&path, params)
    }

    /// The answer to a question; `path`: the parts behind `/api/v1`.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &[&str], params: &[(&str, String)]) -> Outcome<T> {
        self.ask(Method::GET, path, params, "", Bytes::new())
    }

    /// The same, with a body of a media type.
    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        params: &[(&str, String)],
        media: &'static str,
        body: Vec<u8>,
    ) -> Outcome<T> {
        self.ask(Method::POST, path, params, media, body.into())
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        params: &[(&str, String)],
        media: &'static str,
        body: Bytes,
    ) -> Outcome<T> {
        let coded = |text: &str| utf8_percent_encode(text, PLAIN).to_string();
        let mut url = format!("{}/api/v1", self.base);
        path.iter().for_each(|p| url.push_str(&format!("/{}", coded(p))));
        for (n, (name, value)) in params.iter().enumerate() {
            url.push_str(&format!("{}{name}={}", if n == 0 { '?' } else { '&' }, coded(value)));
        }
        let text = self.runtime.block_on(async {
            for left in (0..TRIES).rev() {
                match self.once(&method, &url, media, body.clone()).await? {
                    Said::Answer(bytes) => return Ok(bytes),
                    Said::Busy(secs, _) if left > 0 && secs <= PAUSE => {
                        tokio::time::sleep(Duration::from_secs(secs)).await;
                    }
                    Said::Busy(_, why) => return Err(Failure::Unreachable(format!("{} is busy: {why}", self.base))),
                }
            }
            Err(Failure::Unreachable(format!("{} stays busy", self.base)))
        })?;
        serde_json::from_slice(&text).map_err(|e| {
            Failure::Unreachable(format!(
                "{} answered something else than expected ({e}); is it a tapio, and of this version?",
                self.base
            ))
        })
    }

    async fn once(&self, method: &Method, url: &str, media: &'static str, body: Bytes) -> Outcome<Said> {
        let mut request = Request::builder().method(method).uri(url).header(ACCEPT, "application/json");
        if !media.is_empty() {
            request = request.header(CONTENT_TYPE, media);
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let cannot = |why: String| {
            Failure::Unreachable(format!("cannot ask {}: {why}; is `tapio up` running there?", self.base))
        };
        let request = request.body(Full::new(body)).map_err(|e| cannot(e.to_string()))?;
        let all = async {
            let response = self.client.request(request).await.map_err(|e| cannot(chain(&e)))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, MAX_BYTES).collect().await;
            Ok::<_, Failure>((parts, body.map_err(|e| cannot(e.to_string()))?.to_bytes()))
        };
        let late = |_| cannot(format!("no answer within {} s", ANSWER.as_secs()));
        let (parts, body) = tokio::time::timeout(ANSWER, all).await.map_err(late)??;
        if parts.status.is_success() {
            return Ok(Said::Answer(body));
        }
        let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
        let why = match (problem.detail.as_str(), problem.remedy.as_str()) {
            ("", _) => format!("{} answered {}; is it a tapio?", self.base, parts.status),
            (detail, "") => detail.to_owned(),
            (detail, remedy) => format!("{detail}; {remedy}"),
        };
        match parts.status.as_u16() {
            404 => Err(Failure::NotFound(why)),
            400 | 413 | 415 | 422 => Err(Failure::Input(why)),
            401 => Err(Failure::Unreachable(format!("{why}; give it by --token-file or TAPIO_TOKEN_FILE"))),
            503 => {
                let secs = parts.headers.get(RETRY_AFTER).and_then(|h| h.to_str().ok()?.parse().ok());
                Ok(Said::Busy(secs.unwrap_or(1), why))
            }
            _ => Err(Failure::Unreachable(why)),
        }
    }
}

/// What came back.
enum Said {
    Answer(Bytes),
    /// Ask again after so many seconds.
    Busy(u64, String),
}

/// The server's address without a slash at its end.
fn base(url: &str) -> Outcome<String> {
    let wrong = |why: &str| Failure::input(format!("`{url}` is no server: {why}; give e.g. http://127.0.0.1:7878"));
    let uri: Uri = url.parse().map_err(|_| wrong("not a URL"))?;
    match (uri.scheme_str(), uri.host(), uri.query()) {
        (Some("http" | "https"), Some(_), None) => Ok(url.trim_end_matches('/').to_owned()),
        (Some("http" | "https"), Some(_), Some(_)) => Err(wrong("it has a query")),
        _ => Err(wrong("neither http:// nor https://")),
    }
}

fn token(file: &std::path::Path) -> Outcome<HeaderValue> {
    use std::io::Read;
    let cannot = |why: String| Failure::input(format!("cannot read token file {}: {why}", file.display()));
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(|e| cannot(e.to_string()))?;
    opened.take(MAX_TOKEN).read_to_string(&mut text).map_err(|e| cannot(e.to_string()))?;
    let token = text.trim();
    if token.is_empty() {
        return Err(cannot("it is empty".to_owned()));
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| cannot("it holds what no header can carry; give one line of visible characters".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn authorities(file: &std::path::Path) -> Outcome<RootCertStore> {
    let cannot = |why: String| Failure::input(format!("cannot use --ca-file {}: {why}", file.display()));
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_file_iter(file).map_err(|e| cannot(e.to_string()))? {
        let cert = cert.map_err(|e| cannot(e.to_string()))?;
        roots.add(cert).map_err(|e| cannot(e.to_string()))?;
    }
    if roots.is_empty() { Err(cannot("it holds no certificate in PEM".to_owned())) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_before_anything_is_sent() {
        assert_eq!(base("http://127.0.0.1:7878/").unwrap(), "http://127.0.0.1:7878");
        assert_eq!(base("https://tapio.example/behind/a/proxy").unwrap(), "https://tapio.example/behind/a/proxy");
        for bad in ["", "127.0.0.1:7878", "ftp://x", "http://", "/x", "http://x?y=1", "http://a b"] {
            assert!(matches!(base(bad), Err(Failure::Input(_))), "{bad}");
        }
    }
}
