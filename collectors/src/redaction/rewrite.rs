//! One pass over the JSON text of an object: what must not leave is replaced, spaces between tokens go, every other
//! byte stays. No tree of values is built.
//!
//! What stays is copied in stretches as long as they come: the walker only looks, and copies up to where something
//! has to go.

use std::borrow::Cow;

use super::text::{LineMask, MASK, is_denied_name, mask};
use super::{Redaction, RedactionError, literal};
use crate::json::{decoded, end_of_value, member, space, string};

/// Deepest nesting that is followed; serde_json's own limit.
const MAX_DEPTH: usize = 127;

/// Where in the object the walker stands, which decides what happens to the values there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// The object itself.
    Top,
    /// Anywhere without rules of its own.
    Tree,
    /// `metadata.annotations`.
    Annotations,
    /// `metadata.managedFields` and its entries.
    Managed,
    /// A field set.
    FieldSet,
    /// Values are emptied, keys stay.
    Blank,
    /// Values by the rule for literals, names are the keys.
    Literals,
    /// `env`, `httpHeaders`: a list of `name` and `value`.
    Env,
    /// `args`, `command`.
    Args,
    /// Log lines.
    Lines,
    /// One literal, its name already known to be none.
    Plain,
}

/// The walker.
pub(super) struct Rewriter<'a> {
    src: &'a str,
    at: usize,
    /// Up to here the source is in `out`, or left out of it.
    copied: usize,
    out: String,
    rules: &'a Redaction,
    kind: &'a str,
    depth: usize,
}

impl<'a> Rewriter<'a> {
    pub(super) fn new(src: &'a str, kind: &'a str, rules: &'a Redaction) -> Self {
        Rewriter { src, at: 0, copied: 0, out: String::with_capacity(src.len()), rules, kind, depth: 0 }
    }

    /// Rewrites the whole text; `lead` is put in front of the members of the outermost object.
    pub(super) fn run(mut self, lead: &str) -> Result<String, RedactionError> {
        self.space()?;
        if self.peek() == Some(b'{') {
            self.object(At::Top, lead)?;
        } else {
            self.value(At::Tree, "")?;
        }
        self.space()?;
        if self.at < self.src.len() {
            return Err(RedactionError::NotJson);
        }
        self.copy(self.at)?;
        Ok(self.out)
    }

    fn peek(&self) -> Option<u8> {
        self.src.as_bytes().get(self.at).copied()
    }

    /// Copies what stays before byte `to`.
    fn copy(&mut self, to: usize) -> Result<(), RedactionError> {
        if self.copied < to {
            self.out.push_str(self.src.get(self.copied..to).ok_or(RedactionError::NotJson)?);
            self.copied = to;
        }
        Ok(())
    }

    /// Leaves out what comes before byte `to`.
    fn leave_out(&mut self, to: usize) {
        self.at = to;
        self.copied = to;
    }

    /// Leaves spaces out.
    fn space(&mut self) -> Result<(), RedactionError> {
        if self.peek().is_some_and(|b| b <= b' ') {
            self.copy(self.at)?;
            self.leave_out(space(self.src.as_bytes(), self.at));
        }
        Ok(())
    }

    fn expect(&mut self, b: u8) -> Result<(), RedactionError> {
        self.space()?;
        if self.peek() != Some(b) {
            return Err(RedactionError::NotJson);
        }
        self.at += 1;
        Ok(())
    }

    /// A string's text as written, between its quotes, and as it is meant.
    fn next_string(&mut self) -> Result<(&'a str, Cow<'a, str>), RedactionError> {
        self.expect(b'"')?;
        let begin = self.at;
        let (end, escaped) = string(self.src.as_bytes(), begin).ok_or(RedactionError::NotJson)?;
        self.at = end + 1;
        let raw = self.src.get(begin..end).ok_or(RedactionError::NotJson)?;
        Ok((raw, if escaped { decoded(raw) } else { Cow::Borrowed(raw) }))
    }

