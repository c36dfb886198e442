//! The catalog: every Cypher text that Tapio itself runs against a graph, as data.
//!
//! Both stores take their texts from here, so they cannot drift apart; the documentation lists it; the conformance
//! suite runs it. Texts are built from words of the ontology and from second labels made safe by
//! [`crate::projection::second_label`], never from input; values travel as parameters.
//!
//! Relations are merged starting at the end that has fewer of them ([`thin_end`]): marsdb looks for an existing
//! relation by walking those of the node it starts at, and a Node or an Incident may have thousands.

use tapio_core::ontology::{Label, Relation};

/// A statement of the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Unique name: `write.nodes.Pod`.
    pub name: String,
    /// Cypher, with `$rows` and other parameters.
    pub cypher: String,
    /// What Tapio runs it for.
    pub purpose: &'static str,
}

/// An index of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    /// Label of the nodes.
    pub label: Label,
    /// Property.
    pub property: &'static str,
    /// Whether a value stands at most once.
    pub unique: bool,
}

/// Indexes beside the keys: names that people ask for, and what retention and the queries filter on.
///
/// marsdb looks through all index definitions on every write of a node; some forty of them cost nothing measurable.
const LOOKUPS: &[(Label, &str)] = &[
    (Label::Pod, "name"),
    (Label::Service, "name"),
    (Label::ConfigMap, "name"),
    (Label::Deployment, "name"),
    (Label::Event, "type"),
    (Label::Event, "ts_ms"),
    (Label::Incident, "state"),
];

/// The whole schema: the key of every label, unique, then the lookups.
pub fn schema() -> Vec<Index> {
    let keys = Label::ALL.iter().map(|&label| Index { label, property: label.key_property(), unique: true });
    keys.chain(LOOKUPS.iter().map(|&(label, property)| Index { label, property, unique: false })).collect()
}

/// Whether an equality on this property finds its nodes by index.
pub fn is_indexed(label: &str, property: &str) -> bool {
    let key = Label::ALL.iter().find(|l| l.as_str() == label).map(|l| l.key_property());
    key == Some(property) || LOOKUPS.iter().any(|(l, p)| l.as_str() == label && *p == property)
}

/// DDL of an index in marsdb's words. Creating one twice is an error there; the store asks `db.indexes()` first.
pub fn marsdb_index(index: Index) -> String {
    let unique = if index.unique { " UNIQUE" } else { "" };
    format!("CREATE INDEX ON :{}({}){unique}", index.label, index.property)
}

/// An index in words: `index on Pod.name`, `constraint that Pod.uid is unique`.
pub fn index_in_words(index: Index) -> String {
    let what = if index.unique { "constraint that" } else { "index on" };
    format!("{what} {}.{}{}", index.label, index.property, if index.unique { " is unique" } else { "" })
}

/// Name of an index, or of the constraint that it belongs to, in Neo4j.
pub fn neo4j_name(index: Index) -> String {
    format!("tapio_{}_{}", index.label, index.property)
}

/// DDL of an index in Neo4j 5's words; harmless when it is there.
pub fn neo4j_index(index: Index) -> String {
    let (name, l, p) = (neo4j_name(index), index.label, index.property);
    if index.unique {
        format!("CREATE CONSTRAINT {name} IF NOT EXISTS FOR (n:{l}) REQUIRE n.{p} IS UNIQUE")
    } else {
        format!("CREATE INDEX {name} IF NOT EXISTS FOR (n:{l}) ON (n.{p})")
    }
}

/// Which of `$rows` (`{key}`) exist: column `key`.
pub fn existing(label: Label) -> String {
    let k = label.key_property();
    format!("UNWIND $rows AS r MATCH (n:{label} {{{k}: r.key}}) RETURN n.{k} AS key")
}

/// Writes nodes, new or not: `$rows` of `{key, props}`.
pub fn merge_nodes(label: Label, also: &[String]) -> String {
    let k = label.key_property();
    let set: String = also.iter().map(|a| format!(" SET n:`{a}`")).collect();
    format!("UNWIND $rows AS r MERGE (n:{label} {{{k}: r.key}}) SET n += r.props{set}")
}

