//! What happens inside, for whoever runs a service: lines on stderr, as many as asked for, changed while it runs.

use std::sync::{Arc, Mutex, PoisonError};

use tapio_api::LogLevel;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, reload};

use crate::cmd::Session;
use crate::error::{Failure, Outcome};

/// Directives at the beginning.
const LEVEL: &str = "TAPIO_LOG";
/// Where nobody sets them.
const DEFAULT: &str = "warn";

/// Logs from now on; the way to say how much.
pub(crate) fn start(session: &Session) -> Outcome<LogLevel> {
    let asked = std::env::var(LEVEL).ok().filter(|v| !v.trim().is_empty());
    let default = if session.quiet { "error" } else { DEFAULT };
    let text = asked.unwrap_or_else(|| default.to_owned());
    let targets = read(&text).map_err(|why| Failure::input(format!("{LEVEL}: {why}")))?;
    let (filter, handle) = reload::Layer::new(targets);
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(session.screen.paint.0);
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    let holds = Arc::new(Mutex::new(text));
    let now = Arc::clone(&holds);
    Ok(LogLevel {
        get: Arc::new(move || now.lock().unwrap_or_else(PoisonError::into_inner).clone()),
        set: Arc::new(move |text| {
            handle.reload(read(text)?).map_err(|e| e.to_string())?;
            text.clone_into(&mut holds.lock().unwrap_or_else(PoisonError::into_inner));
            Ok(())
        }),
    })
}

/// Reads directives. A lone word that is no level would be taken for a module's name, and switch everything else off.
fn read(text: &str) -> Result<Targets, String> {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    for part in text.split(',').map(str::trim) {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level.trim());
        if !levels.contains(&level.to_ascii_lowercase().as_str()) {
            return Err(format!("`{level}` is no level; give one of {}", levels.join(", ")));
        }
    }
    text.parse::<Targets>().map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_read_and_other_words_are_not() {
        for good in ["warn", "INFO", "info,tapio_api=debug", "off, kube=trace"] {
            assert!(read(good).is_ok(), "{good}");
        }
        for bad in ["", "loud", "info,", "tapio_api", "tapio_api=loud", "info;debug"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
