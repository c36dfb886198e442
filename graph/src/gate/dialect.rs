//! Differences between Neo4j 5 and marsdb 0.10 that text can close, each found by trying it on the real store.
//!
//! | typed | marsdb | becomes |
//! | --- | --- | --- |
//! | `[:X*]`, `[:X*2..]` | error on a path over 30 hops | `*1..30`, `*2..30` |
//! | `EXISTS { MATCH … }` | syntax error without `RETURN` | `… RETURN 1 }` |
//! | `exists((a)-->(b))` | syntax error | `EXISTS { (a)-->(b) }` |
//! | `datetime({epochMillis: x})` | unknown field | `1970-01-01 + duration({seconds: …, milliseconds: …})` |
//! | `CASE WHEN n.ready THEN …` | a property alone never holds | `CASE WHEN n.ready = true THEN …` |
//! | `randomUUID()` | unknown function | a UUID made from the query's instant and place: one a query, not one a row |
//! | `elementId(n)` | unknown function | `toString(id(n))` |
//! | `range(a, b)` | built whole in memory, no limit applies | refused where it may be long |
//! | no `LIMIT` | every row in memory | a `LIMIT` of the row bound and one, by which a cut is seen |
//!
//! `=~`, `CALL { }`, `COUNT { }`, map projections and label expressions have no equal there; marsdb's own syntax
//! error says where.

use tapio_core::ports::{Cell, StoreError};

use super::clock::{Clock, function};
use super::token::{Edits, Kind, Token, closing, refused};

/// Hops that an unbounded variable-length relation is followed for; marsdb's own cap.
pub const MAX_HOPS: u32 = 30;

/// Elements that all `range()`s of a query may have together, multiplied.
pub const MAX_RANGE: u64 = 1_000_000;

