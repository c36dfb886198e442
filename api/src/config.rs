//! Settings of the server. Its defaults suit one person at one machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where it listens where nobody says otherwise.
pub const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7878);

/// Settings of the HTTP API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiConfig {
    /// Whether there is one.
    pub enabled: bool,
    /// Address and port. Other addresses than those of this machine alone need `token_file`.
    pub listen: SocketAddr,
    /// File with the token that requests must bring (`Authorization: Bearer …`); read again when it changes.
    pub token_file: Option<PathBuf>,
    /// Certificate and key; read again when they change. Plain HTTP where absent.
    pub tls: Option<TlsFiles>,
    /// Listen on addresses that others reach without asking them for a token. Whoever reaches the port then reads all.
    pub insecure_without_token: bool,
    /// Names beside `localhost` under which a server without a token may be asked.
    pub allowed_hosts: Vec<String>,
    /// Bytes of a request's body.
    pub max_body_bytes: usize,
    /// Milliseconds in which a request's head and body have to be here.
    pub receive_timeout_millis: u64,
    /// Milliseconds after which an answer that is not ready is given up.
    pub answer_timeout_millis: u64,
    /// Milliseconds for which somebody may not take in what is sent.
    pub stall_timeout_millis: u64,
    /// Requests that are worked on at once.
    pub max_requests: usize,
    /// Connections at once.
    pub max_connections: usize,
    /// Questions that wait for the engine.
    pub engine_queue: usize,
    /// Milliseconds for which a question waits for it.
    pub engine_timeout_millis: u64,
    /// Streams of incidents at once.
    pub max_streams: usize,
    /// Happenings from which a stream can resume.
    pub stream_events: usize,
    /// Bytes of them.
    pub stream_bytes: usize,
    /// Milliseconds between two signs of life on a silent stream.
    pub heartbeat_millis: u64,
}

/// Where certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// Certificates in PEM, the server's own first.
    pub cert_file: PathBuf,
    /// Its private key in PEM.
    pub key_file: PathBuf,
}

impl Default for ApiConfig {
    fn default() -> Self {
        ApiConfig {
            enabled: true,
            listen: LISTEN,
            token_file: None,
            tls: None,
            insecure_without_token: false,
            allowed_hosts: Vec::new(),
            max_body_bytes: 16 << 20,
            receive_timeout_millis: 10_000,
            answer_timeout_millis: 30_000,
            stall_timeout_millis: 20_000,
            max_requests: 64,
            max_connections: 512,
            engine_queue: 64,
            engine_timeout_millis: 5_000,
            max_streams: 64,
            stream_events: 1_024,
            stream_bytes: 16 << 20,
            heartbeat_millis: 15_000,
        }
    }
}

impl ApiConfig {
    /// Numbers with which nothing could work, by key.
    ///
    /// # Errors
    /// Names the key and what it needs.
    pub fn check(&self) -> Result<(), String> {
        let least = [
            ("max_body_bytes", self.max_body_bytes as u64),
            ("receive_timeout_millis", self.receive_timeout_millis),
            ("answer_timeout_millis", self.answer_timeout_millis),
            ("stall_timeout_millis", self.stall_timeout_millis),
            ("max_requests", self.max_requests as u64),
            ("max_connections", self.max_connections as u64),
            ("engine_queue", self.engine_queue as u64),
            ("engine_timeout_millis", self.engine_timeout_millis),
            ("stream_events", self.stream_events as u64),
            ("stream_bytes", self.stream_bytes as u64),
            ("heartbeat_millis", self.heartbeat_millis),
        ];
        match least.into_iter().find(|(_, n)| *n == 0) {
            Some((key, _)) => Err(format!("{key} is 0; give 1 or more")),
            None => Ok(()),
        }
    }

    pub(crate) fn receive(&self) -> Duration {
        Duration::from_millis(self.receive_timeout_millis)
    }

    pub(crate) fn answer(&self) -> Duration {
        Duration::from_millis(self.answer_timeout_millis)
    }

    pub(crate) fn stall(&self) -> Duration {
        Duration::from_millis(self.stall_timeout_millis)
    }

    pub(crate) fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_millis)
    }
}
