//! The tokenizer: Cypher as both stores read it, cut into words, numbers, texts and signs with their places.
//!
//! It knows strings with escapes, backticked names, line and block comments and parameters, so that nothing inside
//! them is ever taken for a keyword. It does not know the grammar. Unicode escapes (`\u0027`) are refused where they
//! would stand for a sign that ends a text or a name: Neo4j decodes them before it tokenizes, so there they could
//! close a string that looks open here.

use tapio_core::ports::StoreError;

/// Kind of a token. Comments and blanks are no tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A bare word: keyword, variable, label, property or function name.
    Word,
    /// A name in backticks.
    Quoted,
    /// A text in single or double quotes.
    Text,
    /// A number.
    Number,
    /// `$name`, with or without backticks.
    Param,
    /// One sign, or one of `..`, `<=`, `>=`, `<>`, `=~`, `+=`, `->`, `<-`.
    Sign,
}

/// A token and its place in the text, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    pub(crate) start: usize,
}

impl<'a> Token<'a> {
    pub(crate) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// Whether it is this bare word, in any case.
    pub(crate) fn is(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    pub(crate) fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|w| self.is(w))
    }

    /// Whether it is this sign.
    pub(crate) fn sign(&self, sign: &str) -> bool {
        self.kind == Kind::Sign && self.text == sign
    }

    /// The name it stands for, without backticks or `$`; none for texts, numbers and signs.
    pub(crate) fn name(&self) -> Option<&'a str> {
        match self.kind {
            Kind::Word => Some(self.text),
            Kind::Quoted => Some(&self.text[1..self.text.len() - 1]),
            Kind::Param => Some(self.text[1..].trim_matches('`')),
            _ => None,
        }
    }
}

/// Line and column of a byte, both from 1, the column in characters.
pub(crate) fn place(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at.min(text.len())];
    let line = before.matches('\n').count() + 1;
    (line, before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1)
}

/// A message with line and column, both from 1.
pub(crate) fn refused(text: &str, at: usize, what: &str) -> StoreError {
    let (line, column) = place(text, at);
    StoreError::Refused(format!("line {line}, column {column}: {what}"))
}

/// Cuts the text into tokens.
///
/// # Errors
/// [`StoreError::Refused`] on a text, name or comment that never ends, and on signs Cypher does not have.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token<'_>>, StoreError> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut i = 0;
    while let Some(&b) = bytes.get(i) {
        let start = i;
        let kind = match b {
            b'/' if bytes.get(i + 1) == Some(&b'/') => {
                i = text[i..].find('\n').map_or(text.len(), |n| i + n);
                continue;
            }
            b'/' if bytes.get(i + 1) == Some(&b'*') => {
                let Some(n) = text[i + 2..].find("*/") else {
                    return Err(refused(text, start, "this comment never ends, close it with */"));
                };
                i += n + 4;
                continue;
            }
            b'\'' | b'"' => {
                i = end_of_text(text, i)?;
                Kind::Text
            }
            b'`' => {
                i = end_of_name(text, i)?;
                Kind::Quoted
            }
            b'$' => {
                i = if bytes.get(i + 1) == Some(&b'`') { end_of_name(text, i + 1)? } else { end_of_word(text, i + 1) };
                if i == start + 1 {
                    return Err(refused(text, start, "`$` without a name, write $name"));
                }
                Kind::Param
            }
            b'0'..=b'9' => {
                i = end_of_number(bytes, i);
                Kind::Number
            }
            b'.' if bytes.get(i + 1).is_some_and(u8::is_ascii_digit) && !after_value(found.last(), start) => {
                i = end_of_number(bytes, i);
                Kind::Number
            }
            _ => {
                let c = text[i..].chars().next().unwrap_or(' ');
                if c.is_whitespace() {
                    i += c.len_utf8();
                    continue;
                }
                i = end_of_word(text, i);
                if i > start {
                    Kind::Word
                } else {
                    const PAIRS: [&str; 8] = ["..", "<=", ">=", "<>", "=~", "+=", "->", "<-"];
                    const SIGNS: &str = "()[]{}<>=+-*/%^.,:;|&!~";
                    if let Some(pair) = PAIRS.iter().find(|p| text[i..].starts_with(**p)) {
                        i += pair.len();
                    } else if SIGNS.contains(c) {
                        i += 1;
                    } else {
                        return Err(refused(
                            text,
                            start,
                            &format!("unexpected character `{c}`, quote it if it is text"),
                        ));
                    }
                    Kind::Sign
                }
            }
        };
        found.push(Token { kind, text: &text[start..i], start });
    }
    Ok(found)
}

/// `.5` is a number, but in `a.5` or `*1..5` the dot belongs to what stands right before it.
fn after_value(last: Option<&Token<'_>>, at: usize) -> bool {
    last.is_some_and(|t| t.end() == at && (t.kind != Kind::Sign || [")", "]", "}", ".."].contains(&t.text)))
}

fn end_of_word(text: &str, from: usize) -> usize {
    text[from..].find(|c: char| !(c.is_alphanumeric() || c == '_')).map_or(text.len(), |n| from + n)
}

