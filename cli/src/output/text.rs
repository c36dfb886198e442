//! Letters: what may reach a terminal, colours, breaking and shortening.

/// A text from the input as it may be shown: one line, without control characters and without marks that turn the
/// direction of writing, with which a log line could repaint the terminal or disguise a command.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            c if c.is_control() => {}
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => {}
            c => out.push(c),
        }
    }
    out
}

/// As [`clean`], but keeps the lines.
pub(crate) fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}

/// At most `max` characters, the end replaced by `…`.
pub(crate) fn shorten(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(max.saturating_sub(1)).collect();
    out.push('…');
    out
}

/// Breaks a text at blanks into lines of at most `width` characters; a longer word is broken anywhere.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(10);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut len = 0;
    for word in text.split_whitespace() {
        let mut word = word;
        let mut n = word.chars().count();
        if len > 0 && len + 1 + n > width {
            lines.push(std::mem::take(&mut line));
            len = 0;
        }
        while n > width {
            let at = word.char_indices().nth(width).map_or(word.len(), |(i, _)| i);
            lines.push(word[..at].to_owned());
            word = &word[at..];
            n = word.chars().count();
        }
        if len > 0 {
            line.push(' ');
            len += 1;
        }
        line.push_str(word);
        len += n;
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// `3 pods`, `1 pod`.
pub(crate) fn count(n: usize, one: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        _ if one.ends_with('y') => format!("{n} {}ies", &one[..one.len() - 1]),
        _ if one.ends_with('s') => format!("{n} {one}es"),
        _ => format!("{n} {one}s"),
    }
}

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// What the eye should find first.
    pub(crate) fn strong(self, text: &str) -> String {
        self.with("1", text)
    }

    /// What is wrong.
    pub(crate) fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// What needs a look.
    pub(crate) fn doubtful(self, text: &str) -> String {
        self.with("1;33", text)
    }

    /// What is well.
    pub(crate) fn good(self, text: &str) -> String {
        self.with("1;32", text)
    }

    /// What may be read over.
    pub(crate) fn faint(self, text: &str) -> String {
        self.with("2", text)
    }

    /// Something to type.
    pub(crate) fn typed(self, text: &str) -> String {
        self.with("36", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_the_input_can_steer_a_terminal() {
        assert_eq!(clean("a\x1b[31mb\u{9b}2Jc\x07\n\u{202e}d\u{7f}"), "a[31mb2Jc d");
    }

    #[test]
    fn lines_break_at_blanks_and_long_words_anywhere() {
        assert_eq!(wrap("one two three", 10), ["one two", "three"]);
        assert_eq!(wrap("abcdefghijklm no", 10), ["abcdefghij", "klm no"]);
        assert_eq!(wrap("", 10), [""]);
    }

    #[test]
    fn counts_have_their_plural() {
        assert_eq!(
            [count(1, "pod"), count(2, "pod"), count(3, "query"), count(2, "Ingress")],
            ["1 pod", "2 pods", "3 queries", "2 Ingresses"]
        );
    }
}
