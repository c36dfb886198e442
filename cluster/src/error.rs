//! What can go wrong, by what is to be done about it.

use std::time::Duration;

/// Why there is no connection at all; the caller shows it and ends.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No kubeconfig, and not in a cluster.
    #[error(
        "no kubeconfig found: {why}; name one with --kubeconfig or KUBECONFIG, or put it at ~/.kube/config (inside a cluster none is needed)"
    )]
    NoConfig {
        /// Detail.
        why: String,
    },
    /// It is there and cannot be used.
    #[error("kubeconfig cannot be used: {why}; `kubectl config view --minify` shows what is in it")]
    BadConfig {
        /// Detail.
        why: String,
    },
    /// No such context in it.
    #[error("kubeconfig has no context `{asked}`; it has: {has}")]
    NoContext {
        /// As asked for.
        asked: String,
        /// Names of those that are there.
        has: String,
    },
    /// No context was named, and none is current.
    #[error("kubeconfig has no current context; name one with --context ({has})")]
    NoCurrent {
        /// Names of those that are there.
        has: String,
    },
    /// The program that should give credentials failed, or its answer cannot be used.
    #[error("credentials of context {context} cannot be got: {why}; log in again as your cluster's provider says")]
    Credentials {
        /// Context.
        context: String,
        /// Detail.
        why: String,
    },
    /// What is said about a kubelet cannot be used.
    #[error("the kubelet at {address} cannot be talked to: {why}")]
    Kubelet {
        /// Its address.
        address: String,
        /// Detail.
        why: String,
    },
}

/// Why a request brought no answer; each variant is what the caller must do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// 401: take new credentials, try again slowly.
    #[error(
        "the API server refuses the credentials (401): {0}; the token or client certificate has expired or was revoked, log in again"
    )]
    Unauthorised(String),
    /// 403: go on without it, say so, try again slowly.
    #[error("not allowed (403): {0}")]
    Forbidden(String),
    /// 404, 405, 406: not there, or not served.
    #[error("not served ({code}): {why}")]
    NotServed {
        /// HTTP status.
        code: u16,
        /// The server's words.
        why: String,
    },
    /// 410: the resource version or the page is too old, begin again with a list.
    #[error("too old (410): {0}")]
    Expired(String),
    /// 429, or 503 and 504 with a time: wait that long.
    #[error("the API server is busy ({code}): {why}; it asks for {after:?}")]
    Busy {
        /// HTTP status.
        code: u16,
        /// The server's words.
        why: String,
        /// How long it wants to be left alone.
        after: Duration,
    },
    /// Any other 5xx: try again with growing pauses.
    #[error("the API server failed ({code}): {why}")]
    Server {
        /// HTTP status.
        code: u16,
        /// Its words.
        why: String,
    },
    /// Any other 4xx: the request itself is wrong, do not repeat it as it is.
    #[error("the API server refused the request ({code}): {why}")]
    Refused {
        /// HTTP status.
        code: u16,
        /// Its words.
        why: String,
    },
    /// Nobody answers, or stopped in the middle: try again, it may be away for long.
    #[error("the API server cannot be reached: {0}")]
    Away(String),
    /// It took too long: try again, for less where that can be asked for.
    #[error("the API server cannot be reached: no answer within {} s", .0.as_secs())]
    Late(Duration),
    /// Its certificate is not trusted, or has expired: nothing helps but people.
    #[error(
        "the API server's certificate is not accepted: {0}; check certificate-authority in the kubeconfig, the server's certificate, and this machine's clock"
    )]
    Untrusted(String),
    /// The answer is larger than the caller takes: ask for less.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// The answer is not what it should be: try again with growing pauses.
    #[error("the API server's answer cannot be read: {0}")]
    Garbled(String),
}

impl ApiError {
    /// Whether nobody could be talked to, as opposed to somebody who said no.
    pub fn is_away(&self) -> bool {
        matches!(self, ApiError::Away(_) | ApiError::Late(_) | ApiError::Untrusted(_) | ApiError::Unauthorised(_))
    }
}

/// An error with what caused it, without saying the same twice.
pub(crate) fn chain(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut at = e.source();
    while let Some(s) = at {
        let more = s.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        at = s.source();
    }
    // The TLS library refers to its manual, which helps nobody here.
    if let Some(end) = text.find(": https://docs.rs/") {
        text.truncate(end);
    }
    text
}
