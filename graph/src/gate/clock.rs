//! The clock of a query: every zero-argument time function becomes the query's own instant, as a literal.
//!
//! On a recording of last year `datetime()` must mean the end of that recording, or `… - duration({hours: 1})` finds
//! nothing. Where a span of fixed length is added to or taken off such an instant, the result is folded into one
//! literal, which the store then need not work out for every row.

use std::collections::BTreeMap;

use tapio_core::ports::Cell;
use tapio_core::time::{SECOND, Time};

use super::token::{Edits, Kind, Token};

/// What instants are worked out from.
#[derive(Clone, Copy)]
pub(crate) struct Clock<'a> {
    pub(crate) at: Time,
    pub(crate) params: &'a BTreeMap<String, Cell>,
    /// Whether `$t` with a time is written out too (marsdb compares no property with a date-time parameter).
    pub(crate) inline_params: bool,
}

/// Spans that always last the same; months and years do not.
const UNITS: &[(&str, i64)] = &[
    ("weeks", 7 * 86_400 * SECOND),
    ("days", 86_400 * SECOND),
    ("hours", 3_600 * SECOND),
    ("minutes", 60 * SECOND),
    ("seconds", SECOND),
    ("milliseconds", 1_000),
    ("microseconds", 1),
];

impl Clock<'_> {
    /// Writes the instants into the text.
    pub(crate) fn pin(&self, tokens: &[Token<'_>], edits: &mut Edits) {
        let mut i = 0;
        while i < tokens.len() {
            let start = tokens[i].start;
            if let Some((next, time, true)) = self.instant(tokens, i) {
                edits.replace(start, tokens[next - 1].end(), literal(time));
                i = next;
            } else if let Some((next, text)) = self.other(tokens, i) {
                edits.replace(start, tokens[next - 1].end(), text);
                i = next;
            } else {
                i += 1;
            }
        }
    }

    /// Reads an instant at token `i`: the index after it, the instant, and whether it is to be written out.
    pub(crate) fn instant(&self, tokens: &[Token<'_>], i: usize) -> Option<(usize, Time, bool)> {
        let (mut next, mut time, mut changed) = self.base(tokens, i)?;
        while let Some(sign) = tokens.get(next).filter(|t| t.sign("+") || t.sign("-")) {
            let Some((after, micros)) = self.span(tokens, next + 1) else { break };
            let binds_tighter = |t: &Token<'_>| ["*", "/", "%", "^", "."].iter().any(|s| t.sign(s));
            if tokens.get(after).is_some_and(binds_tighter) {
                break;
            }
            time = time.plus(if sign.text == "-" { micros.checked_neg()? } else { micros });
            (next, changed) = (after, true);
        }
        Some((next, time, changed))
    }

    fn base(&self, tokens: &[Token<'_>], i: usize) -> Option<(usize, Time, bool)> {
        let t = tokens.get(i)?;
        if t.kind == Kind::Param {
            let Some(Cell::Time(time)) = self.params.get(t.name()?) else { return None };
            return Some((i + 1, *time, self.inline_params));
        }
        if let Some(next) = now_call(tokens, i, "datetime") {
            return Some((next, self.at, true));
        }
        if !function(tokens, i, "datetime") {
            return None;
        }
        match tokens.get(i + 2..)? {
            [text, close, ..] if text.kind == Kind::Text && close.sign(")") => {
                let text = text.text.get(1..text.text.len() - 1)?;
                let time = Time::parse(text).ok()?;
                // Only what microseconds hold exactly: a nanosecond cut off could move a row over the bound.
                let exact =
                    text.split_once('.').is_none_or(|(_, f)| f.bytes().take_while(u8::is_ascii_digit).count() <= 6);
                exact.then_some((i + 4, time, false))
            }
            [open, key, colon, value, shut, close, ..]
                if open.sign("{") && key.is("epochMillis") && colon.sign(":") && shut.sign("}") && close.sign(")") =>
            {
                let time = Time::from_micros(self.whole(value)?.checked_mul(1_000)?);
                (Time::MIN..=Time::MAX).contains(&time).then_some((i + 8, time, true))
            }
            _ => None,
        }
    }

    /// A `duration({hours: 1, …})` or `duration('PT1H')` of fixed length, in microseconds.
    fn span(&self, tokens: &[Token<'_>], i: usize) -> Option<(usize, i64)> {
        if !function(tokens, i, "duration") {
            return None;
        }
        let body = tokens.get(i + 2)?;
        if body.kind == Kind::Text {
            let micros = iso_span(body.text.get(1..body.text.len() - 1)?)?;
            return tokens.get(i + 3)?.sign(")").then_some((i + 4, micros));
        }
        if !body.sign("{") {
            return None;
        }
        let (mut at, mut sum) = (i + 3, 0i64);
        loop {
            let [key, colon, value, end, ..] = tokens.get(at..)? else { return None };
            let unit = UNITS.iter().find(|(name, _)| key.kind == Kind::Word && key.text == *name)?.1;
            if !colon.sign(":") {
                return None;
            }
            sum = sum.checked_add(self.whole(value)?.checked_mul(unit)?)?;
            at += 4;
            if end.sign("}") {
                return tokens.get(at)?.sign(")").then_some((at + 1, sum));
            }
            if !end.sign(",") {
                return None;
            }
        }
    }

    fn whole(&self, t: &Token<'_>) -> Option<i64> {
        match t.kind {
            Kind::Number => t.text.parse().ok(),
            Kind::Param => match self.params.get(t.name()?)? {
                Cell::Int(i) => Some(*i),
                _ => None,
            },
            _ => None,
        }
    }

    /// `timestamp()`, `date()` and the like.
    fn other(&self, tokens: &[Token<'_>], i: usize) -> Option<(usize, String)> {
        if function(tokens, i, "timestamp") && tokens.get(i + 2)?.sign(")") {
            return Some((i + 3, self.at.millis().to_string()));
        }
        let day = self.at.to_chrono();
        for (name, form) in [
            ("date", "date('%Y-%m-%d')"),
            ("time", "time('%H:%M:%S%.6fZ')"),
            ("localtime", "localtime('%H:%M:%S%.6f')"),
            ("localdatetime", "localdatetime('%Y-%m-%dT%H:%M:%S%.6f')"),
        ] {
            if let Some(next) = now_call(tokens, i, name) {
                return Some((next, day.format(form).to_string()));
            }
        }
        None
    }
}

/// An instant as both stores read it.
pub(crate) fn literal(time: Time) -> String {
    format!("datetime('{time}')")
}

/// Whether a call of the plain function `name` begins at `i`.
pub(crate) fn function(tokens: &[Token<'_>], i: usize, name: &str) -> bool {
    let dotted = i.checked_sub(1).is_some_and(|p| tokens[p].sign("."));
    !dotted && tokens[i].is(name) && tokens.get(i + 1).is_some_and(|t| t.sign("("))
}

/// `name()` or `name.transaction()`, `.statement()`, `.realtime()`: the index after it.
fn now_call(tokens: &[Token<'_>], i: usize, name: &str) -> Option<usize> {
    if function(tokens, i, name) {
        return tokens.get(i + 2)?.sign(")").then_some(i + 3);
    }
    let dotted = i.checked_sub(1).is_some_and(|p| tokens[p].sign("."));
    let [own, dot, which, open, close, ..] = tokens.get(i..)? else { return None };
    let known = which.is_any(&["transaction", "statement", "realtime"]);
    (!dotted && own.is(name) && dot.sign(".") && known && open.sign("(") && close.sign(")")).then_some(i + 5)
}

/// `P1DT2H3M4S` with whole numbers, in microseconds.
fn iso_span(text: &str) -> Option<i64> {
    let rest = text.strip_prefix('P')?;
    let (days, clock) = rest.split_once('T').unwrap_or((rest, ""));
    let mut sum = 0i64;
    for (part, units) in
        [(days, &[('W', 7 * 86_400), ('D', 86_400)][..]), (clock, &[('H', 3_600), ('M', 60), ('S', 1)][..])]
    {
        let mut digits = String::new();
        for c in part.chars() {
            if c.is_ascii_digit() {
                digits.push(c);
                continue;
            }
            let unit = units.iter().find(|(u, _)| *u == c)?.1;
            sum = sum.checked_add(digits.parse::<i64>().ok()?.checked_mul(unit * SECOND)?)?;
            digits.clear();
        }
        if !digits.is_empty() {
            return None;
        }
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::super::token::tokens;
    use super::*;

    #[test]
    fn the_clock_is_pinned_and_fixed_spans_are_folded() {
        let params = BTreeMap::from([
            ("h".to_owned(), Cell::Int(2)),
            ("t".to_owned(), Cell::Time(Time::parse("2024-01-01T00:00:00Z").unwrap())),
        ]);
        let clock = Clock { at: Time::parse("2024-01-15T10:30:00.5Z").unwrap(), params: &params, inline_params: true };
        for (text, want) in [
            ("datetime() - duration({hours: 1})", "datetime('2024-01-15T09:30:00.500Z')"),
            ("DateTime ( )-duration({hours:$h, minutes: 30})+x", "datetime('2024-01-15T08:00:00.500Z')+x"),
            ("datetime() - duration('P1DT30M')", "datetime('2024-01-14T10:00:00.500Z')"),
            (
                "datetime() + duration({hours: 1}) * 2",
                "datetime('2024-01-15T10:30:00.500Z') + duration({hours: 1}) * 2",
            ),
            ("datetime() - duration({months: 1})", "datetime('2024-01-15T10:30:00.500Z') - duration({months: 1})"),
            ("timestamp() , date(), localtime()", "1705314600500 , date('2024-01-15'), localtime('10:30:00.500000')"),
            ("datetime.realtime()", "datetime('2024-01-15T10:30:00.500Z')"),
            ("e.timestamp > $t", "e.timestamp > datetime('2024-01-01T00:00:00Z')"),
            ("datetime({epochMillis: 1705314600000})", "datetime('2024-01-15T10:30:00Z')"),
            (
                "'datetime()' /* datetime() */ n.datetime, `datetime`()",
                "'datetime()' /* datetime() */ n.datetime, `datetime`()",
            ),
            ("datetime('2024-01-15T10:30:00Z')", "datetime('2024-01-15T10:30:00Z')"),
            ("datetime(e.x)", "datetime(e.x)"),
        ] {
            let mut edits = Edits::default();
            clock.pin(&tokens(text).unwrap(), &mut edits);
            assert_eq!(edits.apply(text), want, "{text}");
        }
    }
}
