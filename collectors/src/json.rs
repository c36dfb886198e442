//! JSON text, walked without building values from it: where strings, values and members begin and end.
//!
//! The walk is lenient. It finds its way through anything that is JSON and ends early in what is not; whoever uses
//! what it found has the text checked as a whole before it goes on.

use std::borrow::Cow;

/// The first byte from `at` on that is no space.
pub(crate) fn space(b: &[u8], mut at: usize) -> usize {
    while matches!(b.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

/// The closing quote of a string whose text begins at `at`.
pub(crate) fn end_of_string(b: &[u8], at: usize) -> Option<usize> {
    string(b, at).map(|(end, _)| end)
}

/// The closing quote of a string whose text begins at `at`, and whether it has escapes.
pub(crate) fn string(b: &[u8], mut at: usize) -> Option<(usize, bool)> {
    let mut escaped = false;
    loop {
        at += until(b.get(at..)?, [b'"', b'\\'])?;
        if b[at] == b'"' {
            return Some((at, escaped));
        }
        escaped = true;
        at += 2;
    }
}

/// Where the first of these bytes stands. Eight bytes at a time: most strings are too short for vectors to pay.
pub(crate) fn until<const N: usize>(b: &[u8], wanted: [u8; N]) -> Option<usize> {
    const LOW: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    let (eights, rest) = b.as_chunks::<8>();
    for (i, eight) in eights.iter().enumerate() {
        let word = u64::from_le_bytes(*eight);
        // The high bit of the first byte that is one of them, and perhaps of others behind it.
        let hit = wanted.iter().fold(0, |hit, w| {
            let x = word ^ u64::from_le_bytes([*w; 8]);
            hit | (x.wrapping_sub(LOW) & !x)
        }) & HIGH;
        if hit != 0 {
            return Some(i * 8 + hit.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|b| wanted.contains(b)).map(|n| eights.len() * 8 + n)
}

/// Bytes that open, close or part values.
const TURNS: [bool; 256] = {
    let mut turns = [false; 256];
    let mut all: &[u8] = b"\"{}[],";
    while let [b, rest @ ..] = all {
        turns[*b as usize] = true;
        all = rest;
    }
    turns
};

/// The byte after the value that begins at `at`.
pub(crate) fn end_of_value(b: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    loop {
        at += b.get(at..)?.iter().position(|b| TURNS[usize::from(*b)])?;
        match b[at] {
            b'"' => {
                at = end_of_string(b, at + 1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
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

/// The members of the object that begins at byte `begin`: name as it is written, byte at which the value begins.
pub(crate) struct Members<'a> {
    src: &'a str,
    at: usize,
    /// Whether what was walked so far is an object, up to its end.
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Inside,
    Over,
    Broken,
}

impl<'a> Members<'a> {
    /// Begins in front of the first one.
    pub(crate) fn of(src: &'a str, begin: usize) -> Self {
        let b = src.as_bytes();
        let at = space(b, begin);
        if b.get(at) != Some(&b'{') {
            return Members { src, at, state: State::Broken };
        }
        let at = space(b, at + 1);
        let state = if b.get(at) == Some(&b'}') { State::Over } else { State::Inside };
        Members { src, at, state }
    }

    /// The next one.
    pub(crate) fn step(&mut self) -> Option<(&'a str, usize)> {
        if self.state != State::Inside {
            return None;
        }
        let b = self.src.as_bytes();
        let found = (|| {
            if b.get(self.at) != Some(&b'"') {
                return None;
            }
            let end = end_of_string(b, self.at + 1)?;
            let name = self.src.get(self.at + 1..end)?;
            let at = space(b, end + 1);
            (b.get(at) == Some(&b':')).then(|| (name, space(b, at + 1)))
        })();
        match found {
            Some((_, value)) => self.at = value,
            None => self.state = State::Broken,
        }
        found
    }

    /// Passes over the value at which [`Members::step`] has stopped, and gives its text.
    pub(crate) fn value(&mut self) -> Option<&'a str> {
        let b = self.src.as_bytes();
        let text = end_of_value(b, self.at).and_then(|end| {
            let text = self.src.get(self.at..end)?.trim_ascii_end();
            let next = space(b, end);
            match b.get(next) {
                Some(b',') => self.at = space(b, next + 1),
                Some(b'}') => self.state = State::Over,
                _ => return None,
            }
            Some(text)
        });
        if text.is_none() {
            self.state = State::Broken;
        }
        text
    }

    /// Whether the object was walked to its end.
    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Over
    }
}

/// Where the value of member `name` begins, in the object that begins at byte `begin`.
pub(crate) fn member_value(src: &str, begin: usize, name: &str) -> Option<usize> {
    let mut members = Members::of(src, begin);
    while let Some((key, value)) = members.step() {
        if key == name {
            return Some(value);
        }
        members.value()?;
    }
    None
}

/// The text of the string member `name` of the object that begins at byte `begin`.
pub(crate) fn member(src: &str, begin: usize, name: &str) -> Option<String> {
    let at = member_value(src, begin, name)?;
    let b = src.as_bytes();
    if b.get(at) != Some(&b'"') {
        return None;
    }
    let end = end_of_string(b, at + 1)?;
    Some(decoded(src.get(at + 1..end)?).into_owned())
}

/// A string's text with its escapes resolved.
pub(crate) fn decoded(raw: &str) -> Cow<'_, str> {
    if until(raw.as_bytes(), [b'\\']).is_none() {
        return Cow::Borrowed(raw);
    }
    serde_json::from_str(&format!("\"{raw}\"")).map_or(Cow::Borrowed(raw), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_several_bytes_is_found_wherever_it_stands() {
        for n in 0..40 {
            for (byte, other) in [(b'"', b'\\'), (b'\\', b'"'), (b'"', 0xff), (b'\\', b'!'), (b'"', b'#')] {
                let mut text = vec![b'x'; 40];
                text[n] = byte;
                text[n + 1..].fill(other);
                assert_eq!(until(&text, [b'"', b'\\']), Some(n));
                text[n] = b'\x80';
                let next = (other == b'"' || other == b'\\').then_some(n + 1).filter(|n| *n < 40);
                assert_eq!(until(&text, [b'"', b'\\']), next);
            }
        }
        assert_eq!(until(b"", [b'"']), None);
    }

    fn members(src: &str) -> (Vec<(&str, &str)>, bool) {
        let mut m = Members::of(src, 0);
        let mut all = Vec::new();
        while let Some((name, _)) = m.step() {
            let Some(value) = m.value() else { break };
            all.push((name, value));
        }
        (all, m.is_over())
    }

    #[test]
    fn members_are_found_whatever_stands_in_their_values() {
        for (src, want, over) in [
            (
                r#" { "a" : 1 , "b":"x\"}," ,"c":[{"d":"]"}, {}],"e":{} } "#,
                vec![("a", "1"), ("b", r#""x\"},""#), ("c", r#"[{"d":"]"}, {}]"#), ("e", "{}")],
                true,
            ),
            ("{}", vec![], true),
            (r#"{"a":null}"#, vec![("a", "null")], true),
            (r#"{"a":1"#, vec![], false),
            (r#"{"a":1 "b":2}"#, vec![], false),
            (r#"{"a" 1}"#, vec![], false),
            (r#"{"a":"x\"#, vec![], false),
            ("[]", vec![], false),
            ("", vec![], false),
        ] {
            assert_eq!(members(src), (want, over), "{src}");
        }
    }
}
