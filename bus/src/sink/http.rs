//! HTTP for sinks: one POST, bounded in time and bytes, its failure as what to do about it.
//!
//! Nothing of an address stands in an error but its host: paths and queries of webhooks are keys. What the server says is
//! shown shortened, with the request's own secrets struck out.

use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tapio_core::ports::SinkError;

/// Bytes of an answer that are read.
const ANSWER_BYTES: usize = 16 << 10;
/// Characters of an answer that are shown.
const SHOWN: usize = 200;
/// Bytes of an answer's head.
const HEAD_BYTES: usize = 32 << 10;

/// How servers are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Milliseconds for a whole attempt, from the connection to the end of the answer.
    pub timeout_millis: u64,
    /// PEM file with authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        HttpConfig { timeout_millis: 10_000, ca_file: None }
    }
}

/// A client for one sink.
#[derive(Clone)]
pub struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// One POST.
pub(super) struct Post<'a> {
    /// The whole address; hidden.
    pub(super) url: &'a str,
    /// `Authorization: Bearer`, where there is one; hidden.
    pub(super) token: Option<&'a str>,
    /// `Content-Type`.
    pub(super) content: &'static str,
    /// One header more.
    pub(super) header: Option<(&'static str, String)>,
    /// The body.
    pub(super) body: Vec<u8>,
}

impl Http {
    /// A client. Nothing is sent yet.
    ///
    /// # Errors
    /// In words: the file of authorities, or those of the system, cannot be used.
    pub fn new(config: &HttpConfig) -> Result<Self, String> {
        let provider = rustls::crypto::ring::default_provider();
        let builder = HttpsConnectorBuilder::new();
        let schemes = match &config.ca_file {
            None => builder
                .with_provider_and_native_roots(provider)
                .map_err(|e| format!("the system's certificate authorities cannot be read: {e}"))?,
            Some(file) => {
                let cannot = |why: String| format!("ca_file {} cannot be used: {why}", file.display());
                let mut roots = rustls::RootCertStore::empty();
                for cert in CertificateDer::pem_file_iter(file).map_err(|e| cannot(e.to_string()))? {
                    let cert = cert.map_err(|e| cannot(e.to_string()))?;
                    roots.add(cert).map_err(|e| cannot(e.to_string()))?;
                }
                if roots.is_empty() {
                    return Err(cannot("it holds no certificate".to_owned()));
                }
                let tls = rustls::ClientConfig::builder_with_provider(provider.into())
                    .with_safe_default_protocol_versions()
                    .map_err(|e| cannot(e.to_string()))?
                    .with_root_certificates(roots)
                    .with_no_client_auth();
                builder.with_tls_config(tls)
            }
        };
        let connector = schemes.https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new())
            .http1_max_buf_size(HEAD_BYTES)
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Http { client, timeout: Duration::from_millis(config.timeout_millis) })
    }

    /// Sends it; the answer is not needed. Any 2xx is well.
    pub(super) async fn post(&self, post: Post<'_>) -> Result<(), SinkError> {
        let uri: Uri = post.url.parse().map_err(|_| off("the address it has is none; write https://HOST/PATH"))?;
        let host = uri.host().unwrap_or_default().to_owned();
        if host.is_empty() || !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(off("the address it has is none; write https://HOST/PATH"));
        }
        let secret: Vec<String> = secrets(&uri, &post);
        let request = request(uri, post)?;
        let all = async {
            let response = self.client.request(request).await.map_err(|e| transport(&host, &e))?;
            judge(&host, response, &secret).await
        };
        match tokio::time::timeout(self.timeout, all).await {
            Ok(done) => done,
            Err(_) => {
                Err(SinkError::Retry { why: format!("{host} did not answer within {} ms", self.timeout.as_millis()) })
            }
        }
    }
}

fn off(why: &str) -> SinkError {
    SinkError::Off { why: why.to_owned() }
}

fn request(uri: Uri, post: Post<'_>) -> Result<Request<Full<Bytes>>, SinkError> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(uri)
        .header(CONTENT_TYPE, post.content)
        .header(USER_AGENT, concat!("tapio/", env!("CARGO_PKG_VERSION")));
    if let Some(token) = post.token {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| off("its token holds characters that no header can have"))?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    if let Some((name, value)) = &post.header {
        request = request.header(HeaderName::from_static(name), value);
    }
    request.body(Full::new(Bytes::from(post.body))).map_err(|_| off("its address or token cannot be sent"))
}

/// What of a request must not be said again, longest first.
fn secrets(uri: &Uri, post: &Post<'_>) -> Vec<String> {
    let mut out: Vec<String> = uri.path().split('/').filter(|p| p.len() >= 8).map(str::to_owned).collect();
    out.extend(uri.query().map(str::to_owned));
    out.extend(post.token.map(str::to_owned));
    out.sort_by_key(|s| std::cmp::Reverse(s.len()));
    out
}

/// What a failure below HTTP means.
fn transport(host: &str, e: &hyper_util::client::legacy::Error) -> SinkError {
    let mut why = e.to_string();
    let mut source = std::error::Error::source(e);
    while let Some(s) = source {
        let text = s.to_string();
        if !why.contains(&text) {
            why.push_str(": ");
            why.push_str(&text);
        }
        source = s.source();
    }
    let low = why.to_ascii_lowercase();
    if low.contains("certificate") || low.contains("unknownissuer") {
        return SinkError::Off { why: format!("the certificate of {host} is not trusted: {why}; give ca_file") };
    }
    SinkError::Retry { why: format!("{host} cannot be reached: {why}") }
}

async fn judge<B>(host: &str, response: Response<B>, secret: &[String]) -> Result<(), SinkError>
where
    B: BodyExt<Data = Bytes> + Unpin,
{
    let status = response.status();
    let asked = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(|v| v.trim().parse().ok());
    let said = said(response, secret).await;
    if status.is_success() {
        return Ok(());
    }
    let why = match said.as_str() {
        "" => format!("{host} answers {}", status.as_u16()),
        text => format!("{host} answers {}: {text}", status.as_u16()),
    };
    Err(of_status(status, why, asked))
}

/// What a status asks for.
fn of_status(status: StatusCode, why: String, asked: Option<u64>) -> SinkError {
    match (status, asked) {
        (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, Some(secs)) => {
            SinkError::RetryAfter { why, secs }
        }
        (StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS, _) => {
            SinkError::Retry { why }
        }
        (
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::GONE
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            _,
        ) => SinkError::Off { why: format!("{why}; check address and token") },
        (s, _) if s.is_redirection() => {
            SinkError::Off { why: format!("{why}, a redirect, which is not followed; give the address itself") }
        }
        (s, _) if s.is_client_error() => SinkError::Refused { why },
        _ => SinkError::Retry { why },
    }
}

/// The beginning of the answer's body, as one line without secrets.
async fn said<B>(response: Response<B>, secret: &[String]) -> String
where
    B: BodyExt<Data = Bytes> + Unpin,
{
    let mut body = response.into_body();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            // The status is there; that the rest broke off changes nothing about it.
            break;
        };
        if let Ok(data) = frame.into_data() {
            all.extend_from_slice(&data[..data.len().min(ANSWER_BYTES - all.len())]);
        }
        if all.len() >= ANSWER_BYTES {
            break;
        }
    }
    let mut text = String::from_utf8_lossy(&all).into_owned();
    for s in secret {
        text = text.replace(s.as_str(), "<hidden>");
    }
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.collect::<String>().trim().chars().take(SHOWN).collect()
}