/// Writes nodes, new or not, that have the same properties: `$rows` of `[key, value…]`, null where a property goes.
///
/// A Neo4j sets properties that stand in the statement faster than those of a map, and gets fewer bytes.
pub fn merge_alike(label: Label, also: &[String], names: &[&str]) -> String {
    merge_columns(label, also, names, 1)
}

/// Writes nodes, new or not, each with a relation to another node, new or not: `$rows` of `{key, props, to}`.
///
/// Neo4j takes an event with the object that it affects in three quarters of the time that two statements need.
pub fn merge_linked(label: Label, also: &[String], relation: Relation, to: Label) -> String {
    let tk = to.key_property();
    format!("{} WITH n, r MERGE (b:{to} {{{tk}: r.to}}) MERGE (n)-[:{relation}]->(b)", merge_nodes(label, also))
}

/// The same for nodes that have the same properties: `$rows` of `[key, to, value…]`.
pub fn merge_alike_linked(label: Label, also: &[String], names: &[&str], relation: Relation, to: Label) -> String {
    let (nodes, tk) = (merge_columns(label, also, names, 2), to.key_property());
    format!("{nodes} WITH n, r MERGE (b:{to} {{{tk}: r[1]}}) MERGE (n)-[:{relation}]->(b)")
}

fn merge_columns(label: Label, also: &[String], names: &[&str], first: usize) -> String {
    let k = label.key_property();
    let props: Vec<String> = names.iter().zip(first..).map(|(p, at)| format!("n.`{p}` = r[{at}]")).collect();
    let labels = also.iter().map(|a| format!("n:`{a}`"));
    let set: Vec<String> = props.into_iter().chain(labels).collect();
    let set = if set.is_empty() { String::new() } else { format!(" SET {}", set.join(", ")) };
    format!("UNWIND $rows AS r MERGE (n:{label} {{{k}: r[0]}}){set}")
}

/// Writes nodes that are known to be new: `$rows` of `{key, <name>…}`, absent names stay unset.
///
/// marsdb writes a node's record once this way, and once a property with `SET n += …`: 1.6 times the events a second.
pub fn create_nodes(label: Label, also: &[String], names: &[&str]) -> String {
    let k = label.key_property();
    let also: String = also.iter().map(|a| format!(":`{a}`")).collect();
    let props: String = names.iter().map(|p| format!(", `{p}`: r.`{p}`")).collect();
    format!("UNWIND $rows AS r CREATE (n:{label}{also} {{{k}: r.key{props}}})")
}

/// Writes relations between nodes that exist: `$rows` of `{from, to, props}`.
pub fn link(from: Label, relation: Relation, to: Label) -> String {
    let (fk, tk) = (from.key_property(), to.key_property());
    let merge = match thin_end(relation) {
        End::Start => format!("MERGE (a)-[x:{relation}]->(b)"),
        End::End => format!("MERGE (b)<-[x:{relation}]-(a)"),
    };
    format!(
        "UNWIND $rows AS r MATCH (a:{from} {{{fk}: r.from}}) MATCH (b:{to} {{{tk}: r.to}}) {merge} SET x += r.props"
    )
}

/// The same where none has properties: `$rows` of `{from, to}`.
pub fn link_bare(from: Label, relation: Relation, to: Label) -> String {
    let whole = link(from, relation, to);
    whole.strip_suffix(" SET x += r.props").unwrap_or(&whole).to_owned()
}

/// Removes relations: `$rows` of `{from, to}`.
pub fn unlink(from: Label, relation: Relation, to: Label) -> String {
    let (fk, tk) = (from.key_property(), to.key_property());
    let path = match thin_end(relation) {
        End::Start => format!("MATCH (a)-[x:{relation}]->(b)"),
        End::End => format!("MATCH (b)<-[x:{relation}]-(a)"),
    };
    format!(
        "UNWIND $rows AS r MATCH (a:{from} {{{fk}: r.from}}) MATCH (b:{to} {{{tk}: r.to}}) WITH a, b {path} DELETE x"
    )
}

/// An end of a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where it starts.
    Start,
    /// Where it ends.
    End,
}

