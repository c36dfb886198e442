//! Ids are hashes of meaning: the same fact seen twice has the same id, so re-delivery and replay are harmless.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A 128-bit content hash (BLAKE3, first 16 bytes); printed as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u128);

/// Builds an [`Id`] from parts; each part is length-prefixed, so `("ab","c")` and `("a","bc")` differ.
#[derive(Clone, Default)]
pub struct IdBuilder(blake3::Hasher);

impl IdBuilder {
    /// A builder for ids of one `domain` (`"event"`, `"incident"`, …), so that ids of two domains never collide.
    pub fn new(domain: &str) -> Self {
        Self::default().text(domain)
    }

    /// Adds a text.
    #[must_use]
    pub fn text(self, part: &str) -> Self {
        self.bytes(part.as_bytes())
    }

    /// Adds bytes.
    #[must_use]
    pub fn bytes(mut self, part: &[u8]) -> Self {
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
        self
    }

    /// Adds a number.
    #[must_use]
    pub fn number(mut self, part: i64) -> Self {
        self.0.update(&part.to_le_bytes());
        self
    }

    /// The id of everything added.
    pub fn finish(self) -> Id {
        let hash = self.0.finalize();
        let mut first = [0u8; 16];
        first.copy_from_slice(&hash.as_bytes()[..16]);
        Id(u128::from_be_bytes(first))
    }
}

impl Id {
    /// The id of one sequence of texts in a domain.
    pub fn of(domain: &str, parts: &[&str]) -> Self {
        parts.iter().fold(IdBuilder::new(domain), |b, p| b.text(p)).finish()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Id {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(Id)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_together_and_ids_survive_printing() {
        let (a, b) = (Id::of("x", &["ab", "c"]), Id::of("x", &["a", "bc"]));
        assert_ne!(a, b);
        assert_eq!(a.to_string().parse::<Id>().unwrap(), a);
        assert_eq!(a.to_string().len(), 32);
    }
}
