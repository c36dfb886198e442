//! What went wrong, as the exit code that a script can rely on.
//!
//! 0 ran · 1 the asked-for object was not found, or `--fail-on` matched · 2 bad input or usage · 3 a needed store or
//! service cannot be reached · 130 interrupted.

use std::io::Write;
use std::process::ExitCode;

use tapio_collectors::ReadError;
use tapio_core::ports::{LogError, StoreError};
use tapio_graph::transfer::TransferError;

use crate::output::text::clean;

/// The end of a command that did not go well.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The asked-for object is not there.
    NotFound(String),
    /// `--fail-on` matched; everything was said already.
    Matched,
    /// Bad input or usage.
    Input(String),
    /// A store or service that is needed cannot be reached or used.
    Unreachable(String),
    /// Somebody asked for an end, and it was a clean one.
    Interrupted(String),
    /// Whoever read our output has seen enough.
    Closed,
}

/// What a command gives back.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// Bad input.
    pub(crate) fn input(text: impl Into<String>) -> Self {
        Failure::Input(text.into())
    }
}

impl Failure {
    /// The same with the name of the file that it is about.
    pub(crate) fn about(self, file: &std::path::Path) -> Self {
        match self {
            Failure::Input(text) => Failure::Input(format!("{}: {text}", file.display())),
            other => other,
        }
    }
}

impl From<TransferError> for Failure {
    fn from(e: TransferError) -> Self {
        match e {
            TransferError::Store(e) => e.into(),
            TransferError::Write { error, .. } if error.kind() == std::io::ErrorKind::BrokenPipe => Failure::Closed,
            TransferError::Write { .. } => Failure::Unreachable(chain(&e)),
            TransferError::Input { .. } | TransferError::Form(_) => Failure::Input(chain(&e)),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(e: ReadError) -> Self {
        Failure::Input(chain(&e))
    }
}

impl From<LogError> for Failure {
    fn from(e: LogError) -> Self {
        Failure::Unreachable(chain(&e))
    }
}

impl From<StoreError> for Failure {
    fn from(e: StoreError) -> Self {
        match e {
            StoreError::Refused(_) | StoreError::Limit(_) => Failure::Input(chain(&e)),
            _ => Failure::Unreachable(chain(&e)),
        }
    }
}

/// What cannot be written or read is a store that cannot be reached; a closed pipe is no error.
impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        match e.kind() {
            std::io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Unreachable(e.to_string()),
        }
    }
}

/// Defects and everything without a decision of its own.
impl From<anyhow::Error> for Failure {
    fn from(e: anyhow::Error) -> Self {
        Failure::Unreachable(format!("{e:#}"))
    }
}

/// An error with what caused it.
pub(crate) fn chain(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut at = e.source();
    while let Some(s) = at {
        text.push_str(": ");
        text.push_str(&s.to_string());
        at = s.source();
    }
    text
}

/// Says what is wrong, and gives the exit code.
pub(crate) fn exit_code(ended: Outcome) -> ExitCode {
    let (code, text) = match ended {
        Ok(()) | Err(Failure::Closed) => return ExitCode::SUCCESS,
        Err(Failure::Matched) => return ExitCode::from(1),
        Err(Failure::NotFound(text)) => (1, text),
        Err(Failure::Input(text)) => (2, text),
        Err(Failure::Unreachable(text)) => (3, text),
        // As a shell counts what a signal ended.
        Err(Failure::Interrupted(text)) => {
            let _ = writeln!(std::io::stderr(), "{}", clean(&text));
            return ExitCode::from(130);
        }
    };
    // Nobody is left to tell when stderr is closed.
    let lines: Vec<String> = text.lines().map(clean).collect();
    let _ = writeln!(std::io::stderr(), "error: {}", lines.join("\n"));
    ExitCode::from(code)
}
