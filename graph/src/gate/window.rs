//! Time windows by index: `e.timestamp > <instant>` on an event also says `e.ts_ms >= <its milliseconds>`.
//!
//! marsdb has no range index on date-times, but one on integers, and every event carries its time in both forms
//! (see [`crate::projection`]). So where a variable is known by its label to be an event and is compared with a
//! constant instant in a conjunct that must hold, the integer bound is put in front of it. It follows from the
//! conjunct it stands beside, so no row is lost or won.
//!
//! A window alone still leaves the planner to walk all events of a type, so the first `MATCH` of a query is also
//! preceded by `MATCH (e:Event) WHERE e.ts_ms >= …`: it binds each event of the window once, and the typed pattern
//! then starts from there. This is left out where another node of the pattern is found by an indexed equality
//! (`(p:Pod {name: …})`): from one pod to its events is shorter than from a window's events to their pods.

use super::clock::Clock;
use super::token::{Edits, Kind, Token, closing};
use crate::statements::is_indexed;

const CLAUSES: &[&str] = &["MATCH", "OPTIONAL", "WITH", "RETURN", "UNWIND", "CALL", "UNION", "WHERE", "USING"];

/// A node of a pattern.
struct Node<'a> {
    var: &'a str,
    labels: Vec<&'a str>,
    keys: Vec<&'a str>,
}

/// Adds the bounds.
pub(crate) fn narrow(tokens: &[Token<'_>], clock: &Clock<'_>, edits: &mut Edits) {
    let tops = tops(tokens);
    for (n, &start) in tops.iter().enumerate() {
        if !tokens[start].is("MATCH") {
            continue;
        }
        let Some(&filter) = tops.get(n + 1).filter(|&&w| tokens[w].is("WHERE")) else { continue };
        let end = tops.get(n + 2).copied().unwrap_or(tokens.len());
        let pattern = &tokens[start + 1..filter];
        let nodes = nodes(pattern);
        let Some(conjuncts) = conjuncts(&tokens[filter + 1..end]) else { continue };
        let mut windows: Vec<(&str, String)> = Vec::new();
        let mut lower = false;
        for conjunct in &conjuncts {
            let Some((var, bound, is_lower)) = bound(conjunct, clock) else { continue };
            if !nodes.iter().any(|n| n.var == var && n.labels.contains(&"Event")) {
                continue;
            }
            edits.replace(conjunct[0].start, conjunct[0].start, format!("{var}.{bound} AND "));
            if windows.iter().all(|(v, _)| *v == var) {
                windows.push((var, bound));
                lower |= is_lower;
            }
        }
        let Some(&(var, _)) = windows.first() else { continue };
        let before = start.checked_sub(1).map(|p| &tokens[p]);
        let first = before.is_none_or(|t| t.is_any(&["UNION", "ALL", "EXPLAIN"]));
        if first && lower && is_plain(pattern) && !found_by_index(&nodes, &conjuncts, var) {
            let all: Vec<String> = windows.iter().map(|(v, bound)| format!("{v}.{bound}")).collect();
            let head = format!("MATCH ({var}:Event) WHERE {} ", all.join(" AND "));
            edits.replace(tokens[start].start, tokens[start].start, head);
        }
    }
}

/// Indexes of the clause keywords outside all brackets.
fn tops(tokens: &[Token<'_>]) -> Vec<usize> {
    let mut depth = 0i32;
    let mut found = Vec::new();
    for (i, t) in tokens.iter().enumerate() {
        depth += i32::from(t.sign("(") || t.sign("[") || t.sign("{"));
        depth -= i32::from(t.sign(")") || t.sign("]") || t.sign("}"));
        let prev = i.checked_sub(1).map(|p| &tokens[p]);
        // `STARTS WITH` and `ENDS WITH` are no clauses.
        let name = prev.is_some_and(|p| p.sign(".") || p.sign(":") || p.is_any(&["AS", "STARTS", "ENDS"]));
        if depth == 0 && t.is_any(CLAUSES) && !name {
            // `OPTIONAL MATCH … WHERE` keeps its MATCH as a clause of its own; it is never the first.
            found.push(i);
        }
    }
    found
}

/// The nodes of a pattern that have a variable.
fn nodes<'a>(pattern: &[Token<'a>]) -> Vec<Node<'a>> {
    let mut found = Vec::new();
    for (i, t) in pattern.iter().enumerate() {
        if !t.sign("(") {
            continue;
        }
        let Some(var) = pattern.get(i + 1).filter(|v| v.kind == Kind::Word || v.kind == Kind::Quoted) else { continue };
        let (mut labels, mut keys) = (Vec::new(), Vec::new());
        let mut at = i + 2;
        while pattern.get(at).is_some_and(|t| t.sign(":") || t.sign("&")) {
            labels.extend(pattern.get(at + 1).and_then(Token::name));
            at += 2;
        }
        // `:A|Event` and `:!Event` say nothing certain.
        if pattern.get(at).is_some_and(|t| t.sign("|")) || labels.len() * 2 != at - i - 2 {
            labels.clear();
        }
        if pattern.get(at).is_some_and(|t| t.sign("{")) {
            let shut = closing(pattern, at).unwrap_or(at);
            let inside = &pattern[at + 1..shut.max(at + 1)];
            keys = inside
                .iter()
                .enumerate()
                .filter(|(n, _)| inside.get(n + 1).is_some_and(|c| c.sign(":")))
                .filter_map(|(_, t)| t.name())
                .collect();
        }
        found.push(Node { var: var.text, labels, keys });
    }
    found
}

