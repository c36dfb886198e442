//! What people and programs read: [`answer`](self) first, then everything else in the same manner.
//!
//! Texts from the input go through [`text::clean`] before they reach a terminal. A form is made whole in memory and
//! then written at once; a reader that has gone is no error.

pub(crate) mod answer;
pub(crate) mod impact;
pub(crate) mod incidents;
pub(crate) mod rows;
pub(crate) mod rules;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod timeline;
pub(crate) mod whatif;

use std::io::Write;

use serde::Serialize;

use crate::args::{Colour, Format};
use crate::error::{Failure, Outcome};
use text::Paint;

/// Columns where there is no terminal to ask.
const WIDTH: usize = 120;

/// Standard output.
pub(crate) struct Screen {
    /// Colours, where wanted.
    pub(crate) paint: Paint,
    /// Columns.
    pub(crate) width: usize,
    format: Format,
}

impl Screen {
    /// Looks at standard output and environment.
    pub(crate) fn new(colour: Colour, format: Format) -> Self {
        let on = match colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never,
        };
        let width = terminal_size::terminal_size().map_or(WIDTH, |(w, _)| usize::from(w.0).max(40));
        Screen { paint: Paint(on), width, format }
    }

    /// The form asked for.
    pub(crate) fn format(&self, asked: Option<Format>) -> Format {
        asked.unwrap_or(self.format)
    }

    /// Prints a value: as data, or as what `lay_out` makes of it (told whether everything is wanted).
    pub(crate) fn show<T: Serialize>(
        &self,
        format: Format,
        value: &T,
        lay_out: impl FnOnce(bool) -> String,
    ) -> Outcome {
        match format {
            Format::Table => self.print(&lay_out(false)),
            Format::Wide => self.print(&lay_out(true)),
            Format::Json => self.print(&json(value)?),
            Format::Yaml => self.print(&yaml(value)?),
        }
    }

    /// Writes a text, ended by a line feed.
    pub(crate) fn print(&self, text: &str) -> Outcome {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        if !text.ends_with('\n') && !text.is_empty() {
            out.write_all(b"\n")?;
        }
        Ok(out.flush()?)
    }
}

/// A value as indented JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(|e| Failure::Unreachable(format!("cannot write JSON: {e}")))
}

/// A value as YAML.
pub(crate) fn yaml<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_saphyr::to_string(value).map_err(|e| Failure::Unreachable(format!("cannot write YAML: {e}")))
}
