//! Names in a query that the graph does not have.
//!
//! Read off the tokens, without a grammar: a colon in a node's parentheses begins labels, one in `-[…]` relation
//! types, one in a map is neither. A variable is what its pattern says; properties of variables that no pattern names
//! are nobody's business here. So a wrong property is a doubt, and a wrong label or relation is certain.

use std::collections::BTreeMap;

use tapio_core::ontology::{Label, OBJECT_PROPERTIES, Relation, SECOND_LABELS};
use tapio_core::ports::StoreError;

use crate::gate::token::{Kind, Token, place, tokens};

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// A label that no node has.
    Label,
    /// A type that no relation has.
    Relation,
    /// A property that nodes or relations of these words do not have, with those that they have.
    Property {
        /// Labels or relation types, as the query names them.
        of: Vec<String>,
        /// What is there.
        known: Vec<&'static str>,
    },
    /// A parameter; nobody gives a rule values.
    Parameter,
}

/// A name that is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The name.
    pub name: String,
    /// What it stands for.
    pub class: Class,
    /// Line in the query, from 1.
    pub line: usize,
    /// Column there, in characters, from 1.
    pub column: usize,
}

/// What a variable can be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shape {
    words: Vec<String>,
    known: Vec<&'static str>,
}

impl Shape {
    fn add(&mut self, word: &str, known: impl IntoIterator<Item = &'static str>) {
        self.words.push(word.to_owned());
        self.known.extend(known);
    }
}

/// A bracket that is open.
enum Open {
    /// `(`: perhaps a node.
    Node(Option<String>, Shape),
    /// `-[`: a relation.
    Link(Option<String>, Shape),
    /// `{` of a map, with what its keys are properties of.
    Map(Option<Shape>),
    /// Anything else.
    Other,
}

/// The names in a query that the graph does not have, in the order of the text.
///
/// # Errors
/// [`StoreError::Refused`] where the text cannot be cut into tokens.
pub fn unknown(text: &str) -> Result<Vec<Unknown>, StoreError> {
    let list = tokens(text)?;
    let mut reader = Reader { text, list: &list, shapes: BTreeMap::new(), found: Vec::new() };
    reader.patterns();
    reader.properties();
    reader.found.sort_by_key(|u| (u.line, u.column));
    Ok(reader.found)
}

/// Line and column of the first place of a name in a query, for messages of stores that do not tell it.
pub fn place_of(text: &str, name: &str) -> Option<(usize, usize)> {
    let list = tokens(text).ok()?;
    let t = list.iter().find(|t| t.name() == Some(name))?;
    Some(place(text, t.start))
}

struct Reader<'a> {
    text: &'a str,
    list: &'a [Token<'a>],
    shapes: BTreeMap<String, Shape>,
    found: Vec<Unknown>,
}

impl<'a> Reader<'a> {
    fn at(&self, i: usize) -> Option<&'a Token<'a>> {
        self.list.get(i)
    }

    fn sign(&self, i: usize, sign: &str) -> bool {
        self.at(i).is_some_and(|t| t.sign(sign))
    }

