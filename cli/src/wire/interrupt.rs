//! Ctrl-C and SIGTERM: the first asks for a clean end, the second ends at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Failure, Outcome};

/// Signals within this time are one.
const TOGETHER: std::time::Duration = std::time::Duration::from_millis(500);

/// Whether somebody asked for an end.
#[derive(Clone, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on.
    pub(crate) fn listen() -> Outcome<Self> {
        let asked = Interrupt::default();
        let its = asked.clone();
        let wait = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(r) => r,
                // Without a runtime the system's own way of ending holds.
                Err(_) => return,
            };
            runtime.block_on(async {
                if signalled().await.is_err() {
                    return;
                }
                its.0.store(true, Ordering::Relaxed);
                // Some send one to the process and one to its group.
                tokio::time::sleep(TOGETHER).await;
                if signalled().await.is_ok() {
                    std::process::exit(130);
                }
            });
        };
        let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(wait);
        thread.map_err(|e| Failure::Unreachable(format!("cannot start the signal thread: {e}")))?;
        Ok(asked)
    }

    /// Whether to end.
    pub(crate) fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(unix)]
async fn signalled() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = tokio::signal::ctrl_c() => ended,
        _ = term.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn signalled() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
