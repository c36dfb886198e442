//! Requests: bounded in time and bytes, answers as raw bytes, failures as what to do about them.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::client::Body;
use tapio_core::time::SECOND;

use crate::connection::Connection;
use crate::error::{ApiError, chain};

/// Bytes of an error's body that are read.
const STATUS_BYTES: usize = 64 << 10;
/// Pause where a busy server names none.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest pause that a server may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(120);
/// Microseconds within which two clocks agree: answers tell whole seconds.
const AGREE: i64 = 2 * SECOND;

impl Connection {
    /// The answer to a GET, whole.
    ///
    /// # Errors
    /// See [`ApiError`]; `Late` where it takes longer than `limit`.
    pub async fn get(&self, path: &str, accept: &str, bytes: usize, limit: Duration) -> Result<Bytes, ApiError> {
        self.whole(Method::GET, path, accept, Bytes::new(), bytes, limit).await
    }

    /// The answer to a POST of JSON, whole.
    ///
    /// # Errors
    /// As [`Connection::get`].
    pub async fn post(&self, path: &str, body: Vec<u8>, bytes: usize, limit: Duration) -> Result<Bytes, ApiError> {
        self.whole(Method::POST, path, "application/json", body.into(), bytes, limit).await
    }

    /// The answer to a PUT of JSON, whole.
    ///
    /// # Errors
    /// As [`Connection::get`].
    pub async fn put(&self, path: &str, body: Vec<u8>, bytes: usize, limit: Duration) -> Result<Bytes, ApiError> {
        self.whole(Method::PUT, path, "application/json", body.into(), bytes, limit).await
    }

    /// The answer to a GET, line by line as it comes. `limit`: until it begins.
    ///
    /// # Errors
    /// As [`Connection::get`].
    pub async fn lines(&self, path: &str, accept: &str, line: usize, limit: Duration) -> Result<Lines, ApiError> {
        let sent = self.send(Method::GET, path, accept, Bytes::new(), None);
        let response = tokio::time::timeout(limit, sent).await.map_err(|_| late(limit))??;
        Ok(Lines { body: response.into_body(), buffer: BytesMut::new(), looked: 0, max: line, skipping: 0 })
    }

    /// The answer to a GET, piece by piece as it comes, as the network cuts it. `limit`: until it begins.
    ///
    /// # Errors
    /// As [`Connection::get`].
    pub async fn chunks(&self, path: &str, accept: &str, limit: Duration) -> Result<Chunks, ApiError> {
        let sent = self.send(Method::GET, path, accept, Bytes::new(), None);
        let response = tokio::time::timeout(limit, sent).await.map_err(|_| late(limit))??;
        Ok(Chunks { body: response.into_body() })
    }

    /// The last `bytes` bytes of what a GET answers with, and whether something stands before them. A server that knows
    /// no ranges sends all of it, which is read up to `most` bytes.
    ///
    /// # Errors
    /// As [`Connection::get`].
    pub async fn end_of(
        &self,
        path: &str,
        bytes: usize,
        most: usize,
        limit: Duration,
    ) -> Result<(Bytes, bool), ApiError> {
        let all = async {
            let range = format!("bytes=-{bytes}");
            let response = self.send(Method::GET, path, "*/*", Bytes::new(), Some(range)).await?;
            let partial = response.status() == StatusCode::PARTIAL_CONTENT;
            let begins = response.headers().get(http::header::CONTENT_RANGE).and_then(|h| h.to_str().ok());
            let cut = partial && !begins.is_some_and(|r| r.trim_start_matches("bytes").trim_start().starts_with("0-"));
            let mut body = collect(response.into_body(), most).await?;
            let over = body.len().saturating_sub(bytes);
            Ok((body.split_off(over), cut || over > 0))
        };
        tokio::time::timeout(limit, all).await.map_err(|_| late(limit))?
    }

    async fn whole(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Bytes,
        bytes: usize,
        limit: Duration,
    ) -> Result<Bytes, ApiError> {
        let all = async {
            let response = self.send(method, path, accept, body, None).await?;
            collect(response.into_body(), bytes).await
        };
        tokio::time::timeout(limit, all).await.map_err(|_| late(limit))?
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Bytes,
        range: Option<String>,
    ) -> Result<Response<Body>, ApiError> {
        let mut request = Request::builder().method(&method).uri(path).header(http::header::ACCEPT, accept);
        if method != Method::GET {
            request = request.header(http::header::CONTENT_TYPE, "application/json");
        }
        if let Some(range) = range {
            request = request.header(http::header::RANGE, range);
        }
        let request = request
            .body(Body::from(body))
            .map_err(|e| ApiError::Refused { code: 0, why: format!("{path} is no path: {e}") })?;
        let response = self.client().send(request).await.map_err(|e| transport(&e))?;
        self.note_clock(&response);
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refusal(response).await)
    }

    /// Learns from an answer how the server's clock stands against ours.
    fn note_clock(&self, response: &Response<Body>) {
        let Some(date) = response.headers().get(http::header::DATE).and_then(|d| d.to_str().ok()) else { return };
        let Ok(theirs) = chrono::DateTime::parse_from_rfc2822(date) else { return };
        let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ours = i64::try_from(ours.as_micros()).unwrap_or(i64::MAX);
        // It says whole seconds, rounded down.
        let ahead = theirs.timestamp_micros() + SECOND / 2 - ours;
        self.ahead.store(if ahead.abs() < AGREE { 0 } else { ahead }, Ordering::Relaxed);
    }
}