    fn name(&self, i: usize) -> Option<&'a str> {
        self.at(i).filter(|t| t.kind != Kind::Param).and_then(Token::name)
    }

    fn say(&mut self, i: usize, class: Class) {
        let Some(t) = self.list.get(i) else { return };
        let (line, column) = place(self.text, t.start);
        let name = t.name().unwrap_or(t.text).to_owned();
        self.found.push(Unknown { name, class, line, column });
    }

    /// Goes through brackets and colons: labels, types, keys of maps, and what the variables are.
    fn patterns(&mut self) {
        let mut open: Vec<Open> = Vec::new();
        for i in 0..self.list.len() {
            let t = &self.list[i];
            if t.kind == Kind::Param {
                self.say(i, Class::Parameter);
            }
            if t.kind != Kind::Sign {
                continue;
            }
            match t.text {
                "(" => open.push(Open::Node(self.name(i + 1).map(str::to_owned), Shape::default())),
                "[" if i > 0 && (self.sign(i - 1, "-") || self.sign(i - 1, "<-")) => {
                    open.push(Open::Link(self.name(i + 1).map(str::to_owned), Shape::default()));
                }
                "[" => open.push(Open::Other),
                "{" if self.name(i + 1).is_some() && self.sign(i + 2, ":") => {
                    let of = match open.last() {
                        Some(Open::Node(_, s) | Open::Link(_, s)) if !s.words.is_empty() => Some(s.clone()),
                        _ => None,
                    };
                    open.push(Open::Map(of));
                }
                "{" => open.push(Open::Other),
                ")" | "]" | "}" => {
                    if let Some(Open::Node(Some(v), shape) | Open::Link(Some(v), shape)) = open.pop()
                        && !shape.words.is_empty()
                    {
                        let all = self.shapes.entry(v).or_default();
                        all.words.extend(shape.words);
                        all.known.extend(shape.known);
                    }
                }
                ":" => match open.last_mut() {
                    Some(Open::Map(of)) => {
                        let of = of.clone();
                        self.key(i.saturating_sub(1), of.as_ref());
                    }
                    Some(Open::Link(_, shape)) => {
                        let mut shape = std::mem::take(shape);
                        self.types(i, &mut shape);
                        if let Some(Open::Link(_, place)) = open.last_mut() {
                            *place = shape;
                        }
                    }
                    Some(Open::Node(_, shape)) => {
                        let mut shape = std::mem::take(shape);
                        self.labels(i, &mut shape);
                        if let Some(Open::Node(_, place)) = open.last_mut() {
                            *place = shape;
                        }
                    }
                    // `WHERE n:Label`.
                    Some(Open::Other) | None => self.labels(i, &mut Shape::default()),
                },
                _ => {}
            }
        }
    }

    /// The names behind a colon, over `|`, `&`, `!` and further colons: where each stands.
    fn names_behind(&self, colon: usize) -> Vec<usize> {
        let mut names = Vec::new();
        let mut i = colon + 1;
        while let Some(t) = self.at(i) {
            match t.kind {
                Kind::Sign if matches!(t.text, "!" | "|" | "&") => i += 1,
                Kind::Word | Kind::Quoted => {
                    names.push(i);
                    // Another colon is met by the loop over all tokens.
                    if !matches!(self.at(i + 1).map(|n| n.text), Some("|" | "&")) {
                        break;
                    }
                    i += 1;
                }
                _ => break,
            }
        }
        names
    }

    fn labels(&mut self, colon: usize, shape: &mut Shape) {
        for i in self.names_behind(colon) {
            let Some(name) = self.name(i) else { continue };
            match Label::ALL.iter().find(|l| l.as_str() == name) {
                Some(label) => {
                    shape.add(name, label.properties().iter().copied());
                    if label.is_object() {
                        shape.known.extend(OBJECT_PROPERTIES);
                    }
                }
                None if name == "PVC" => {
                    shape.add(name, Label::PersistentVolumeClaim.properties().iter().copied());
                    shape.known.extend(OBJECT_PROPERTIES);
                }
                None if SECOND_LABELS.contains(&name) => {
                    shape.add(name, Label::Event.properties().iter().copied());
                }
                // `:Object:HelmRelease`: the second label of such an object is its kind.
                None if shape.words.iter().any(|w| w == Label::Object.as_str()) => {}
                None => {
                    // Its properties are anybody's guess: all are let through.
                    shape.words.clear();
                    self.say(i, Class::Label);
                }
            }
        }
    }

    fn types(&mut self, colon: usize, shape: &mut Shape) {
        for i in self.names_behind(colon) {
            let Some(name) = self.name(i) else { continue };
            match Relation::ALL.iter().find(|r| r.as_str() == name) {
                Some(r) => shape.add(name, r.properties().iter().copied()),
                None => self.say(i, Class::Relation),
            }
        }
    }

    fn key(&mut self, i: usize, of: Option<&Shape>) {
        let (Some(shape), Some(name)) = (of, self.name(i)) else { return };
        if !shape.known.contains(&name) {
            self.say(i, property(shape));
        }
    }

    /// `variable.property`, where a pattern says what the variable is.
    fn properties(&mut self) {
        for i in 0..self.list.len() {
            let (Some(variable), Some(name)) = (self.name(i), self.name(i + 2)) else { continue };
            let inner = i > 0 && self.sign(i - 1, ".");
            if inner || !self.sign(i + 1, ".") || self.sign(i + 3, "(") {
                continue;
            }
            let Some(shape) = self.shapes.get(variable).cloned() else { continue };
            if !shape.known.contains(&name) {
                self.say(i + 2, property(&shape));
            }
        }
    }
}

