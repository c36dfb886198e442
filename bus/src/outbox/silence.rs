//! Silences: matchers on labels, with an end. They hold back what opens or gets worse; never the news that something
//! which was told is over.

use std::collections::BTreeMap;
use std::str::FromStr;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use tapio_core::time::Time;

/// Bytes of a compiled expression.
const REGEX_BYTES: usize = 256 << 10;
/// Characters of a matcher.
const MAX_MATCHER: usize = 1_000;

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operator {
    /// `=`
    #[serde(rename = "=")]
    Is,
    /// `!=`
    #[serde(rename = "!=")]
    IsNot,
    /// `=~`, the whole value
    #[serde(rename = "=~")]
    Like,
    /// `!~`, the whole value
    #[serde(rename = "!~")]
    NotLike,
}

/// Why a text is no matcher.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatcherError {
    /// Not of the form.
    #[error("`{0}` is no matcher; write LABEL=VALUE, LABEL!=VALUE, LABEL=~REGEX or LABEL!~REGEX")]
    Form(String),
    /// The expression cannot be used.
    #[error("the regular expression of `{matcher}` cannot be used: {why}")]
    Regex {
        /// As it was written.
        matcher: String,
        /// What is wrong with it.
        why: String,
    },
}

/// One condition on a label; a label that is not there is the empty text.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Matcher {
    label: String,
    operator: Operator,
    value: String,
    regex: Option<Regex>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Written {
    label: String,
    operator: Operator,
    value: String,
}

impl From<Matcher> for Written {
    fn from(m: Matcher) -> Self {
        Written { label: m.label, operator: m.operator, value: m.value }
    }
}

impl TryFrom<Written> for Matcher {
    type Error = MatcherError;

    fn try_from(w: Written) -> Result<Self, MatcherError> {
        Matcher::new(&w.label, w.operator, &w.value)
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.label, self.operator, &self.value) == (&other.label, other.operator, &other.value)
    }
}

impl Matcher {
    /// A matcher.
    ///
    /// # Errors
    /// The label is none, or the expression cannot be used.
    pub fn new(label: &str, operator: Operator, value: &str) -> Result<Self, MatcherError> {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let named = !label.is_empty() && label.chars().all(word) && !label.starts_with(|c: char| c.is_ascii_digit());
        if !named || value.chars().count() > MAX_MATCHER {
            return Err(MatcherError::Form(label.chars().take(60).collect()));
        }
        let regex = match operator {
            Operator::Is | Operator::IsNot => None,
            Operator::Like | Operator::NotLike => {
                Some(RegexBuilder::new(&format!("^(?:{value})$")).size_limit(REGEX_BYTES).build().map_err(|e| {
                    let why = e.to_string();
                    let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                    MatcherError::Regex { matcher: format!("{label}=~{value}"), why }
                })?)
            }
        };
        Ok(Matcher { label: label.to_owned(), operator, value: value.to_owned(), regex })
    }

    /// Whether it holds for these labels.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.label).map_or("", String::as_str);
        let like = || self.regex.as_ref().is_some_and(|r| r.is_match(value));
        match self.operator {
            Operator::Is => value == self.value,
            Operator::IsNot => value != self.value,
            Operator::Like => like(),
            Operator::NotLike => !like(),
        }
    }
}

impl FromStr for Matcher {
    type Err = MatcherError;

    fn from_str(text: &str) -> Result<Self, MatcherError> {
        let form = || MatcherError::Form(text.chars().take(60).collect());
        let at = text.find(['=', '!']).ok_or_else(form)?;
        let (label, rest) = text.split_at(at);
        let (operator, value) =
            [("=~", Operator::Like), ("!~", Operator::NotLike), ("!=", Operator::IsNot), ("=", Operator::Is)]
                .into_iter()
                .find_map(|(sign, o)| rest.strip_prefix(sign).map(|v| (o, v)))
                .ok_or_else(form)?;
        let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
        Matcher::new(label.trim(), operator, value).map_err(|e| match e {
            MatcherError::Form(_) => form(),
            other => other,
        })
    }
}

impl std::fmt::Display for Matcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = match self.operator {
            Operator::Is => "=",
            Operator::IsNot => "!=",
            Operator::Like => "=~",
            Operator::NotLike => "!~",
        };
        write!(f, "{}{sign}\"{}\"", self.label, self.value)
    }
}

/// Alerts that nobody wants to hear for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    /// Number, given by the outbox.
    pub id: i64,
    /// All of them must hold.
    pub matchers: Vec<Matcher>,
    /// Until then.
    pub until: Time,
    /// Since then.
    pub created: Time,
    /// Who.
    pub author: String,
    /// Why.
    pub comment: String,
}

impl Silence {
    /// Whether it holds an alert with these labels back at `now`.
    pub fn covers(&self, labels: &BTreeMap<String, String>, now: Time) -> bool {
        now < self.until && !self.matchers.is_empty() && self.matchers.iter().all(|m| m.matches(labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_are_read_as_they_are_written_in_alertmanager() {
        let labels: BTreeMap<String, String> =
            [("namespace", "shop-a"), ("severity", "high")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let cases = [
            ("namespace=shop-a", true),
            ("namespace=\"shop-a\"", true),
            ("namespace=shop", false),
            ("namespace!=shop", true),
            ("namespace=~shop-.*", true),
            ("namespace=~shop", false),
            ("namespace!~shop-.*", false),
            ("owner=", true),
            ("owner!=", false),
            ("severity=~high|critical", true),
        ];
        for (text, want) in cases {
            let m: Matcher = text.parse().unwrap();
            assert_eq!(m.matches(&labels), want, "{text}");
            let again: Matcher = serde_json::from_str(&serde_json::to_string(&m).unwrap()).unwrap();
            assert_eq!(again.matches(&labels), want, "{text}, stored");
            assert_eq!(m.to_string().parse::<Matcher>().unwrap(), m, "{text}, printed");
        }
        for text in ["", "namespace", "=x", "a b=c", "1a=b", "n=~(", "n=~(a{1000}){1000}"] {
            assert!(text.parse::<Matcher>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_silence_without_matchers_or_beyond_its_end_covers_nothing() {
        let at = Time::from_micros;
        let all = Silence {
            id: 1,
            matchers: vec!["a!=b".parse().unwrap()],
            until: at(10),
            created: at(0),
            author: String::new(),
            comment: String::new(),
        };
        assert!(all.covers(&BTreeMap::new(), at(9)) && !all.covers(&BTreeMap::new(), at(10)));
        assert!(!Silence { matchers: Vec::new(), ..all }.covers(&BTreeMap::new(), at(9)));
    }
}