    fn value(&mut self, at: At, key: &str) -> Result<(), RedactionError> {
        self.space()?;
        match self.peek() {
            Some(b'{') => self.object(at, ""),
            Some(b'[') => self.array(at, key),
            Some(b'"') => {
                let (raw, text) = self.next_string()?;
                self.string(at, key, raw, &text)
            }
            Some(_) => {
                let begin = self.at;
                while let Some(b) = self.peek() {
                    if matches!(b, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t' | b'"' | b'{' | b'[' | b':') {
                        break;
                    }
                    self.at += 1;
                }
                if self.at == begin {
                    return Err(RedactionError::NotJson);
                }
                // Numbers under the name of a secret are values of one.
                if (at == At::Blank || (at == At::Literals && is_denied_name(key)))
                    && self.src.get(begin..self.at) != Some("null")
                {
                    self.copy(begin)?;
                    self.out.push_str("\"\"");
                    self.leave_out(self.at);
                }
                Ok(())
            }
            None => Err(RedactionError::NotJson),
        }
    }

    fn object(&mut self, at: At, lead: &str) -> Result<(), RedactionError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(RedactionError::TooDeep);
        }
        let begin = self.at;
        self.expect(b'{')?;
        self.space()?;
        if !lead.is_empty() {
            self.copy(self.at)?;
            self.out.push_str(lead);
        }
        if self.peek() == Some(b'}') {
            self.at += 1;
            self.depth -= 1;
            return Ok(());
        }
        if !lead.is_empty() {
            self.out.push(',');
        }
        // The name of an `env` entry may stand behind its value.
        let env_name = if at == At::Env { self.member(begin, "name") } else { None };
        // Whether no member stays so far.
        let mut first = lead.is_empty();
        loop {
            self.space()?;
            let from = self.at;
            let (_, key) = self.next_string()?;
            match self.rule(at, &key, begin) {
                None => {
                    self.copy(from)?;
                    self.pass_value()?;
                    // With it goes a comma: the one before it, else the one behind it.
                    if !first {
                        self.out.pop();
                    } else if self.peek() == Some(b',') {
                        self.leave_out(self.at + 1);
                        continue;
                    }
                }
                Some(next) => {
                    first = false;
                    self.expect(b':')?;
                    let name = match (next, &env_name) {
                        (At::Literals, Some(name)) if at == At::Env => name,
                        _ => key.as_ref(),
                    };
                    self.value(next, name)?;
                    self.space()?;
                }
            }
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    self.depth -= 1;
                    return Ok(());
                }
                _ => return Err(RedactionError::NotJson),
            }
        }
    }

    /// Leaves out what stands behind a member's name, up to what follows its value.
    fn pass_value(&mut self) -> Result<(), RedactionError> {
        let b = self.src.as_bytes();
        let colon = space(b, self.at);
        if b.get(colon) != Some(&b':') {
            return Err(RedactionError::NotJson);
        }
        let end = end_of_value(b, space(b, colon + 1)).ok_or(RedactionError::NotJson)?;
        self.leave_out(space(b, end));
        Ok(())
    }

    fn array(&mut self, at: At, key: &str) -> Result<(), RedactionError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(RedactionError::TooDeep);
        }
        self.expect(b'[')?;
        self.space()?;
        if self.peek() == Some(b']') {
            self.at += 1;
            self.depth -= 1;
            return Ok(());
        }
        let mut lines = LineMask::default();
        let mut mask_next = false;
        loop {
            self.space()?;
            if matches!(at, At::Lines | At::Args) && self.peek() == Some(b'"') {
                let (raw, text) = self.next_string()?;
                let changed = if at == At::Lines {
                    lines.line(&text)
                } else if mask_next && !text.starts_with('-') {
                    (text != MASK).then(|| MASK.to_owned())
                } else {
                    argument(&text)
                };
                // `--password`, `hunter2` are two elements.
                mask_next = at == At::Args && text.starts_with('-') && !text.contains('=') && is_denied_name(&text);
                self.put(raw, changed.as_deref())?;
            } else {
                self.value(at, key)?;
            }
            self.space()?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    self.depth -= 1;
                    return Ok(());
                }
                _ => return Err(RedactionError::NotJson),
            }
        }
    }

    /// What holds for the value of `key` in an object at `at` that begins at byte `begin`; `None` drops it.
    fn rule(&self, at: At, key: &str, begin: usize) -> Option<At> {
        Some(match at {
            At::Top => match (self.kind, key) {
                ("Secret", "data" | "stringData") => At::Blank,
                ("ConfigMap", "data") => At::Literals,
                ("ConfigMap", "binaryData") => At::Blank,
                _ => return self.rule(At::Tree, key, begin),
            },
            At::Tree => match key {
                "annotations" => At::Annotations,
                "managedFields" => At::Managed,
                "env" | "httpHeaders" => At::Env,
                "args" | "command" => At::Args,
                "lines" => At::Lines,
                "stringData" => At::Blank,
                "data" | "binaryData" => match self.member(begin, "kind").as_deref() {
                    Some("Secret") => At::Blank,
                    Some("ConfigMap") => At::Literals,
                    _ => At::Tree,
                },
                _ => At::Tree,
            },
            At::Annotations => {
                // What was applied last repeats the whole object, values and all.
                let copies = key.ends_with("/last-applied-configuration") || key == "objectset.rio.cattle.io/applied";
                return (!copies).then_some(At::Tree);
            }
            At::Managed => match key {
                "manager" | "operation" | "time" | "subresource" => At::Plain,
                "fieldsV1" => At::FieldSet,
                _ => return None,
            },
            At::FieldSet => match key {
                "f:metadata" | "f:status" => return None,
                _ => At::Plain,
            },
            At::Env => match key {
                "value" => At::Literals,
                "valueFrom" | "name" => At::Plain,
                // A map of names to values, as some charts have it.
                _ => At::Literals,
            },
            other => other,
        })
    }

    fn string(&mut self, at: At, key: &str, raw: &'a str, text: &str) -> Result<(), RedactionError> {
        let changed: Option<String> = match at {
            At::Plain | At::FieldSet | At::Managed => None,
            At::Blank => (!raw.is_empty()).then(String::new),
            At::Literals | At::Env => match literal::redact(key, text, |v| self.rules.hash(v)) {
                Cow::Borrowed(_) => None,
                Cow::Owned(new) => Some(new),
            },
            At::Top | At::Tree | At::Annotations | At::Args | At::Lines => {
                if is_denied_name(key) && may_be_value(raw) {
                    (raw != MASK).then(|| MASK.to_owned())
                } else if raw.len() < 8 || is_time(raw) {
                    None
                } else {
                    mask(text)
                }
            }
        };
        self.put(raw, changed.as_deref())
    }

    /// The string that was just passed, `raw` between its quotes, stays or becomes the new text.
    fn put(&mut self, raw: &str, changed: Option<&str>) -> Result<(), RedactionError> {
        if let Some(text) = changed {
            self.copy(self.at - raw.len() - 2)?;
            quote(text, &mut self.out);
            self.leave_out(self.at);
        }
        Ok(())
    }

    /// The text of a string member of the object that begins at byte `begin`.
    fn member(&self, begin: usize, name: &str) -> Option<String> {
        member(self.src, begin, name)
    }
}