/// The end that has fewer relations of this type.
pub const fn thin_end(relation: Relation) -> End {
    match relation {
        Relation::Selects
        | Relation::Owns
        | Relation::AppliesTo
        | Relation::Triggered
        | Relation::BeganWith
        | Relation::HasSymptom
        | Relation::Generated
        | Relation::Executed
        | Relation::Scales => End::End,
        _ => End::Start,
    }
}

/// One node: `$key`; column `n`.
pub fn node(label: Label) -> String {
    format!("MATCH (n:{label} {{{}: $key}}) RETURN n", label.key_property())
}

/// The relations of one node: `$key`; columns `outgoing, relation, props, other`.
pub fn relations_of(label: Label) -> String {
    let k = label.key_property();
    format!(
        "MATCH (n:{label} {{{k}: $key}})-[r]-(m) \
         RETURN startNode(r) = n AS outgoing, type(r) AS relation, properties(r) AS props, m AS other"
    )
}

/// Gives a node another key: `$key`, `$to`.
pub fn rename(label: Label) -> String {
    let k = label.key_property();
    format!("MATCH (n:{label} {{{k}: $key}}) SET n.{k} = $to")
}

/// Removes nodes with their relations: `$rows` of `{key}`.
pub fn delete_nodes(label: Label) -> String {
    let k = label.key_property();
    format!("UNWIND $rows AS r MATCH (n:{label} {{{k}: r.key}}) DETACH DELETE n")
}

/// At most `chunk` events before `$before` (milliseconds), by index: column `key`.
pub fn old_events(chunk: usize) -> String {
    format!("MATCH (n:Event) WHERE n.ts_ms < $before RETURN n.id AS key LIMIT {chunk}")
}

/// At most `chunk` objects deleted before the date-time `before`: column `key`.
///
/// A scan of the label: objects are thousands where events are millions, and marsdb has no range index on date-times.
pub fn old_tombstones(label: Label, before: &str, chunk: usize) -> String {
    let k = label.key_property();
    format!(
        "MATCH (n:{label}) WHERE n.deleted_at IS NOT NULL AND n.deleted_at < datetime('{before}') \
         RETURN n.{k} AS key LIMIT {chunk}"
    )
}

/// At most `chunk` incidents resolved before the date-time `before`, by index: column `key`.
pub fn old_incidents(before: &str, chunk: usize) -> String {
    format!(
        "MATCH (n:Incident {{state: 'resolved'}}) \
         WHERE coalesce(n.resolved_at, n.updated_at, n.opened_at) < datetime('{before}') \
         RETURN n.id AS key LIMIT {chunk}"
    )
}

/// Nodes of a label in the order of their keys, after `$after`: column `n`.
pub fn page_of_nodes(label: Label, size: usize) -> String {
    let k = label.key_property();
    format!("MATCH (n:{label}) WHERE n.{k} > $after RETURN n LIMIT {size}")
}

/// The same for Neo4j, which promises no order but the one that is asked for; it reads that from the index.
pub fn neo4j_page_of_nodes(label: Label, size: usize) -> String {
    let k = label.key_property();
    format!("MATCH (n:{label}) WHERE n.{k} > $after RETURN n ORDER BY n.{k} LIMIT {size}")
}

/// Relations that start at nodes with a key above `$after` up to `$last`: columns `key, relation, props, other`.
pub fn page_of_relations(label: Label) -> String {
    let k = label.key_property();
    format!(
        "MATCH (n:{label}) WHERE n.{k} > $after AND n.{k} <= $last WITH n MATCH (n)-[r]->(m) \
         RETURN n.{k} AS key, type(r) AS relation, properties(r) AS props, m AS other"
    )
}

/// The queries of the pipeline design; they must answer unchanged on every store.
pub const DESIGN_QUERIES: [(&str, &str, &str); 3] = [
    (
        "ask.root_cause",
        "MATCH (p:Pod {name: $podName})<-[:AFFECTS]-(e:Event)\n\
         WHERE e.timestamp > datetime() - duration({hours: 1})\n\
         OPTIONAL MATCH (e)<-[:TRIGGERED*]-(root:Event)\n\
         RETURN e, root\n\
         ORDER BY e.timestamp DESC",
        "why did this pod fail",
    ),
    (
        "ask.impact",
        "MATCH (cm:ConfigMap {name: $configName})<-[:MOUNTS]-(p:Pod)\n\
         MATCH (p)<-[:SELECTS]-(s:Service)\n\
         RETURN cm, p, s",
        "what will this config change affect",
    ),
    (
        "ask.death_spirals",
        "MATCH (p:Pod)<-[:AFFECTS]-(e:Event {type: 'pod_restart'})\n\
         WHERE e.timestamp > datetime() - duration({minutes: 5})\n\
         WITH p, COUNT(e) as restart_count\n\
         WHERE restart_count > 3\n\
         RETURN p.name, restart_count",
        "find death spirals",
    ),
];

