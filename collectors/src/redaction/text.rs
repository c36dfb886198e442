//! Masks what stands after a deny-listed word in running text: log lines, arguments, messages.
//!
//! `password=hunter2` becomes `password=***`; sentences stay as they are (`Access denied for user 'x'
//! (using password: YES)`), because they are what a diagnosis is made of.

/// What a masked value becomes.
pub(super) const MASK: &str = "***";

/// Words that make the value after them a secret. Compared without case, `_`, `-` and `.`.
const DENIED: [&[u8]; 15] = [
    b"passw",
    b"pwd",
    b"passphrase",
    b"requirepass",
    b"masterauth",
    b"token",
    b"secret",
    b"apikey",
    b"accesskey",
    b"privatekey",
    b"signingkey",
    b"encryptionkey",
    b"authorization",
    b"bearer",
    b"credential",
];

/// Per letter, which letters may follow it at the beginning of one of them, a bit each: every name in an object and
/// before every `:` and `=` of a log line is looked at, and few have a place where a word could begin.
const BEGINS: [u32; 256] = {
    let mut begins = [0; 256];
    let mut i = 0;
    while i < DENIED.len() {
        begins[DENIED[i][0] as usize] |= 1 << (DENIED[i][1] - b'a');
        i += 1;
    }
    begins
};

/// Ends of names that speak about a secret without being one (`secretName`, `token_file`, `max_tokens`).
const HARMLESS: [&str; 27] = [
    "name", "names", "file", "path", "dir", "ref", "refs", "seconds", "secs", "ttl", "type", "count", "length",
    "enabled", "plugin", "manager", "policy", "size", "limit", "endpoint", "tokens", "secrets", "keys", "version",
    "volume", "provider", "class",
];

/// Whether a name (of a variable, key, flag, header) says that its value is a secret.
pub(crate) fn is_denied_name(name: &str) -> bool {
    // Long names are no names; the bound also keeps this linear on hostile text.
    let name = &name.as_bytes()[name.len().saturating_sub(128)..];
    let small = |b: u8| b.to_ascii_lowercase();
    let begins = |two: &[u8]| {
        let second = small(two[1]).wrapping_sub(b'a');
        second < 26 && BEGINS[usize::from(small(two[0]))] & (1 << second) != 0
    };
    // Names of one word without such a place, which are nearly all, need no more than this.
    let whole = name.iter().all(u8::is_ascii_alphanumeric);
    if name.len() < 3 || (whole && !name.windows(2).any(begins)) {
        return false;
    }
    let mut flat = [0u8; 128];
    let mut n = 0;
    for b in name {
        flat[n] = small(*b);
        n += usize::from(b.is_ascii_alphanumeric());
    }
    let flat = &flat[..n];
    // `pass` alone is too short to be looked for inside of words (bypass, compass, passthrough).
    let tail = name.rsplit(|b| !b.is_ascii_alphanumeric()).next().unwrap_or(b"");
    let denied = tail.eq_ignore_ascii_case(b"pass")
        || tail.eq_ignore_ascii_case(b"auth")
        || flat.windows(2).enumerate().any(|(i, two)| begins(two) && DENIED.iter().any(|w| flat[i..].starts_with(w)));
    denied && !HARMLESS.iter().any(|w| flat.ends_with(w.as_bytes()))
}

/// Words after `password:` and the like that say how it went, not what it is.
fn is_harmless_value(v: &str) -> bool {
    // A longer one is no word; the bound also keeps hostile text from being gone over again and again.
    if v.len() > 256 {
        return false;
    }
    v.is_empty()
        || matches!(
            v.to_ascii_lowercase().as_str(),
            "yes"
                | "no"
                | "true"
                | "false"
                | "null"
                | "nil"
                | "none"
                | "empty"
                | "***"
                | "undefined"
                | "unset"
                | "redacted"
        )
        || (v.starts_with('<') && v.ends_with('>'))
        || v.starts_with("$(")
        || v.starts_with("${")
}