fn end_of_number(bytes: &[u8], from: usize) -> usize {
    let mut i = from;
    let run = |mut i: usize| {
        while bytes.get(i).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_') {
            i += 1;
        }
        i
    };
    let exponent = |i: usize| {
        let signed = matches!(bytes.get(i), Some(b'+' | b'-')) && bytes.get(i + 1).is_some_and(u8::is_ascii_digit);
        signed && matches!(bytes[i - 1], b'e' | b'E') && !bytes[from..i].starts_with(b"0x")
    };
    i = if bytes[i] == b'.' { i } else { run(i) };
    if i > from && exponent(i) {
        return run(i + 1);
    }
    if bytes.get(i) == Some(&b'.') && bytes.get(i + 1).is_some_and(u8::is_ascii_digit) {
        i = run(i + 1);
        if exponent(i) {
            i = run(i + 1);
        }
    }
    i
}

fn end_of_text(text: &str, from: usize) -> Result<usize, StoreError> {
    let bytes = text.as_bytes();
    let mut i = from + 1;
    loop {
        match bytes.get(i) {
            None => return Err(refused(text, from, "this text never ends, close it with the quote it began with")),
            Some(b'\\') => {
                no_escaped_end(text, i)?;
                i += 2;
            }
            Some(b) if *b == bytes[from] => return Ok(i + 1),
            Some(_) => i += 1,
        }
    }
}

fn end_of_name(text: &str, from: usize) -> Result<usize, StoreError> {
    let bytes = text.as_bytes();
    let mut i = from + 1;
    loop {
        match bytes.get(i) {
            None => return Err(refused(text, from, "this name never ends, close it with a backtick")),
            Some(b'`') if bytes.get(i + 1) == Some(&b'`') => i += 2,
            Some(b'`') => return Ok(i + 1),
            Some(b'\\') => {
                no_escaped_end(text, i)?;
                i += 1;
            }
            Some(_) => i += 1,
        }
    }
}

/// Refuses `\u` escapes of quotes, backticks, backslashes and line ends.
fn no_escaped_end(text: &str, at: usize) -> Result<(), StoreError> {
    let rest = text[at + 1..].trim_start_matches(['u', 'U']);
    if rest.len() == text.len() - at - 1 {
        return Ok(());
    }
    let digits: String = rest.chars().take_while(char::is_ascii_hexdigit).take(8).collect();
    let short = digits.get(..4).unwrap_or(&digits);
    for digits in [short, digits.as_str()] {
        let code = u32::from_str_radix(digits, 16).unwrap_or(0);
        if matches!(char::from_u32(code), Some('\'' | '"' | '`' | '\\' | '\n' | '\r')) {
            return Err(refused(
                text,
                at,
                "a quote or line end written as \\u…, write it as itself or pass a parameter",
            ));
        }
    }
    Ok(())
}

/// The index of the token that closes the bracket at `open`, if any.
pub(crate) fn closing(tokens: &[Token<'_>], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (i, t) in tokens.iter().enumerate().skip(open) {
        if t.kind == Kind::Sign {
            match t.text {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => {
                    depth = depth.checked_sub(1)?;
                    if depth == 0 {
                        return Some(i);
                    }
                }
                _ => {}
            }
        }
    }
    None
}

/// Replacements of stretches of a text, applied at once.
#[derive(Debug, Default)]
pub(crate) struct Edits(Vec<(usize, usize, String)>);

impl Edits {
    /// Replaces the bytes from `start` to `end`; `start == end` inserts.
    pub(crate) fn replace(&mut self, start: usize, end: usize, with: impl Into<String>) {
        self.0.push((start, end, with.into()));
    }

    /// The text with all replacements; of two that overlap, the one that starts first (then: was added first) counts.
    pub(crate) fn apply(mut self, text: &str) -> String {
        self.0.sort_by_key(|e| e.0);
        let mut out = String::with_capacity(text.len() + 64);
        let mut at = 0;
        for (start, end, with) in self.0 {
            if start >= at {
                out.push_str(&text[at..start]);
                out.push_str(&with);
                at = end;
            }
        }
        out.push_str(&text[at..]);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        tokens(text).unwrap().iter().map(|t| t.text).collect()
    }

    #[test]
    fn cuts_words_numbers_texts_and_signs() {
        for (text, want) in [
            ("RETURN 'it\\'s' // SET", vec!["RETURN", "'it\\'s'"]),
            ("a/* DELETE */.b", vec!["a", ".", "b"]),
            ("`x``y`:`Set`", vec!["`x``y`", ":", "`Set`"]),
            ("$a+$`b c`", vec!["$a", "+", "$`b c`"]),
            ("*1..5]", vec!["*", "1", "..", "5", "]"]),
            ("*..5", vec!["*", "..", "5"]),
            ("1.5 .5 1e-3 0x1F 2.5E+3", vec!["1.5", ".5", "1e-3", "0x1F", "2.5E+3"]),
            ("1.CREATE", vec!["1", ".", "CREATE"]),
            ("(a)<-[:X]->(b)", vec!["(", "a", ")", "<-", "[", ":", "X", "]", "->", "(", "b", ")"]),
            ("ä.größe = \"ß\"", vec!["ä", ".", "größe", "=", "\"ß\""]),
        ] {
            assert_eq!(texts(text), want, "{text}");
        }
    }

    #[test]
    fn refuses_what_never_ends_and_escapes_that_would_end_it_elsewhere() {
        for text in ["'a", "\"a\\\"", "`a", "/* a", "$ a", "a \\u0043REATE", "'\\u0027 CREATE'", "'\\u005c'", "§"] {
            assert!(matches!(tokens(text), Err(StoreError::Refused(_))), "{text}");
        }
        assert_eq!(texts("'\\u00e9'"), ["'\\u00e9'"]);
    }
}