fn quote(text: &str, out: &mut String) {
    match serde_json::to_string(text) {
        Ok(q) => out.push_str(&q),
        Err(_) => out.push_str("\"\""),
    }
}

/// Whether it is a time as the API writes it, which every object has several of.
fn is_time(raw: &str) -> bool {
    let digits = |b: &[u8]| b.iter().all(u8::is_ascii_digit);
    match raw.as_bytes() {
        [date @ .., b'T', h1, h2, b':', m1, m2, b':', s1, s2, b'Z'] => {
            matches!(date, [year @ .., b'-', o1, o2, b'-', d1, d2]
                if year.len() == 4 && digits(year) && digits(&[*o1, *o2, *d1, *d2]))
                && digits(&[*h1, *h2, *m1, *m2, *s1, *s2])
        }
        _ => false,
    }
}

/// Whether a string under a deny-listed key can be the secret itself, and not a word about it.
fn may_be_value(raw: &str) -> bool {
    !raw.is_empty() && !matches!(raw.to_ascii_lowercase().as_str(), "true" | "false" | "yes" | "no" | "null" | "none")
}

/// One argument of a command line, masked where needed.
fn argument(text: &str) -> Option<String> {
    // mysql's `-pPASSWORD` has neither separator nor word.
    if text.contains("mysql") || text.contains("mariadb") {
        let masked = mask(text).unwrap_or_else(|| text.to_owned());
        let words: Vec<Cow<'_, str>> = masked
            .split(' ')
            .map(|w| match w.strip_prefix("-p") {
                Some(p) if !p.is_empty() && p != MASK && !p.starts_with('$') => Cow::Owned(format!("-p{MASK}")),
                _ => Cow::Borrowed(w),
            })
            .collect();
        let joined = words.join(" ");
        return (joined != text).then_some(joined);
    }
    mask(text)
}
