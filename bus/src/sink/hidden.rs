//! What must not be seen: addresses that are keys, tokens, secrets.

use std::fmt;
use std::sync::Arc;

use tapio_core::ports::SinkError;

/// A value that is read anew each time it is needed, and never shown.
#[derive(Clone)]
pub struct Hidden(Arc<dyn Fn() -> Result<String, String> + Send + Sync>);

impl Hidden {
    /// A value from where `read` gets it. Its error names the place (a file, a variable) and no value.
    pub fn from(read: impl Fn() -> Result<String, String> + Send + Sync + 'static) -> Self {
        Hidden(Arc::new(read))
    }

    /// A value that is known.
    pub fn of(value: impl Into<String>) -> Self {
        let value = value.into();
        Hidden::from(move || Ok(value.clone()))
    }

    /// The value, without blanks around it.
    ///
    /// # Errors
    /// [`SinkError::Off`] where it is not there, or empty.
    pub(super) fn get(&self) -> Result<String, SinkError> {
        let value = (self.0)().map_err(|why| SinkError::Off { why })?;
        let value = value.trim();
        if value.is_empty() {
            return Err(SinkError::Off { why: "the secret it needs is empty".to_owned() });
        }
        Ok(value.to_owned())
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hidden>")
    }
}
