//! Column names as Neo4j gives them: the alias, or the expression as it was typed.
//!
//! marsdb calls `count(e)` `count(...)` and `1 + 1` `col0`; a client that asks for the column by the name it wrote
//! would not find it. The names are read off the last top-level `RETURN` before any rewriting.

use super::token::{Kind, Token};

/// The columns of the query, or none where they are not written down (`RETURN *`, `CALL`, `EXPLAIN`).
pub(crate) fn columns(text: &str, tokens: &[Token<'_>]) -> Option<Vec<String>> {
    if tokens.first()?.is_any(&["EXPLAIN", "PROFILE"]) {
        return None;
    }
    // The first top-level RETURN: that of a union's first part, which names the columns.
    let mut depth = 0i32;
    let mut start = None;
    let mut items: Vec<(usize, usize, Option<usize>)> = Vec::new();
    let mut item: Option<(usize, usize, Option<usize>)> = None;
    for (i, t) in tokens.iter().enumerate() {
        if t.kind == Kind::Sign {
            match t.text {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
        }
        let top = depth == 0;
        let dotted = i > 0 && tokens[i - 1].sign(".");
        if start.is_none() {
            if top && t.is("RETURN") && !dotted {
                start = Some(i);
            }
            continue;
        }
        let first = start == i.checked_sub(1);
        if first && t.is("DISTINCT") {
            start = Some(i);
            continue;
        }
        if top && !dotted && (t.is_any(&["ORDER", "SKIP", "OFFSET", "LIMIT", "UNION"]) || t.sign(";")) && !first {
            break;
        }
        if top && t.sign(",") {
            items.extend(item.take());
        } else if top && t.is("AS") && item.is_some() {
            if let Some(item) = &mut item {
                item.2 = Some(i + 1);
            }
        } else {
            let item = item.get_or_insert((t.start, t.end(), None));
            item.1 = t.end();
        }
    }
    items.extend(item.take());
    if items.is_empty() {
        return None;
    }
    items
        .into_iter()
        .map(|(start, end, alias)| match alias.and_then(|a| tokens.get(a)) {
            Some(alias) => alias.name().map(|n| n.replace("``", "`")),
            None if &text[start..end] == "*" => None,
            None => Some(text[start..end].to_owned()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::token::tokens;
    use super::*;

    #[test]
    fn columns_are_aliases_or_the_text_as_typed() {
        for (text, want) in [
            ("MATCH (e) RETURN e.id, COUNT(e)  AS c, count(*)", Some(vec!["e.id", "c", "count(*)"])),
            ("RETURN DISTINCT 1 + 1, [a, b][0] ORDER BY x LIMIT 1;", Some(vec!["1 + 1", "[a, b][0]"])),
            ("MATCH (a) RETURN a.x AS `the ``x` UNION RETURN 1", Some(vec!["the `x"])),
            ("MATCH (a) RETURN *", None),
            ("MATCH (a) WHERE EXISTS { MATCH (a) RETURN 1 } RETURN a.limit, a.order", Some(vec!["a.limit", "a.order"])),
            ("CALL db.labels()", None),
            ("RETURN `a b`.c, datetime ( )", Some(vec!["`a b`.c", "datetime ( )"])),
        ] {
            let got = columns(text, &tokens(text).unwrap());
            assert_eq!(got, want.map(|w| w.into_iter().map(str::to_owned).collect()), "{text}");
        }
    }
}