/// Bytes at which something secret can be recognised: `=` and `:` behind a name, `--` before one, `Bearer `, the `J`
/// of a web token's `eyJ`.
const TELLING: [bool; 256] = {
    let mut telling = [false; 256];
    let mut all: &[u8] = b"=:-bBJ";
    while let [b, rest @ ..] = all {
        telling[*b as usize] = true;
        all = rest;
    }
    telling
};

/// Masks secrets in one text; `None` when nothing had to change.
pub(crate) fn mask(text: &str) -> Option<String> {
    let b = text.as_bytes();
    let mut out: Option<String> = None;
    let mut copied = 0;
    let mut i = 0;
    while let Some(n) = b.get(i..).and_then(|rest| rest.iter().position(|b| TELLING[usize::from(*b)])) {
        i += n;
        let hit = match b[i] {
            b'=' => after_separator(text, i, copied),
            b':' if b.get(i + 1) == Some(&b'/') && b.get(i + 2) == Some(&b'/') => user_info(text, i + 3),
            b':' => after_separator(text, i, copied),
            b'-' if b.get(i + 1) == Some(&b'-') => {
                let flag = if i == 0 || b[i - 1] != b'-' { after_flag(text, i) } else { None };
                flag.or_else(|| key_block(text, i))
            }
            b'b' | b'B' => after_bearer(text, i),
            b'J' if b[..i].ends_with(b"ey") && (i == 2 || !is_name_byte(b[i - 3])) => web_token(text, i - 2),
            _ => None,
        };
        match hit {
            Some((from, to)) if from >= copied && to > from => {
                let o = out.get_or_insert_with(|| String::with_capacity(text.len()));
                o.push_str(&text[copied..from]);
                o.push_str(MASK);
                copied = to;
                i = to;
            }
            _ => i += 1,
        }
    }
    out.map(|mut o| {
        o.push_str(&text[copied..]);
        o
    })
}

fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')
}

/// Whether a byte ends an unquoted value.
fn ends_value(b: u8) -> bool {
    b.is_ascii_whitespace() || matches!(b, b',' | b';' | b'&' | b')' | b']' | b'}' | b'"' | b'\'' | b'|' | b'\\')
}

/// The value after the `=` or `:` at `i`, if the name before it is deny-listed.
fn after_separator(text: &str, i: usize, floor: usize) -> Option<(usize, usize)> {
    let b = text.as_bytes();
    if b.get(i + 1) == Some(&b':') || (i > 0 && b[i - 1] == b':') {
        return None; // a path of types, `token::parse`
    }
    let mut end = i;
    let mut spaced = false;
    while end > floor && b[end - 1] == b' ' && i - end < 8 {
        end -= 1;
        spaced = true;
    }
    while end > floor && matches!(b[end - 1], b'"' | b'\'' | b'\\' | b'`') && i - end < 16 {
        end -= 1;
    }
    let mut start = end;
    while start > floor && is_name_byte(b[start - 1]) && end - start < 128 {
        start -= 1;
    }
    if start == end || !is_denied_name(&text[start..end]) {
        return None;
    }
    let name = &text[start..end];
    let mut from = i + 1;
    let mut gap = false;
    while b.get(from).is_some_and(|c| matches!(c, b' ' | b'\t')) {
        from += 1;
        gap = true;
    }
    let (from, mut to, quoted) = value_at(text, from)?;
    let mut value = &text[from..to];
    if spaced && !quoted && b[i] == b':' {
        return None; // `"db-password" : secret not found`
    }
    if matches!(value.to_ascii_lowercase().as_str(), "basic" | "bearer" | "token" | "digest" | "negotiate") {
        // `Authorization: Basic dXNlcjpw`
        let mut at = to;
        while b.get(at) == Some(&b' ') {
            at += 1;
        }
        let scheme_end = at;
        while at < b.len() && !ends_value(b[at]) {
            at += 1;
        }
        return (at > scheme_end && !is_harmless_value(&text[scheme_end..at])).then_some((scheme_end, at));
    }
    if is_harmless_value(value) {
        return None;
    }
    let word = !value.is_empty() && value.len() <= 15 && value.bytes().all(|c| c.is_ascii_lowercase());
    let lower = name.to_ascii_lowercase();
    if gap && !quoted && b[i] == b':' && word && !lower.contains("passw") && !lower.contains("pwd") {
        // `failed to fetch token: unexpected end of file` is a sentence, `token: swordfish` at the end is none.
        if b.get(to) == Some(&b' ')
            && b.get(to + 1).is_some_and(|c| c.is_ascii_lowercase() || matches!(c, b'"' | b'\\' | b'\''))
        {
            return None;
        }
    }
    if !quoted {
        value = value.trim_end_matches(['.', ':']);
        to = from + value.len();
    }
    Some((from, to))
}

