//! `{{column}}` in a message: names of columns and nothing else, no expressions and no functions.

/// Characters of one value in a text.
pub const VALUE_CHARS: usize = 200;

/// A text with places for the values of columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Column(String),
}

impl Template {
    /// Reads a text.
    ///
    /// # Errors
    /// Says what is wrong with the braces.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((name, behind)) = after.split_once("}}") else {
                return Err("`{{` is never closed, write {{column}}".to_owned());
            };
            let name = name.trim();
            if name.is_empty() || name.contains('{') {
                return Err(format!("`{{{{{name}}}}}` names no column, write {{{{column}}}}"));
            }
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Column(name.to_owned()));
            rest = behind;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Template { text: text.to_owned(), parts })
    }

    /// The text as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The columns that it names, in its order.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|p| match p {
            Part::Column(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The text with values; they are plain already.
    pub fn fill<'a>(&self, mut value: impl FnMut(&str) -> Option<&'a str>) -> String {
        self.parts.iter().fold(String::new(), |mut out, part| {
            out.push_str(match part {
                Part::Text(text) => text,
                Part::Column(name) => value(name).unwrap_or_default(),
            });
            out
        })
    }
}

/// A value as it may stand in a message: one line of at most [`VALUE_CHARS`] characters, without control characters
/// and without marks that turn the direction of writing.
pub fn plain(text: &str) -> String {
    let mut out = String::new();
    for (n, c) in text.chars().filter_map(visible).enumerate() {
        if n == VALUE_CHARS {
            // The last of them gives its place to the mark.
            out.pop();
            out.push('…');
            break;
        }
        out.push(c);
    }
    out
}

fn visible(c: char) -> Option<char> {
    match c {
        '\n' | '\r' | '\t' => Some(' '),
        c if c.is_control() => None,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => None,
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_filled_in_and_nothing_else_is() {
        let t = Template::parse("{{ pod }} restarted {{restarts}} times, {not} $this }}").unwrap();
        assert_eq!(t.columns().collect::<Vec<_>>(), ["pod", "restarts"]);
        let text = t.fill(|name| (name == "pod").then_some("{{restarts}}"));
        assert_eq!(text, "{{restarts}} restarted  times, {not} $this }}");
        assert_eq!(Template::parse("{{upper(pod)}}").unwrap().columns().next(), Some("upper(pod)"));
        for bad in ["{{pod", "{{}}", "{{ }}", "{{a{{b}}", "{{{{pod}}}}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_are_one_short_line_that_cannot_drive_a_terminal() {
        assert_eq!(plain("a\nb\u{1b}[31mc\u{202e}d\u{0}"), "a b[31mcd");
        assert_eq!(plain(&"x".repeat(200)).len(), 200);
        let cut = plain(&"ß".repeat(1_000));
        assert_eq!((cut.chars().count(), cut.chars().last()), (200, Some('…')));
    }
}