/// The parts of a condition that must all hold; none if it has an `OR` at the top.
fn conjuncts<'a, 'b>(tokens: &'b [Token<'a>]) -> Option<Vec<&'b [Token<'a>]>> {
    let (mut depth, mut start) = (0i32, 0);
    let mut parts = Vec::new();
    for (i, t) in tokens.iter().enumerate() {
        let dotted = i > 0 && tokens[i - 1].sign(".");
        depth += i32::from(t.sign("(") || t.sign("[") || t.sign("{") || (t.is("CASE") && !dotted));
        depth -= i32::from(t.sign(")") || t.sign("]") || t.sign("}") || (t.is("END") && !dotted));
        if depth == 0 && !dotted {
            if t.is_any(&["OR", "XOR"]) {
                return None;
            }
            if t.is("AND") || t.sign(";") {
                parts.push(&tokens[start..i]);
                start = i + 1;
            }
        }
    }
    parts.push(&tokens[start..]);
    parts.retain(|p| !p.is_empty());
    (depth == 0).then_some(parts)
}

/// `e.timestamp > <instant>` or its mirror: the variable, the bound on the integer, whether it is a lower one.
fn bound<'a>(conjunct: &[Token<'a>], clock: &Clock<'_>) -> Option<(&'a str, String, bool)> {
    let field = |at: usize| -> Option<&'a str> {
        let [var, dot, prop, ..] = conjunct.get(at..)? else { return None };
        let named = matches!(var.kind, Kind::Word | Kind::Quoted) && dot.sign(".") && prop.name() == Some("timestamp");
        named.then_some(var.text)
    };
    let compare = |at: usize| conjunct.get(at).filter(|t| [">", ">=", "<", "<="].contains(&t.text)).map(|t| t.text);
    let (var, time, sign) = if let Some(var) = field(0) {
        let (end, time, _) = clock.instant(conjunct, 4)?;
        (var, (end == conjunct.len()).then_some(time)?, compare(3)?)
    } else {
        let (end, time, _) = clock.instant(conjunct, 0)?;
        let sign = match compare(end)? {
            ">" => "<",
            ">=" => "<=",
            "<" => ">",
            _ => ">=",
        };
        (field(end + 1).filter(|_| conjunct.len() == end + 4)?, time, sign)
    };
    // Milliseconds are rounded down on both sides, so the integer bound includes its end.
    let lower = sign.starts_with('>');
    Some((var, format!("ts_ms {} {}", if lower { ">=" } else { "<=" }, time.millis()), lower))
}

