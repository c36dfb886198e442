//! The manual of what can be detected, from the code's own doc comments, as programs read it.

use serde::{Deserialize, Serialize};

use crate::mechanisms::{FAMILIES, Section, section};
use crate::patterns::{PATTERNS, Pattern};

/// A mechanism's page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MechanismPage {
    /// Its id.
    pub id: String,
    /// The family of near relatives.
    pub family: String,
    /// What it is, in one line.
    pub title: String,
    /// What it needs as evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<String>,
    /// What speaks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supports: Option<String>,
    /// What speaks against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refuted_by: Option<String>,
    /// When it takes effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<String>,
    /// What to do.
    #[serde(default, rename = "do", skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// What the proof of this mechanism rests on.
    pub rests_on: String,
}

impl MechanismPage {
    fn of(family: &str, s: &Section) -> Self {
        MechanismPage {
            id: s.id.to_owned(),
            family: family.to_owned(),
            title: s.title().to_owned(),
            required: s.part("Required"),
            supports: s.part("Supports"),
            refuted_by: s.part("Refuted by"),
            lag: s.part("Lag"),
            remedy: s.part("Do"),
            rests_on: s.rests.as_str().to_owned(),
        }
    }

    /// All pages, by family.
    pub fn all() -> Vec<Self> {
        FAMILIES.iter().flat_map(|f| f.manual.iter().map(|s| MechanismPage::of(f.name, s))).collect()
    }

    /// The page of an id; `_` may stand for `-`.
    pub fn find(id: &str) -> Option<Self> {
        let s = section(&id.replace('_', "-"))?;
        let family = FAMILIES.iter().find(|f| f.manual.iter().any(|x| x.id == s.id)).map_or("", |f| f.name);
        Some(MechanismPage::of(family, s))
    }
}

/// A pattern's page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatternPage {
    /// Its id.
    pub id: String,
    /// The manual, one paragraph.
    pub manual: String,
}

impl PatternPage {
    fn of(p: &Pattern) -> Self {
        PatternPage { id: p.id.to_owned(), manual: p.manual.lines().collect::<Vec<_>>().join(" ") }
    }

    /// All pages.
    pub fn all() -> Vec<Self> {
        PATTERNS.iter().map(PatternPage::of).collect()
    }

    /// The page of an id; `-` may stand for `_`.
    pub fn find(id: &str) -> Option<Self> {
        let id = id.replace('-', "_");
        PATTERNS.iter().find(|p| p.id == id).map(PatternPage::of)
    }
}