fn late(limit: Duration) -> ApiError {
    ApiError::Late(limit)
}

/// What a failure below HTTP means.
fn transport(e: &kube::Error) -> ApiError {
    let why = chain(e);
    let low = why.to_ascii_lowercase();
    match e {
        kube::Error::Auth(_) => ApiError::Unauthorised(why),
        _ if low.contains("certificate") || low.contains("unknownissuer") => ApiError::Untrusted(why),
        _ => ApiError::Away(why),
    }
}

/// What the server says instead of an answer.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Status {
    message: String,
    details: Option<Details>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Details {
    retry_after_seconds: u64,
}

async fn refusal(response: Response<Body>) -> ApiError {
    let code = response.status();
    let header = response.headers().get(http::header::RETRY_AFTER);
    let seconds = header.and_then(|h| h.to_str().ok()).and_then(|h| h.trim().parse::<u64>().ok());
    let body = match tokio::time::timeout(Duration::from_secs(5), collect(response.into_body(), STATUS_BYTES)).await {
        Ok(Ok(body)) => body,
        _ => Bytes::new(),
    };
    let status: Status = serde_json::from_slice(&body).unwrap_or_default();
    let why = if status.message.is_empty() {
        String::from_utf8_lossy(&body).chars().take(300).collect()
    } else {
        status.message
    };
    let asked = seconds.or(status.details.map(|d| d.retry_after_seconds)).filter(|s| *s > 0);
    of_status(code.as_u16(), why, asked)
}

/// What a status means.
pub(crate) fn of_status(code: u16, why: String, retry_after: Option<u64>) -> ApiError {
    let after = retry_after.map_or(PAUSE, Duration::from_secs).min(MAX_PAUSE);
    match StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR) {
        StatusCode::UNAUTHORIZED => ApiError::Unauthorised(why),
        StatusCode::FORBIDDEN => ApiError::Forbidden(why),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_ACCEPTABLE => {
            ApiError::NotServed { code, why }
        }
        StatusCode::GONE => ApiError::Expired(why),
        StatusCode::TOO_MANY_REQUESTS => ApiError::Busy { code, why, after },
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT if retry_after.is_some() => {
            ApiError::Busy { code, why, after }
        }
        s if s.is_server_error() => ApiError::Server { code, why },
        _ => ApiError::Refused { code, why },
    }
}

async fn collect(mut body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| ApiError::Away(format!("the answer broke off: {}", chain(&e))))?;
        if let Ok(data) = frame.into_data() {
            if all.len() + data.len() > limit {
                return Err(ApiError::TooLarge { limit });
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(all.freeze())
}

/// An answer that comes piece by piece.
pub struct Chunks {
    body: Body,
}

impl Chunks {
    /// The next piece; none at the end. Dropping the future loses nothing.
    ///
    /// # Errors
    /// `Away` where the answer breaks off.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(e)) => return Err(ApiError::Away(format!("the answer broke off: {}", chain(&e)))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

/// A line of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Its bytes, without the line feed.
    Whole(Bytes),
    /// It was longer than the bound, and is gone; so many bytes.
    TooLong(usize),
}

/// An answer that comes line by line.
pub struct Lines {
    body: Body,
    buffer: BytesMut,
    /// Bytes of the buffer in which no line feed is.
    looked: usize,
    max: usize,
    /// Bytes passed over of a line that is too long.
    skipping: usize,
}

impl Lines {
    /// The next line; none at the end. What stands behind the last line feed is no line: it was cut off. Dropping the
    /// future loses nothing.
    ///
    /// # Errors
    /// `Away` where the answer breaks off.
    pub async fn next(&mut self) -> Result<Option<Line>, ApiError> {
        loop {
            let fresh = self.buffer.get(self.looked..).unwrap_or_default();
            if let Some(at) = fresh.iter().position(|b| *b == b'\n') {
                let end = self.looked + at;
                let mut line = self.buffer.split_to(end + 1);
                line.truncate(end);
                self.looked = 0;
                let skipped = std::mem::take(&mut self.skipping);
                if skipped > 0 || line.len() > self.max {
                    return Ok(Some(Line::TooLong(skipped + line.len())));
                }
                return Ok(Some(Line::Whole(line.freeze())));
            }
            self.looked = self.buffer.len();
            if self.buffer.len() > self.max {
                self.skipping += self.buffer.len();
                self.buffer.clear();
                self.looked = 0;
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(e)) => return Err(ApiError::Away(format!("the answer broke off: {}", chain(&e)))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }

    /// What stands behind the last line feed, when the end has come.
    pub fn rest(&self) -> &[u8] {
        &self.buffer
    }
}