/// Patterns without a path variable or a function around them.
fn is_plain(pattern: &[Token<'_>]) -> bool {
    let mut depth = 0i32;
    pattern.iter().all(|t| {
        let top = depth == 0;
        depth += i32::from(t.sign("(") || t.sign("[") || t.sign("{"));
        depth -= i32::from(t.sign(")") || t.sign("]") || t.sign("}"));
        !top || t.kind == Kind::Sign && t.text != "="
    })
}

/// Whether another node than `var` is found by an indexed equality, or `var` itself by its key.
fn found_by_index(nodes: &[Node<'_>], conjuncts: &[&[Token<'_>]], var: &str) -> bool {
    let strong = |node: &Node<'_>, prop: &str| {
        if node.var == var { prop == "id" } else { node.labels.iter().any(|l| is_indexed(l, prop)) }
    };
    nodes.iter().any(|n| n.keys.iter().any(|k| strong(n, k)))
        || conjuncts.iter().any(|c| match c {
            [v, dot, prop, eq, ..] if dot.sign(".") && (eq.sign("=") || eq.is("IN")) => {
                nodes.iter().any(|n| n.var == v.text && prop.name().is_some_and(|p| strong(n, p)))
            }
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use super::super::token::tokens;
    use super::*;
    use std::collections::BTreeMap;
    use tapio_core::time::Time;

    fn narrowed(text: &str) -> String {
        let params = BTreeMap::new();
        let clock = Clock { at: Time::MIN, params: &params, inline_params: true };
        let mut edits = Edits::default();
        narrow(&tokens(text).unwrap(), &clock, &mut edits);
        edits.apply(text)
    }

    #[test]
    fn windows_on_events_are_narrowed_by_the_integer() {
        const T: &str = "datetime('2024-01-15T10:30:00.000900Z')";
        const B: &str = "1705314600000";
        for (text, want) in [
            (
                format!("MATCH (p:Pod {{name: $n}})<-[:AFFECTS]-(e:Event) WHERE e.timestamp > {T} RETURN e"),
                format!(
                    "MATCH (p:Pod {{name: $n}})<-[:AFFECTS]-(e:Event) WHERE e.ts_ms >= {B} AND e.timestamp > {T} RETURN e"
                ),
            ),
            (
                format!("MATCH (p:Pod)<-[:AFFECTS]-(e:Event {{type: 'x'}}) WHERE {T} <= e.timestamp RETURN e"),
                format!(
                    "MATCH (e:Event) WHERE e.ts_ms >= {B} MATCH (p:Pod)<-[:AFFECTS]-(e:Event {{type: 'x'}}) \
                     WHERE e.ts_ms >= {B} AND {T} <= e.timestamp RETURN e"
                ),
            ),
            (
                format!("MATCH (e:Event) WHERE e.x = 1 AND e.timestamp < {T} RETURN e"),
                format!("MATCH (e:Event) WHERE e.x = 1 AND e.ts_ms <= {B} AND e.timestamp < {T} RETURN e"),
            ),
        ] {
            assert_eq!(narrowed(&text), want);
        }
    }

    #[test]
    fn what_is_not_certain_stays_as_it_is() {
        const T: &str = "datetime('2024-01-15T10:30:00Z')";
        for text in [
            format!("MATCH (e) WHERE e.timestamp > {T} RETURN e"),
            format!("MATCH (e:Event|Pod) WHERE e.timestamp > {T} RETURN e"),
            format!("MATCH (e:Event) WHERE e.timestamp > {T} OR e.x = 1 RETURN e"),
            format!("MATCH (e:Event) WHERE NOT e.timestamp > {T} RETURN e"),
            format!("MATCH (e:Event) WHERE e.timestamp > {T} - duration({{months: 1}}) RETURN e"),
            format!("MATCH (e:Event) WHERE e.timestamp > {T} = true RETURN e"),
            format!("MATCH (e:Event) WITH e WHERE e.timestamp > {T} RETURN e"),
            format!("MATCH (e:Event) WHERE CASE WHEN true AND e.timestamp > {T} THEN true END RETURN e"),
        ] {
            assert_eq!(narrowed(&text), text);
        }
    }
}
