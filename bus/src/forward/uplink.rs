//! The connection to a server: HTTP/2, its certificate checked, the agent's token with every request.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;

use crate::ingest::{Ack, Refusal};

/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(10);
/// A request with its answer.
const REQUEST: Duration = Duration::from_secs(30);
/// Bytes of an answer.
const ANSWER: usize = 64 << 10;
/// Bytes of a token's file.
const TOKEN: u64 = 64 << 10;
/// Pause where a server names none.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest pause that a server may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(120);

/// Whom to send to, and how to know it and to be known by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UplinkTarget {
    /// `https://HOST:PORT`; `http://` to this machine alone.
    pub server: String,
    /// PEM file of the authority that signed the server's certificate; those of the system where absent.
    pub ca_file: Option<PathBuf>,
    /// File with the token, read for every request.
    pub token_file: PathBuf,
}

/// Why something was not taken; each is what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Nobody answers, or stopped in the middle: try again, it may have been taken.
    #[error("cannot be reached: {0}")]
    Away(String),
    /// Its certificate is not accepted: only people can help.
    #[error(
        "its certificate is not accepted: {0}; check --ca-file, the certificate's names and dates, and this machine's clock"
    )]
    Untrusted(String),
    /// We have no token: only people can help.
    #[error("no token: {0}")]
    NoToken(String),
    /// It answers, and says why not.
    #[error("refuses: {0}")]
    Refused(Refusal),
    /// It answers like no server of ours.
    #[error("answers {status} like no tapio server: {says}; check the address of --server")]
    Foreign {
        /// HTTP status.
        status: u16,
        /// Beginning of its answer.
        says: String,
    },
}

type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A connection to a server.
pub struct Uplink {
    target: UplinkTarget,
    base: String,
    client: Mutex<(Http, Option<SystemTime>)>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    detail: String,
    through: Option<u64>,
}

impl Uplink {
    /// Prepares a connection; nothing is sent yet. Needs a running tokio runtime.
    ///
    /// # Errors
    /// The address cannot be used, or the file of the authority.
    pub fn new(target: UplinkTarget) -> Result<Self, String> {
        let base = base(&target.server)?;
        let changed = changed(target.ca_file.as_deref());
        let client = client(target.ca_file.as_deref())?;
        Ok(Uplink { target, base, client: Mutex::new((client, changed)) })
    }

    /// Its address.
    pub fn server(&self) -> &str {
        &self.base
    }

    /// Up to which number everything of a spool is there.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn through(&self, agent: &str, spool: &str) -> Result<Ack, SendError> {
        self.ask(Method::GET, &format!("/v1/ingest?agent={agent}&spool={spool}"), Bytes::new()).await
    }

    /// Sends a batch; it is durable there when this is done.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send(&self, packed: Vec<u8>) -> Result<Ack, SendError> {
        self.ask(Method::POST, "/v1/ingest", packed.into()).await
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Ack, SendError> {
        let token = self.token()?;
        let mut request = Request::builder()
            .method(&method)
            .uri(format!("{}{path}", self.base))
            .header(USER_AGENT, concat!("tapio/", env!("CARGO_PKG_VERSION")))
            .header(AUTHORIZATION, format!("Bearer {token}"));
        if method == Method::POST {
            request = request.header(CONTENT_TYPE, "application/x-ndjson").header(CONTENT_ENCODING, "zstd");
        }
        let request = request.body(Full::new(body)).map_err(|e| SendError::NoToken(e.to_string()))?;
        let client = self.client();
        let answered = async {
            let response = client.request(request).await.map_err(|e| transport(&e))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER).collect().await;
            let body = body.map_err(|e| SendError::Away(format!("the answer broke off: {e}")))?.to_bytes();
            Ok::<_, SendError>((head, body))
        };
        let late = |_| SendError::Away(format!("no answer within {} s", REQUEST.as_secs()));
        let (head, body) = tokio::time::timeout(REQUEST, answered).await.map_err(late)??;
        let status = head.status.as_u16();
        if status == 200 {
            return serde_json::from_slice(&body).map_err(|e| SendError::Away(format!("the answer is damaged: {e}")));
        }
        let after = head.headers.get(RETRY_AFTER).and_then(|h| h.to_str().ok()).and_then(|h| h.trim().parse().ok());
        Err(refusal(status, &body, after.map(Duration::from_secs)))
    }

    /// Lets go of the connection: the next request may reach another server behind the same address.
    pub fn reconnect(&self) {
        if let Ok(new) = client(self.target.ca_file.as_deref()) {
            self.client.lock().unwrap_or_else(PoisonError::into_inner).0 = new;
        }
    }

    fn token(&self) -> Result<String, SendError> {
        use std::io::Read;
        let file = &self.target.token_file;
        let mut text = String::new();
        let read = std::fs::File::open(file).and_then(|f| f.take(TOKEN).read_to_string(&mut text));
        read.map_err(|e| SendError::NoToken(format!("cannot read {}: {e}", file.display())))?;
        let token = text.trim();
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(SendError::NoToken(format!("{} holds no token", file.display())));
        }
        Ok(token.to_owned())
    }

    /// The client; a new one where the file of the authority has changed.
    fn client(&self) -> Http {
        let mut kept = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let now = changed(self.target.ca_file.as_deref());
        // One that is just being written is read the next time.
        if now != kept.1
            && let Ok(new) = client(self.target.ca_file.as_deref())
        {
            *kept = (new, now);
        }
        kept.0.clone()
    }
}