fn property(shape: &Shape) -> Class {
    let mut of = shape.words.clone();
    of.sort();
    of.dedup();
    let mut known = shape.known.clone();
    known.sort_unstable();
    known.dedup();
    Class::Property { of, known }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `L` label, `R` relation, `P` property, `$` parameter, with name and place.
    fn told(text: &str) -> Vec<String> {
        let letter = |c: &Class| match c {
            Class::Label => 'L',
            Class::Relation => 'R',
            Class::Property { .. } => 'P',
            Class::Parameter => '$',
        };
        let all = unknown(text).unwrap();
        all.iter().map(|u| format!("{} {} {}:{}", letter(&u.class), u.name, u.line, u.column)).collect()
    }

    #[test]
    fn names_that_the_graph_lacks_are_found_where_they_stand() {
        for (text, want) in [
            ("MATCH (p:Pd)\n  RETURN p.x", vec!["L Pd 1:10"]),
            ("MATCH (p:Pod)-[r:RUNS_AT|RUNS_ON]->(n:Node) RETURN r.as", vec!["R RUNS_AT 1:18", "P as 1:54"]),
            ("MATCH (p:Pod {namespace: 'a', nmae: 'b'})\nRETURN p.restarts", vec!["P nmae 1:31", "P restarts 2:10"]),
            ("MATCH (p:pod) RETURN p", vec!["L pod 1:10"]),
            ("MATCH (p:Pod) WHERE p.name = $pod RETURN p.name", vec!["$ pod 1:30"]),
            ("MATCH (n) WHERE n:Podd OR n:Pod|Sevice RETURN n", vec!["L Podd 1:19", "L Sevice 1:33"]),
            ("MATCH (p:Pod) WHERE EXISTS { MATCH (p)<-[:AFFECT]-(:Event) RETURN 1 } RETURN p", vec!["R AFFECT 1:43"]),
        ] {
            assert_eq!(told(text), want, "{text}");
        }
    }

    #[test]
    fn names_that_it_has_or_that_are_none_are_let_through() {
        for text in [
            "MATCH (p:Pod {name: 'x'})<-[:AFFECTS]-(e:Event:Change) RETURN p.uid, e.before AS `from`, e.ts_ms",
            "MATCH (c:PVC) MATCH (h:Object:HelmRelease) RETURN c.storage_class, h.name, {anything: 1, goes: 2}",
            "MATCH (e)<-[:TRIGGERED*]-(root:Event) WITH e, {a: root.id} AS m RETURN m.whatever, e.whatever",
            "MATCH (p:Pod|Node) RETURN p.kubelet_version, p.phase, datetime().epochMillis, p.created_at.year",
            "MATCH (p:Pod) RETURN CASE WHEN p.ready THEN 'a:B' ELSE 'c' END AS x, [y IN [1, 2] | y] AS z, p {.name}",
            "MATCH (:Service)-[s:SELECTS]->(p:Pod) RETURN count(p) AS n",
            "MATCH (p:Pod)-[m:MOUNTS {as: 'env'}]->(:ConfigMap) RETURN m.keys",
            "CALL db.labels() YIELD label RETURN label",
        ] {
            assert_eq!(told(text), Vec::<String>::new(), "{text}");
        }
    }
}