/// The whole catalog, with one example where a text depends on what a batch holds.
pub fn catalog() -> Vec<Statement> {
    let mut all = Vec::new();
    let mut add = |name: String, cypher: String, purpose| all.push(Statement { name, cypher, purpose });
    for index in schema() {
        let name = format!("schema.{}.{}", index.label, index.property);
        add(name, neo4j_index(index), "find nodes by this property (Neo4j's words; the embedded store has its own)");
    }
    for &label in Label::ALL {
        add(format!("write.nodes.{label}"), merge_nodes(label, &[]), "write nodes of a batch");
        let alike = merge_alike(label, &[], &["name"]);
        add(format!("write.alike.{label}"), alike, "write many nodes with the same properties, on Neo4j");
        add(format!("write.existing.{label}"), existing(label), "tell new nodes of a batch from known ones");
        add(format!("write.create.{label}"), create_nodes(label, &[], &["name"]), "write nodes known to be new");
        add(format!("write.rename.{label}"), rename(label), "give a node its real key");
        add(format!("write.delete.{label}"), delete_nodes(label), "retention, and a derived node once merged");
        add(format!("read.node.{label}"), node(label), "merge a derived node into the real one");
        add(format!("read.relations.{label}"), relations_of(label), "move relations to the real node");
        add(format!("read.page.{label}"), page_of_nodes(label, 1000), "graph hash");
        add(format!("read.neo4j_page.{label}"), neo4j_page_of_nodes(label, 1000), "graph hash on Neo4j");
        add(format!("read.page_relations.{label}"), page_of_relations(label), "graph hash");
    }
    let affecting = merge_linked(Label::Event, &[], Relation::Affects, Label::Pod);
    add("write.affecting".to_owned(), affecting, "write events of a batch with what they affect, on Neo4j");
    let affecting = merge_alike_linked(Label::Event, &[], &["type"], Relation::Affects, Label::Pod);
    add("write.alike_affecting".to_owned(), affecting, "the same for many events with the same properties");
    for &relation in Relation::ALL {
        add(format!("write.link.{relation}"), link(Label::Event, relation, Label::Pod), "write relations of a batch");
        let bare = link_bare(Label::Event, relation, Label::Pod);
        add(format!("write.link_bare.{relation}"), bare, "write relations without properties, on Neo4j");
        add(format!("write.unlink.{relation}"), unlink(Label::Event, relation, Label::Pod), "remove relations");
    }
    add("retain.events".into(), old_events(1000), "retention of events");
    add("retain.objects".into(), old_tombstones(Label::Pod, "2024-01-15T10:30:00Z", 1000), "retention of tombstones");
    add("retain.incidents".into(), old_incidents("2024-01-15T10:30:00Z", 1000), "retention of incidents");
    for (name, cypher, purpose) in DESIGN_QUERIES {
        add(name.to_owned(), cypher.to_owned(), purpose);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_every_word_of_the_ontology_has_its_statement() {
        let all = catalog();
        let names: BTreeSet<&str> = all.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names.len(), all.len());
        for label in Label::ALL {
            assert!(names.contains(format!("write.nodes.{label}").as_str()));
        }
        for relation in Relation::ALL {
            assert!(names.contains(format!("write.link.{relation}").as_str()));
        }
    }

    #[test]
    fn keys_and_lookups_are_indexed() {
        assert!(is_indexed("Event", "id") && is_indexed("Pod", "name") && is_indexed("Event", "ts_ms"));
        assert!(!is_indexed("Pod", "phase") && !is_indexed("Nope", "uid"));
    }
}