fn refusal(status: u16, body: &[u8], after: Option<Duration>) -> SendError {
    let problem: Option<Problem> = serde_json::from_slice(body).ok();
    let pause = after.unwrap_or(PAUSE).min(MAX_PAUSE);
    let says = || String::from_utf8_lossy(body).chars().take(200).collect::<String>().trim().to_owned();
    let why = problem.as_ref().map(|p| p.detail.clone()).filter(|d| !d.is_empty()).unwrap_or_else(says);
    SendError::Refused(match (status, problem) {
        (401, _) => Refusal::Unauthorised(why),
        (403, _) => Refusal::Forbidden(why),
        (409, Some(Problem { through: Some(through), .. })) => Refusal::OutOfStep { through },
        (413, _) => Refusal::TooLarge(why),
        (400, Some(_)) => Refusal::Bad(why),
        (429, _) => Refusal::Busy { after: pause },
        (408 | 500..=599, _) => Refusal::Unavailable { why: format!("{status} {why}"), after: pause },
        _ => return SendError::Foreign { status, says: says() },
    })
}

fn transport(e: &hyper_util::client::legacy::Error) -> SendError {
    let mut why = e.to_string();
    let mut at = std::error::Error::source(e);
    while let Some(s) = at {
        let more = s.to_string();
        if !why.contains(&more) {
            why = format!("{why}: {more}");
        }
        at = s.source();
    }
    let low = why.to_ascii_lowercase();
    if low.contains("certificate") || low.contains("unknownissuer") {
        SendError::Untrusted(why)
    } else {
        SendError::Away(why)
    }
}

/// Scheme and authority of an address that may be sent to.
fn base(server: &str) -> Result<String, String> {
    let uri: Uri = server.trim_end_matches('/').parse().map_err(|e| format!("`{server}` is no address: {e}"))?;
    let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return Err(format!("`{server}` is no address; give https://HOST:PORT"));
    };
    let bare = host.trim_matches(['[', ']']);
    let here = bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|a| a.is_loopback());
    match scheme {
        "https" => {}
        "http" if here => {}
        "http" => {
            return Err(format!(
                "`{server}` would send the token in the clear; give https://, http:// goes to this machine alone"
            ));
        }
        other => return Err(format!("`{other}` is not spoken; give https://HOST:PORT")),
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(format!("`{server}` holds more than an address; give https://HOST:PORT"));
    }
    Ok(server.trim_end_matches('/').to_owned())
}

fn changed(file: Option<&Path>) -> Option<SystemTime> {
    file.and_then(|f| std::fs::metadata(f).and_then(|m| m.modified()).ok())
}

fn client(ca_file: Option<&Path>) -> Result<Http, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
    let config = match ca_file {
        Some(file) => {
            let cannot = |why: String| format!("cannot use CA file {}: {why}", file.display());
            let mut roots = RootCertStore::empty();
            for c in CertificateDer::pem_file_iter(file).map_err(|e| cannot(e.to_string()))? {
                roots.add(c.map_err(|e| cannot(e.to_string()))?).map_err(|e| cannot(e.to_string()))?;
            }
            if roots.is_empty() {
                return Err(cannot("it holds no certificate".to_owned()));
            }
            config.with_root_certificates(roots)
        }
        None => config.with_native_roots().map_err(|e| format!("the system's certificates cannot be read: {e}"))?,
    };
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT));
    let https =
        HttpsConnectorBuilder::new().with_tls_config(config.with_no_client_auth()).https_or_http().enable_http2();
    Ok(Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_only(true)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .http2_keep_alive_timeout(CONNECT)
        .build(https.wrap_connector(http)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_in_the_clear_to_this_machine_alone() {
        for good in ["https://tapio.tapio.svc:8443", "https://10.0.0.1/", "http://127.0.0.1:1", "http://[::1]:80"] {
            assert!(base(good).is_ok(), "{good}");
        }
        for (bad, says) in [
            ("http://tapio.tapio.svc:8443", "in the clear"),
            ("http://127.0.0.1.evil.example", "in the clear"),
            ("tapio.svc:1", "https://HOST:PORT"),
            ("grpc://x", "not spoken"),
            ("https://x/y", "more than an address"),
        ] {
            assert!(base(bad).unwrap_err().contains(says), "{bad}: {}", base(bad).unwrap_err());
        }
    }
}
