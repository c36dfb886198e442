//! The token that requests bring: from a file, read again when it changes.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use subtle::ConstantTimeEq;

use crate::problem::Problem;

/// Shortest token that is taken.
const MIN: usize = 16;
/// Longest.
const MAX: usize = 4_096;

/// Why a token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("cannot read token file {path}: {source}; check that it exists and that you may read it")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// What it holds is no token.
    #[error(
        "token file {path}: {why}; write one line of {MIN} to {MAX} visible characters, e.g. by `openssl rand -hex 32`"
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
}

/// The token of a file.
pub(crate) struct Token {
    path: PathBuf,
    token: RwLock<String>,
}

impl Token {
    pub(crate) fn open(path: &Path) -> Result<Self, TokenError> {
        Ok(Token { path: path.to_owned(), token: RwLock::new(read(path)?) })
    }

    /// Reads the file again; the old token stays where the new one cannot be used. Whether it changed.
    pub(crate) fn renew(&self) -> Result<bool, TokenError> {
        let new = read(&self.path)?;
        let mut token = self.token.write().unwrap_or_else(PoisonError::into_inner);
        let changed = *token != new;
        *token = new;
        Ok(changed)
    }

    /// Whether a request brings it. The time that this takes tells the token's length and nothing else of it.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let (Some(one), None) = (given.next(), given.next()) else {
            return Err(Problem::unauthorised("there is no Authorization header, or more than one"));
        };
        let bytes = one.as_bytes();
        let scheme = bytes.get(..7).filter(|s| s.eq_ignore_ascii_case(b"bearer "));
        if scheme.is_none() {
            return Err(Problem::unauthorised("the Authorization header is not of the form `Bearer TOKEN`"));
        }
        let token = self.token.read().unwrap_or_else(PoisonError::into_inner);
        if bool::from(bytes[7..].trim_ascii().ct_eq(token.as_bytes())) {
            return Ok(());
        }
        Err(Problem::unauthorised("the token is not the one of this server"))
    }
}

fn read(path: &Path) -> Result<String, TokenError> {
    use std::io::Read;
    let unreadable = |source| TokenError::Unreadable { path: path.to_owned(), source };
    let unusable = |why| TokenError::Unusable { path: path.to_owned(), why };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX as u64 + 3).read_to_end(&mut bytes).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|_| unusable("it is no text"))?;
    let token = text.trim();
    match token.len() {
        n if n < MIN => Err(unusable("the token is too short")),
        n if n > MAX => Err(unusable("the token is too long")),
        _ if !token.bytes().all(|b| b.is_ascii_graphic()) => Err(unusable("it holds more than one word")),
        _ => Ok(token.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word_of_some_length_and_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        assert!(matches!(Token::open(&path), Err(TokenError::Unreadable { .. })));
        for bad in
            ["", "short", "0123456789abcdef 0123456789abcdef", "0123456789abcdef\n0123456789abcdef", &"x".repeat(5_000)]
        {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(Token::open(&path), Err(TokenError::Unusable { .. })), "{bad}");
        }
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        let token = Token::open(&path).unwrap();
        let with = |v: &str| HeaderMap::from_iter([(AUTHORIZATION, v.parse().unwrap())]);
        assert!(token.check(&with("Bearer 0123456789abcdef")).is_ok());
        assert!(token.check(&with("bearer  0123456789abcdef")).is_ok());
        for bad in ["Bearer 0123456789abcde", "Bearer 0123456789abcdef0", "Bearer", "Basic 0123456789abcdef", "Bearer "]
        {
            assert_eq!(token.check(&with(bad)).unwrap_err().status, 401, "{bad}");
        }
        let mut two = with("Bearer 0123456789abcdef");
        two.append(AUTHORIZATION, "Bearer x".parse().unwrap());
        assert!(token.check(&two).is_err() && token.check(&HeaderMap::new()).is_err());
        std::fs::write(&path, "bad").unwrap();
        assert!(token.renew().is_err() && token.check(&with("Bearer 0123456789abcdef")).is_ok());
        std::fs::write(&path, "fedcba9876543210").unwrap();
        assert!(token.renew().unwrap() && token.check(&with("Bearer 0123456789abcdef")).is_err());
    }
}