/// The value that begins at `from`: its first and last byte, and whether it is quoted.
fn value_at(text: &str, from: usize) -> Option<(usize, usize, bool)> {
    let b = text.as_bytes();
    let mut at = from;
    let mut escapes = 0;
    while b.get(at) == Some(&b'\\') && escapes < 3 {
        at += 1;
        escapes += 1;
    }
    if let Some(&q) = b.get(at).filter(|c| matches!(c, b'"' | b'\'' | b'`')) {
        let begin = at + 1;
        let mut end = begin;
        while end < b.len() && b[end] != q {
            // In text that is escaped once more, the closing quote is escaped as the opening one was.
            if b[end] == b'\\' && escapes == 0 {
                end += 1;
            }
            end += 1;
        }
        let mut end = end.min(b.len());
        let mut back = escapes;
        while back > 0 && end > begin && b[end - 1] == b'\\' {
            end -= 1;
            back -= 1;
        }
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        return Some((begin, end, true));
    }
    let mut end = from;
    while end < b.len() && !ends_value(b[end]) {
        end += 1;
    }
    (end >= from).then_some((from, end, false))
}

/// `--password VALUE`.
fn after_flag(text: &str, i: usize) -> Option<(usize, usize)> {
    let b = text.as_bytes();
    let mut end = i + 2;
    while end < b.len() && is_name_byte(b[end]) && end - i < 128 {
        end += 1;
    }
    if b.get(end) != Some(&b' ') || !is_denied_name(&text[i + 2..end]) {
        return None;
    }
    let (from, to, _) = value_at(text, end + 1)?;
    let value = &text[from..to];
    (!value.starts_with('-') && !is_harmless_value(value)).then_some((from, to))
}

/// `user:pass` in `scheme://user:pass@host`.
fn user_info(text: &str, from: usize) -> Option<(usize, usize)> {
    let b = text.as_bytes();
    let mut at = None;
    for (k, c) in b[from..].iter().enumerate().take(512) {
        match c {
            b'@' => at = Some(from + k),
            b'/' | b'?' | b'#' | b' ' | b'"' | b'\'' | b'<' | b'>' | b'\\' | b'\t' | b'\n' => break,
            _ => {}
        }
    }
    at.filter(|&to| &text[from..to] != MASK).map(|to| (from, to))
}

/// `Bearer VALUE`, where the value is no ordinary word.
fn after_bearer(text: &str, i: usize) -> Option<(usize, usize)> {
    let b = text.as_bytes();
    if !b.get(i..i + 7)?.eq_ignore_ascii_case(b"bearer ") {
        return None;
    }
    let (from, to, _) = value_at(text, i + 7)?;
    let value = &text[from..to];
    let word = value.bytes().all(|c| c.is_ascii_alphabetic() || c == b':' || c == b'.') && value.len() < 20;
    (!word && !is_harmless_value(value)).then_some((from, to))
}

/// A JSON web token, wherever it stands.
fn web_token(text: &str, i: usize) -> Option<(usize, usize)> {
    let b = text.as_bytes();
    let mut end = i;
    let mut dots = 0;
    while end < b.len() && (b[end].is_ascii_alphanumeric() || matches!(b[end], b'-' | b'_' | b'.' | b'=')) {
        dots += usize::from(b[end] == b'.');
        end += 1;
    }
    (dots >= 2 && end - i >= 40).then_some((i, end))
}

const BLOCK_BEGIN: &str = "-----BEGIN ";
const BLOCK_END: &str = "-----END ";

