//! What users' Cypher may not do: write, administer, load files, hold more than one statement.
//!
//! A bare word that can begin a write is refused wherever it is not plainly a name: after a dot (`n.set`), as the key
//! of a map (`{create: 1}`), as a label or relation type (`:Set`). So a variable called `set` is refused too, with
//! the advice to put it in backticks; the price of knowing for certain without a grammar.

use tapio_core::ports::StoreError;

use super::token::{Kind, Token, refused};

/// Words that write wherever they stand as keywords.
const WRITES: &[&str] =
    &["CREATE", "MERGE", "SET", "DELETE", "DETACH", "NODETACH", "REMOVE", "INSERT", "FOREACH", "DROP"];

/// Words that administer where a statement can begin; elsewhere they are ordinary names.
const ADMIN: &[&str] = &[
    "ALTER",
    "BEGIN",
    "COMMIT",
    "DEALLOCATE",
    "DENY",
    "DRYRUN",
    "ENABLE",
    "GRANT",
    "LOAD",
    "REALLOCATE",
    "RENAME",
    "REVOKE",
    "ROLLBACK",
    "SHOW",
    "START",
    "STOP",
    "TERMINATE",
    "USE",
    "USING",
];

/// Procedures that only read the schema.
pub(crate) const PROCEDURES: &[&str] = &["db.labels", "db.relationshipTypes", "db.propertyKeys", "db.indexes"];

/// Nesting above this is refused: parsers recurse.
const MAX_DEPTH: usize = 64;

/// Signs and `NOT`s in a row above this are refused, for the same reason.
const MAX_PREFIXES: usize = 64;

/// Tokens above this are refused: a chain of operators becomes a tree as deep as it is long.
pub const MAX_TOKENS: usize = 4_000;

/// Checks the tokens of one query.
///
/// # Errors
/// [`StoreError::Refused`], naming the word and its place.
pub(crate) fn check(text: &str, tokens: &[Token<'_>]) -> Result<(), StoreError> {
    if tokens.is_empty() {
        return Err(StoreError::Refused("the query is empty, write e.g. MATCH (p:Pod) RETURN p.name".to_owned()));
    }
    if let Some(t) = tokens.get(MAX_TOKENS) {
        let what = format!("the query has more than {MAX_TOKENS} words and signs, pass long lists as parameters");
        return Err(refused(text, t.start, &what));
    }
    let (mut depth, mut prefixes) = (0usize, 0usize);
    for (i, t) in tokens.iter().enumerate() {
        let prev = i.checked_sub(1).and_then(|p| tokens.get(p));
        let next = tokens.get(i + 1);
        prefixes = if t.sign("-") || t.sign("+") || t.is("NOT") { prefixes + 1 } else { 0 };
        if prefixes > MAX_PREFIXES {
            return Err(refused(text, t.start, "more than 64 signs or NOTs in a row, leave out every second"));
        }
        match t.kind {
            Kind::Sign => match t.text {
                ";" if next.is_some_and(|n| !n.sign(";")) => {
                    return Err(refused(text, t.start, "more than one statement, send them one by one"));
                }
                "(" | "[" | "{" => {
                    depth += 1;
                    if depth > MAX_DEPTH {
                        return Err(refused(
                            text,
                            t.start,
                            "brackets nest more than 64 deep, split the query with WITH",
                        ));
                    }
                }
                ")" | "]" | "}" => {
                    depth = depth
                        .checked_sub(1)
                        .ok_or_else(|| refused(text, t.start, "this bracket closes nothing, remove it"))?;
                }
                _ => {}
            },
            Kind::Word if is_name(tokens, i) => {}
            Kind::Word => {
                let word = t.text.to_ascii_uppercase();
                if WRITES.contains(&word.as_str()) {
                    return Err(refused(
                        text,
                        t.start,
                        &format!("{word} writes, and queries only read; a name that is called so goes in backticks"),
                    ));
                }
                let begins = prev
                    .is_none_or(|p| p.sign("{") || p.sign(";") || p.is_any(&["EXPLAIN", "PROFILE", "UNION", "ALL"]));
                let load = word == "LOAD" && next.is_some_and(|n| n.is("CSV"));
                let commit = word == "TRANSACTIONS" && prev.is_some_and(|p| p.is_any(&["IN", "CONCURRENT"]));
                if load || commit || (begins && ADMIN.contains(&word.as_str())) {
                    return Err(refused(
                        text,
                        t.start,
                        &format!("{word} is an administrative clause, and queries only read; use MATCH … RETURN"),
                    ));
                }
                if word == "CALL" {
                    check_call(text, tokens, i)?;
                }
            }
            _ => {}
        }
    }
    if depth > 0 {
        return Err(refused(text, text.len(), "a bracket is still open at the end, close it"));
    }
    Ok(())
}

/// Whether the bare word at `i` stands where only a name can.
fn is_name(tokens: &[Token<'_>], i: usize) -> bool {
    let Some(p) = i.checked_sub(1) else { return false };
    let (prev, next) = (&tokens[p], tokens.get(i + 1));
    let before = p.checked_sub(1).and_then(|b| tokens.get(b));
    // A property. Not after a number: `1.CREATE` could be read as `1.` and a clause.
    let property = prev.sign(".") && before.is_some_and(|b| b.kind != Kind::Number);
    let map_key = (prev.sign("{") || prev.sign(",")) && next.is_some_and(|n| n.sign(":"));
    // A label or type: `(n:Set`, `[:SET|DROP]`. No clause can follow a colon, a bar or an ampersand directly, but
    // `FOREACH (x IN xs | SET …)` and `[x IN xs | …]` have a bar; there a word is a name only if a label came before.
    let label = prev.sign(":") || prev.sign("&") || (prev.sign("|") && bar_of_labels(tokens, p));
    property || map_key || label
}

/// Whether the bar at `bar` separates labels or types: walking back over names, bars and ampersands meets a colon.
fn bar_of_labels(tokens: &[Token<'_>], bar: usize) -> bool {
    for t in tokens[..bar].iter().rev() {
        match t.kind {
            Kind::Word | Kind::Quoted => {}
            Kind::Sign if t.text == ":" => return true,
            Kind::Sign if matches!(t.text, "|" | "&" | "!") => {}
            _ => return false,
        }
    }
    false
}

/// `CALL { … }` is a subquery, checked like everything else; a procedure must be on the list.
fn check_call(text: &str, tokens: &[Token<'_>], call: usize) -> Result<(), StoreError> {
    if tokens.get(call + 1).is_some_and(|t| t.sign("{") || t.sign("(")) {
        return Ok(());
    }
    let name: String = tokens[call + 1..]
        .iter()
        .take_while(|t| t.sign(".") || t.kind == Kind::Word || t.kind == Kind::Quoted)
        .take_while(|t| !t.is_any(&["YIELD", "RETURN"]))
        .filter_map(|t| if t.sign(".") { Some(".") } else { t.name() })
        .collect();
    if PROCEDURES.contains(&name.as_str()) {
        return Ok(());
    }
    let known = PROCEDURES.join(", ");
    Err(refused(text, tokens[call].start, &format!("procedure `{name}` is not allowed, only {known} are")))
}
