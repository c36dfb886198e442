//! One pass over the JSON text of an object: what must not leave is replaced, spaces between tokens go, every other
//! byte stays. No tree of values is built.

use std::borrow::Cow;

use super::text::{LineMask, MASK, is_denied_name, mask};
use super::{Redaction, RedactionError, literal};

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
    out: String,
    rules: &'a Redaction,
    kind: &'a str,
    depth: usize,
}

impl<'a> Rewriter<'a> {
    pub(super) fn new(src: &'a str, kind: &'a str, rules: &'a Redaction) -> Self {
        Rewriter { src, at: 0, out: String::with_capacity(src.len()), rules, kind, depth: 0 }
    }

    /// Rewrites the whole text; `lead` is put in front of the members of the outermost object.
    pub(super) fn run(mut self, lead: &str) -> Result<String, RedactionError> {
        self.space();
        if self.peek() == Some(b'{') {
            self.object(At::Top, lead)?;
        } else {
            self.value(At::Tree, "")?;
        }
        self.space();
        if self.at < self.src.len() {
            return Err(RedactionError::NotJson);
        }
        Ok(self.out)
    }

    fn peek(&self) -> Option<u8> {
        self.src.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, b: u8) -> Result<(), RedactionError> {
        self.space();
        if self.peek() != Some(b) {
            return Err(RedactionError::NotJson);
        }
        self.at += 1;
        Ok(())
    }

    /// A string's text as written, between its quotes.
    fn raw_string(&mut self) -> Result<&'a str, RedactionError> {
        self.expect(b'"')?;
        let begin = self.at;
        let end = end_of_string(self.src.as_bytes(), begin).ok_or(RedactionError::NotJson)?;
        self.at = end + 1;
        self.src.get(begin..end).ok_or(RedactionError::NotJson)
    }

    fn value(&mut self, at: At, key: &str) -> Result<(), RedactionError> {
        self.space();
        match self.peek() {
            Some(b'{') => self.object(at, ""),
            Some(b'[') => self.array(at, key),
            Some(b'"') => {
                let raw = self.raw_string()?;
                self.string(at, key, raw)
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
                let scalar = self.src.get(begin..self.at).ok_or(RedactionError::NotJson)?;
                let hide = at == At::Blank || (at == At::Literals && is_denied_name(key));
                self.out.push_str(if hide && scalar != "null" { "\"\"" } else { scalar });
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
        self.out.push('{');
        self.out.push_str(lead);
        let mut first = lead.is_empty();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            self.out.push('}');
            self.depth -= 1;
            return Ok(());
        }
        // The name of an `env` entry may stand behind its value.
        let env_name = if at == At::Env { self.member(begin, "name") } else { None };
        loop {
            self.space();
            let raw = self.raw_string()?;
            self.expect(b':')?;
            let key = decoded(raw);
            match self.rule(at, &key, begin) {
                None => self.skip()?,
                Some(next) => {
                    if !first {
                        self.out.push(',');
                    }
                    first = false;
                    self.out.push('"');
                    self.out.push_str(raw);
                    self.out.push_str("\":");
                    let name = match (next, &env_name) {
                        (At::Literals, Some(name)) if at == At::Env => name,
                        _ => key.as_ref(),
                    };
                    self.value(next, name)?;
                }
            }
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    self.out.push('}');
                    self.depth -= 1;
                    return Ok(());
                }
                _ => return Err(RedactionError::NotJson),
            }
        }
    }

    fn array(&mut self, at: At, key: &str) -> Result<(), RedactionError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(RedactionError::TooDeep);
        }
        self.expect(b'[')?;
        self.out.push('[');
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            self.out.push(']');
            self.depth -= 1;
            return Ok(());
        }
        let mut lines = LineMask::default();
        let mut mask_next = false;
        loop {
            self.space();
            if matches!(at, At::Lines | At::Args) && self.peek() == Some(b'"') {
                let raw = self.raw_string()?;
                let text = decoded(raw);
                let changed = if at == At::Lines {
                    lines.line(&text)
                } else if mask_next && !text.starts_with('-') {
                    (text != MASK).then(|| MASK.to_owned())
                } else {
                    argument(&text)
                };
                // `--password`, `hunter2` are two elements.
                mask_next = at == At::Args && text.starts_with('-') && !text.contains('=') && is_denied_name(&text);
                self.put(raw, changed.as_deref());
            } else {
                self.value(at, key)?;
            }
            self.space();
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    self.out.push(',');
                }
                Some(b']') => {
                    self.at += 1;
                    self.out.push(']');
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

    fn string(&mut self, at: At, key: &str, raw: &'a str) -> Result<(), RedactionError> {
        let changed: Option<String> = match at {
            At::Plain | At::FieldSet | At::Managed => None,
            At::Blank => (!raw.is_empty()).then(String::new),
            At::Literals | At::Env => {
                let text = decoded(raw);
                match literal::redact(key, &text, |v| self.rules.hash(v)) {
                    Cow::Borrowed(_) => None,
                    Cow::Owned(new) => Some(new),
                }
            }
            At::Top | At::Tree | At::Annotations | At::Args | At::Lines => {
                if is_denied_name(key) && may_be_value(raw) {
                    (raw != MASK).then(|| MASK.to_owned())
                } else if raw.len() < 8 {
                    None
                } else {
                    mask(&decoded(raw))
                }
            }
        };
        self.put(raw, changed.as_deref());
        Ok(())
    }

    /// Writes a string: as it was, or the new text.
    fn put(&mut self, raw: &str, changed: Option<&str>) {
        match changed {
            None => {
                self.out.push('"');
                self.out.push_str(raw);
                self.out.push('"');
            }
            Some(text) => quote(text, &mut self.out),
        }
    }

    /// Passes over a value without writing it.
    fn skip(&mut self) -> Result<(), RedactionError> {
        self.space();
        self.at = end_of_value(self.src.as_bytes(), self.at).ok_or(RedactionError::NotJson)?;
        Ok(())
    }

    /// The text of a string member of the object that begins at byte `begin`.
    fn member(&self, begin: usize, name: &str) -> Option<String> {
        member(self.src, begin, name)
    }
}

