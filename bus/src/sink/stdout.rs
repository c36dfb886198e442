//! Standard output, one JSON object a line: what a webhook would get, for pipes and log collectors.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tapio_core::alert::Alert;
use tapio_core::ports::{AlertSink, BoxFuture, SinkError};
use tapio_core::time::Time;

use super::webhook::event;

/// Lines of JSON.
pub struct Stdout {
    out: Arc<Mutex<dyn Write + Send>>,
}

impl Stdout {
    /// Standard output.
    pub fn new() -> Self {
        Stdout::to(Arc::new(Mutex::new(io::stdout())))
    }

    /// Anything else that takes lines.
    pub fn to(out: Arc<Mutex<dyn Write + Send>>) -> Self {
        Stdout { out }
    }
}

impl Default for Stdout {
    fn default() -> Self {
        Stdout::new()
    }
}

impl AlertSink for Stdout {
    fn kind(&self) -> &'static str {
        "stdout"
    }

    fn send<'a>(&'a self, alerts: &'a [Alert], _: Time) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            let text: String = alerts.iter().map(|a| format!("{}\n", event(a))).collect();
            let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
            // In one piece, so that another writer's line cannot come in between.
            let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            written.map_err(|e| match e.kind() {
                io::ErrorKind::BrokenPipe => SinkError::Off { why: "nobody reads standard output any more".to_owned() },
                _ => SinkError::Retry { why: format!("standard output cannot be written: {e}") },
            })
        })
    }
}