/// Looks at the ranges.
///
/// # Errors
/// [`StoreError::Refused`] for ranges that may fill the memory.
pub(crate) fn check_ranges(text: &str, tokens: &[Token<'_>], clock: &Clock<'_>) -> Result<(), StoreError> {
    let mut elements = 1u64;
    for i in (0..tokens.len()).filter(|&i| function(tokens, i, "range")) {
        elements = elements.saturating_mul(range(text, tokens, i, clock)?);
        if elements > MAX_RANGE {
            let what = format!("the ranges of a query may have {MAX_RANGE} elements together, shorten them");
            return Err(refused(text, tokens[i].start, &what));
        }
    }
    Ok(())
}

/// Collects the replacements.
pub(crate) fn close(text: &str, tokens: &[Token<'_>], clock: &Clock<'_>, edits: &mut Edits) {
    for i in 0..tokens.len() {
        let t = &tokens[i];
        if t.sign("[") && i > 0 && (tokens[i - 1].sign("-") || tokens[i - 1].sign("<-")) {
            hops(tokens, i, edits);
        } else if t.is("EXISTS") && tokens.get(i + 1).is_some_and(|n| n.sign("{") || n.sign("(")) {
            exists(tokens, i, edits);
        } else if t.is("WHEN") {
            when(tokens, i, edits);
        } else if function(tokens, i, "datetime") {
            epoch_millis(text, tokens, i, clock, edits);
        } else if function(tokens, i, "randomUUID") && tokens.get(i + 2).is_some_and(|n| n.sign(")")) {
            let seed = blake3::hash(format!("{} {i} {text}", clock.at).as_bytes()).to_hex();
            let (a, b, c, d, e) = (&seed[..8], &seed[8..12], &seed[13..16], &seed[17..20], &seed[20..32]);
            edits.replace(t.start, tokens[i + 2].end(), format!("'{a}-{b}-4{c}-8{d}-{e}'"));
        } else if function(tokens, i, "elementId")
            && let Some(close) = closing(tokens, i + 1)
        {
            edits.replace(t.start, t.end(), "toString(id");
            edits.replace(tokens[close].end(), tokens[close].end(), ")");
        }
    }
}

/// `*` and `*2..` in the relation that begins at the bracket `open`.
fn hops(tokens: &[Token<'_>], open: usize, edits: &mut Edits) {
    let Some(shut) = closing(tokens, open) else { return };
    for star in open + 1..shut {
        let t = &tokens[star];
        if t.sign("{") {
            return;
        }
        if !t.sign("*") {
            continue;
        }
        let number = |i: usize| tokens.get(i).filter(|t| t.kind == Kind::Number);
        let (low, dots) = match number(star + 1) {
            Some(n) => (n.text.parse().unwrap_or(1), star + 2),
            None => (1u32, star + 1),
        };
        let dotted = tokens.get(dots).is_some_and(|t| t.sign(".."));
        let unbounded = if dotted { number(dots + 1).is_none() } else { dots == star + 1 };
        if unbounded {
            let end = if dotted { tokens[dots].end() } else { t.end() };
            edits.replace(t.start, end, format!("*{low}..{}", MAX_HOPS.max(low)));
        }
        return;
    }
}

fn exists(tokens: &[Token<'_>], i: usize, edits: &mut Edits) {
    let Some(shut) = closing(tokens, i + 1) else { return };
    let inside = &tokens[i + 2..shut];
    if tokens[i + 1].sign("(") {
        // `exists((a)-->(b))`: a pattern begins with its own parenthesis; `exists(n.x)` is gone from Neo4j 5.
        if inside.first().is_some_and(|t| t.sign("(")) {
            edits.replace(tokens[i].start, tokens[i + 1].end(), "EXISTS {");
            edits.replace(tokens[shut].start, tokens[shut].end(), "}");
        }
    } else if inside.first().is_some_and(|t| t.is_any(&["MATCH", "OPTIONAL"])) {
        let mut depth = 0i32;
        let returns = inside.iter().enumerate().any(|(n, t)| {
            depth += i32::from(t.sign("(") || t.sign("[") || t.sign("{"));
            depth -= i32::from(t.sign(")") || t.sign("]") || t.sign("}"));
            depth == 0 && t.is("RETURN") && !(n > 0 && inside[n - 1].sign("."))
        });
        if !returns {
            edits.replace(tokens[shut].start, tokens[shut].start, " RETURN 1 ");
        }
    }
}

/// A name or a property alone between `WHEN` and `THEN` of a `CASE` that compares nothing.
fn when(tokens: &[Token<'_>], i: usize, edits: &mut Edits) {
    let mut inner = 0;
    let case = (0..i).rev().find(|&j| {
        let word = |w: &str| tokens[j].is(w) && !(j > 0 && tokens[j - 1].sign("."));
        inner += i32::from(word("END"));
        inner -= i32::from(word("CASE"));
        inner < 0
    });
    let searched = case.is_some_and(|j| tokens[j + 1].is("WHEN"));
    let Some(then) = (i + 1..tokens.len()).find(|&j| tokens[j].is("THEN")) else { return };
    let alone = tokens[i + 1..then].iter().enumerate().all(|(n, t)| match n % 2 {
        0 => matches!(t.kind, Kind::Word | Kind::Quoted),
        _ => t.sign("."),
    });
    if searched && alone && (then - i).is_multiple_of(2) {
        edits.replace(tokens[then].start, tokens[then].start, "= true ");
    }
}

fn epoch_millis(text: &str, tokens: &[Token<'_>], i: usize, clock: &Clock<'_>, edits: &mut Edits) {
    if clock.instant(tokens, i).is_some() {
        return; // Written out as a literal already.
    }
    let Some([open, key, colon, first, ..]) = tokens.get(i + 2..) else { return };
    if !(open.sign("{") && key.is_any(&["epochMillis", "epochSeconds"]) && colon.sign(":")) {
        return;
    }
    let (Some(shut), Some(end)) = (closing(tokens, i + 2), closing(tokens, i + 1)) else { return };
    if end != shut + 1 || tokens[i + 5..shut].iter().any(|t| t.sign(",") || t.sign("{")) {
        return;
    }
    let value = &text[first.start..tokens[shut - 1].end()];
    // marsdb keeps a millisecond field as a float, which loses microseconds on today's dates; seconds are whole.
    let parts = if key.is("epochMillis") {
        format!("seconds: ({value}) / 1000, milliseconds: ({value}) % 1000")
    } else {
        format!("seconds: ({value})")
    };
    let with = format!("(datetime('1970-01-01T00:00:00Z') + duration({{{parts}}}))");
    edits.replace(tokens[i].start, tokens[end].end(), with);
}

/// How many elements the range at `i` has; 1 where its bounds are sizes of something that is there already.
fn range(text: &str, tokens: &[Token<'_>], i: usize, clock: &Clock<'_>) -> Result<u64, StoreError> {
    let vague = || refused(text, tokens[i].start, "range() needs numbers, parameters or size() as its bounds");
    let shut = closing(tokens, i + 1).ok_or_else(vague)?;
    let mut bounds = Vec::new();
    let mut at = i + 2;
    while at < shut {
        let (mut sign, mut sum, mut sized) = (1i128, 0i128, false);
        while at < shut && !tokens[at].sign(",") {
            let t = &tokens[at];
            match t.kind {
                Kind::Sign if t.text == "-" => sign = -1,
                Kind::Sign if t.text == "+" => sign = 1,
                Kind::Number => sum += sign * i128::from(t.text.parse::<i64>().map_err(|_| vague())?),
                Kind::Param => match t.name().and_then(|n| clock.params.get(n)) {
                    Some(Cell::Int(n)) => sum += sign * i128::from(*n),
                    _ => return Err(vague()),
                },
                Kind::Word if function(tokens, at, "size") || function(tokens, at, "length") => {
                    at = closing(tokens, at + 1).ok_or_else(vague)?;
                    sized = true;
                }
                _ => return Err(vague()),
            }
            at += 1;
        }
        at += 1;
        bounds.push((sum, sized));
    }
    let (Some(low), Some(high)) = (bounds.first(), bounds.get(1)) else { return Err(vague()) };
    let step = bounds.get(2).map_or(1, |b| b.0.abs()).max(1);
    let slack = if low.1 || high.1 { 1 } else { 0 };
    Ok(u64::try_from((high.0 - low.0).abs() / step + 1 - slack).unwrap_or(u64::MAX).max(1))
}

/// Bounds the rows by a `LIMIT`, which marsdb applies while it reads; `rows` is one more than may be shown.
pub(crate) fn cut(tokens: &[Token<'_>], clock: &Clock<'_>, rows: usize, edits: &mut Edits) {
    if tokens[0].is_any(&["EXPLAIN", "PROFILE", "CALL"]) {
        return;
    }
    let mut depth = 0i32;
    let (mut returns, mut limit) = (false, None);
    for (i, t) in tokens.iter().enumerate() {
        depth += i32::from(t.sign("(") || t.sign("[") || t.sign("{"));
        depth -= i32::from(t.sign(")") || t.sign("]") || t.sign("}"));
        if depth != 0 || (i > 0 && (tokens[i - 1].sign(".") || tokens[i - 1].is("AS"))) {
            continue;
        }
        if t.is("UNION") {
            return; // A LIMIT would bind to the last part only.
        }
        if t.is("RETURN") {
            returns = true;
        } else if returns && t.is("LIMIT") {
            limit = tokens.get(i + 1).map(|n| (n, i + 2));
        }
    }
    let end = tokens.iter().rev().find(|t| !t.sign(";")).map_or(0, Token::end);
    match limit {
        None if returns => edits.replace(end, end, format!("\nLIMIT {rows}")),
        Some((n, after)) if tokens.get(after).is_none_or(|t| t.sign(";")) => {
            let asked = match n.kind {
                Kind::Number => n.text.parse::<i64>().ok(),
                Kind::Param => match n.name().and_then(|n| clock.params.get(n)) {
                    Some(Cell::Int(i)) => Some(*i),
                    _ => None,
                },
                _ => None,
            };
            if asked.is_some_and(|n| usize::try_from(n).is_ok_and(|n| n > rows)) {
                edits.replace(n.start, n.end(), rows.to_string());
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::token::tokens;
    use super::*;
    use std::collections::BTreeMap;
    use tapio_core::time::Time;

    fn closed(text: &str) -> Result<String, StoreError> {
        let params = BTreeMap::new();
        let clock = Clock { at: Time::MIN, params: &params, inline_params: true };
        let mut edits = Edits::default();
        check_ranges(text, &tokens(text).unwrap(), &clock)?;
        close(text, &tokens(text).unwrap(), &clock, &mut edits);
        Ok(edits.apply(text))
    }

    #[test]
    fn closes_each_difference_and_nothing_else() {
        for (text, want) in [
            ("(a)<-[:TRIGGERED*]-(b)", "(a)<-[:TRIGGERED*1..30]-(b)"),
            ("(a)-[r:X|Y*2..]->(b)", "(a)-[r:X|Y*2..30]->(b)"),
            ("(a)-[*0..3]->(b), (a)-[*..4]-(c), (a)-[*3]-(d)", "(a)-[*0..3]->(b), (a)-[*..4]-(c), (a)-[*3]-(d)"),
            ("(a)-[*..]-(c {x: 2 * 3})", "(a)-[*1..30]-(c {x: 2 * 3})"),
            ("[a * b]", "[a * b]"),
            (
                "EXISTS { MATCH (a)-->(b {x: 1}) WHERE b.x > 1 }",
                "EXISTS { MATCH (a)-->(b {x: 1}) WHERE b.x > 1  RETURN 1 }",
            ),
            ("EXISTS { MATCH (a) RETURN a }", "EXISTS { MATCH (a) RETURN a }"),
            ("exists((a)-->(b)) AND x", "EXISTS {(a)-->(b)} AND x"),
            ("elementId(a)", "toString(id(a))"),
            (
                "CASE WHEN p.ready THEN 1 WHEN r THEN 2 END + CASE p.end WHEN q.x THEN 3 END",
                "CASE WHEN p.ready = true THEN 1 WHEN r = true THEN 2 END + CASE p.end WHEN q.x THEN 3 END",
            ),
            (
                "CASE WHEN CASE x WHEN y THEN z END = 1 THEN 4 WHEN NOT b THEN 5 WHEN f(x) THEN 6 END",
                "CASE WHEN CASE x WHEN y THEN z END = 1 THEN 4 WHEN NOT b THEN 5 WHEN f(x) THEN 6 END",
            ),
        ] {
            assert_eq!(closed(text).unwrap(), want, "{text}");
        }
        assert!(closed("datetime({epochMillis: e.ts_ms})").unwrap().contains("(e.ts_ms) / 1000"));
        assert!(closed("randomUUID()").unwrap().len() == 38);
    }

    #[test]
    fn refuses_ranges_that_may_fill_the_memory() {
        for text in
            ["range(1, 100000000)", "range(0, n.x)", "range(1, 10000) + range(1, 10000)", "range(1)", "range(0, 2^40)"]
        {
            assert!(matches!(closed(text), Err(StoreError::Refused(_))), "{text}");
        }
        for text in ["range(1, 10)", "range(0, size(xs) - 1)", "range(10, -10, -2)", "n.range"] {
            assert_eq!(closed(text).unwrap(), text);
        }
    }
}
