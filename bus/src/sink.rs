//! Sinks: where people are told. One file each, all behind [`AlertSink`](tapio_core::ports::AlertSink).
//!
//! - An address, token or key is a [`Hidden`]: it comes from a file or the environment, is read anew for each message
//!   (so that it may be rotated), and stands in no message, log or `Debug`.
//! - TLS is verified, redirects are not followed, every attempt has a time limit, of an answer little is read.
//! - A failure says what to do: see [`SinkError`](tapio_core::ports::SinkError).
//!
//! What each sink says is the alert's [`Body`](tapio_core::alert::Body), in the sink's own form. A new sink is one file
//! here and one line in `tests/sinks.rs`.

pub mod alertmanager;
mod hidden;
mod http;
pub mod kubernetes_event;
pub mod pagerduty;
pub mod slack;
pub mod stdout;
pub mod webhook;

pub use self::hidden::Hidden;
pub use self::http::{Http, HttpConfig};