/// The text of the string member `name` of the object that begins at byte `begin`.
pub(super) fn member(src: &str, begin: usize, name: &str) -> Option<String> {
    let b = src.as_bytes();
    let at = member_value(src, begin, name)?;
    if b.get(at) != Some(&b'"') {
        return None;
    }
    let end = end_of_string(b, at + 1)?;
    Some(decoded(src.get(at + 1..end)?).into_owned())
}

/// Where the value of member `name` begins, in the object that begins at byte `begin`.
pub(super) fn member_value(src: &str, begin: usize, name: &str) -> Option<usize> {
    let b = src.as_bytes();
    let space = |mut at: usize| {
        while matches!(b.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            at += 1;
        }
        at
    };
    let mut at = space(begin);
    if b.get(at) != Some(&b'{') {
        return None;
    }
    at += 1;
    loop {
        at = space(at);
        if b.get(at) != Some(&b'"') {
            return None;
        }
        let end = end_of_string(b, at + 1)?;
        let key = src.get(at + 1..end)?;
        at = space(end + 1);
        if b.get(at) != Some(&b':') {
            return None;
        }
        at = space(at + 1);
        if key == name {
            return Some(at);
        }
        at = space(end_of_value(b, at)?);
        if b.get(at) != Some(&b',') {
            return None;
        }
        at += 1;
    }
}

/// The closing quote of a string whose text begins at `at`.
fn end_of_string(b: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match b.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The byte after the value that begins at `at`.
fn end_of_value(b: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    loop {
        match b.get(at)? {
            b'"' => {
                at = end_of_string(b, at + 1)? + 1;
                if depth == 0 {
                    return Some(at);
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return Some(at),
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b',' if depth == 0 => return Some(at),
            _ => {}
        }
        at += 1;
    }
}

/// A string's text with its escapes resolved.
fn decoded(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    serde_json::from_str(&format!("\"{raw}\"")).map_or(Cow::Borrowed(raw), Cow::Owned)
}

fn quote(text: &str, out: &mut String) {
    match serde_json::to_string(text) {
        Ok(q) => out.push_str(&q),
        Err(_) => out.push_str("\"\""),
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