/// A private key between its first and last line.
fn key_block(text: &str, i: usize) -> Option<(usize, usize)> {
    let rest = text.get(i..)?;
    if !rest.starts_with(BLOCK_BEGIN) {
        return None;
    }
    const TITLE: &[u8] = b"PRIVATE KEY-----";
    let near = rest.as_bytes().get(..64.min(rest.len()))?;
    let head = near.windows(TITLE.len()).position(|w| w == TITLE)? + TITLE.len();
    let end = rest[head..].find(BLOCK_END).map_or(rest.len(), |e| head + e);
    (end > head && rest[head..end].trim() != MASK).then_some((i + head, i + end))
}

/// Masks log lines one after another; a private key may run over several.
#[derive(Clone, Copy, Debug, Default)]
pub struct LineMask {
    in_key: bool,
}

impl LineMask {
    /// The line with its secrets masked; `None` when nothing had to change.
    pub fn line(&mut self, line: &str) -> Option<String> {
        if self.in_key {
            if line.contains(BLOCK_END) {
                self.in_key = false;
                return None;
            }
            return Some(MASK.to_owned());
        }
        if line.contains(BLOCK_BEGIN) && line.contains("PRIVATE KEY-----") && !line.contains(BLOCK_END) {
            self.in_key = true;
        }
        mask(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_after_denied_words_are_masked() {
        for (text, want) in [
            ("password=hunter2 user=a", "password=*** user=a"),
            ("DB_PASS=x1 and api-key: \"abc\"", "DB_PASS=*** and api-key: \"***\""),
            ("{'user': 'ts', 'password': 'Ts_1', 'db': 'ts'}", "{'user': 'ts', 'password': '***', 'db': 'ts'}"),
            (r#"{"password":"a b","x":1}"#, r#"{"password":"***","x":1}"#),
            (r#"msg="{\"token\":\"abc\"}""#, r#"msg="{\"token\":\"***\"}""#),
            ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
            ("authorization: Basic dXNlcjpw x", "authorization: Basic *** x"),
            ("curl -H 'x' Bearer A1b2C3d4", "curl -H 'x' Bearer ***"),
            ("dial amqp://guest:guest@rabbit:5672/", "dial amqp://***@rabbit:5672/"),
            ("redis-server --requirepass abc1 --port 1", "redis-server --requirepass *** --port 1"),
            ("--db-password=abc", "--db-password=***"),
            ("Using generated security password: 8e55-72", "Using generated security password: ***"),
            ("password: swordfish", "password: ***"),
            ("token: swordfish", "token: ***"),
            ("[USER TOKEN: Ab12 USER ID: 7]", "[USER TOKEN: *** USER ID: 7]"),
            ("pässword=ü token=é!", "pässword=ü token=***"),
        ] {
            assert_eq!(mask(text).as_deref().unwrap_or(text), want);
            // Masking what is masked changes nothing.
            assert_eq!(mask(want), None, "{want}");
        }
    }

    #[test]
    fn sentences_stay_as_they_are() {
        for text in [
            "Access denied for user 'ts'@'10.0.0.1' (using password: YES)",
            "mysql: [Warning] Using a password on the command line interface can be insecure.",
            "Error: secret \"db-auth\" not found",
            "MountVolume.SetUp failed for volume \"kube-api-access-token\" : configmap \"x\" not registered",
            "couldn't find key DB_PASSWORD in Secret retail/db-auth",
            "invalid bearer token: signature is invalid",
            "failed to fetch token: unexpected end of file",
            "failed to fetch token: serviceaccounts \"kube-proxy\" not found",
            "FLAG: --tokenManagerPlugin=\"\"",
            "at RedisCache.GetAsync(String key, CancellationToken token)",
            "secretName=db-auth max_tokens=100",
            "auth::token::parse failed at http://web:8080/a@b",
            "This generated password is for development use only.",
        ] {
            assert_eq!(mask(text), None, "{text}");
        }
    }

    #[test]
    fn private_keys_are_masked_in_one_text_and_over_lines() {
        let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----";
        assert!(!mask(pem).unwrap().contains("MIIabc"));
        let mut m = LineMask::default();
        let lines: Vec<String> =
            pem.lines().chain(["after"]).map(|l| m.line(l).unwrap_or_else(|| l.to_owned())).collect();
        assert_eq!(lines[1], MASK);
        assert_eq!(lines[3], "after");
    }
}
