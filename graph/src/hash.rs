//! One hash over a whole graph, equal on every store that holds the same graph.
//!
//! Stores differ in internal ids, in the order of rows and of labels; none of that enters. Each node is serialised
//! as its sorted labels, key and sorted properties, each relation as its type, the keys of its ends and its sorted
//! properties; every value carries a type tag and a length, so no two values share their bytes. The blake3 hashes of
//! these records are added up (256 bits, wrapping): the sum does not depend on order and needs no memory, and two
//! equal relations side by side count twice. It is a fingerprint for tests and comparisons, not a proof against
//! somebody who chooses the graph.

use std::collections::BTreeMap;

use tapio_core::change::NodeRef;
use tapio_core::ports::{Cell, StoredNode, StoredRelation};

/// Adds nodes and relations up.
#[derive(Clone, Debug, Default)]
pub struct GraphHash {
    sum: [u64; 4],
    nodes: u64,
    relations: u64,
}

/// What tells a node apart in a record: its label and key.
#[derive(Clone, Copy, Debug)]
pub struct NodeKey<'a> {
    /// The label under which the key is unique.
    pub label: &'a str,
    /// Value of the key property.
    pub key: &'a str,
}

impl GraphHash {
    /// Adds a node. `labels` are all of its labels in any order, `props` all properties without the key.
    pub fn node(&mut self, node: NodeKey<'_>, labels: &[String], props: &BTreeMap<String, Cell>) {
        let mut bytes = vec![b'n'];
        text(&mut bytes, node.label);
        text(&mut bytes, node.key);
        let mut labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        labels.sort_unstable();
        number(&mut bytes, labels.len());
        labels.iter().for_each(|l| text(&mut bytes, l));
        map(&mut bytes, props);
        self.add(&bytes);
        self.nodes += 1;
    }

    /// Adds a relation.
    pub fn relation(&mut self, from: NodeKey<'_>, relation: &str, to: NodeKey<'_>, props: &BTreeMap<String, Cell>) {
        let mut bytes = vec![b'r'];
        for part in [from.label, from.key, relation, to.label, to.key] {
            text(&mut bytes, part);
        }
        map(&mut bytes, props);
        self.add(&bytes);
        self.relations += 1;
    }

    /// Adds a node as a store gives it.
    pub fn stored_node(&mut self, n: &StoredNode) {
        let labels: Vec<String> = n.also.iter().cloned().chain([n.node.label.as_str().to_owned()]).collect();
        self.node(key_of(&n.node), &labels, &n.props);
    }

    /// Adds a relation as a store gives it.
    pub fn stored_relation(&mut self, r: &StoredRelation) {
        self.relation(key_of(&r.from), &r.relation, key_of(&r.to), &r.props);
    }

    /// The hash as 64 hexadecimal digits.
    pub fn finish(&self) -> String {
        let mut bytes = Vec::with_capacity(48);
        for part in self.sum.iter().chain([&self.nodes, &self.relations]) {
            bytes.extend_from_slice(&part.to_le_bytes());
        }
        blake3::hash(&bytes).to_hex().to_string()
    }

    fn add(&mut self, record: &[u8]) {
        let hash = blake3::hash(record);
        let mut carry = false;
        for (lane, chunk) in self.sum.iter_mut().zip(hash.as_bytes().chunks_exact(8)) {
            let value = chunk.iter().rev().fold(0u64, |v, b| v << 8 | u64::from(*b));
            let (sum, over) = lane.overflowing_add(value);
            let (sum, over_carry) = sum.overflowing_add(u64::from(carry));
            *lane = sum;
            carry = over || over_carry;
        }
    }
}

fn key_of(node: &NodeRef) -> NodeKey<'_> {
    NodeKey { label: node.label.as_str(), key: &node.key }
}

fn number(bytes: &mut Vec<u8>, n: usize) {
    bytes.extend_from_slice(&(n as u64).to_le_bytes());
}

fn text(bytes: &mut Vec<u8>, s: &str) {
    number(bytes, s.len());
    bytes.extend_from_slice(s.as_bytes());
}

fn map(bytes: &mut Vec<u8>, entries: &BTreeMap<String, Cell>) {
    // An absent property and a null one are the same in a graph.
    let entries: Vec<_> = entries.iter().filter(|(_, v)| **v != Cell::Null).collect();
    number(bytes, entries.len());
    for (name, value) in entries {
        text(bytes, name);
        cell(bytes, value);
    }
}

fn cell(bytes: &mut Vec<u8>, value: &Cell) {
    match value {
        Cell::Null => bytes.push(b'0'),
        Cell::Bool(b) => bytes.extend_from_slice(&[b'b', u8::from(*b)]),
        Cell::Int(i) => {
            bytes.push(b'i');
            bytes.extend_from_slice(&i.to_le_bytes());
        }
        Cell::Float(f) => {
            bytes.push(b'f');
            bytes.extend_from_slice(&f.to_bits().to_le_bytes());
        }
        Cell::Time(t) => {
            bytes.push(b't');
            bytes.extend_from_slice(&t.micros().to_le_bytes());
        }
        Cell::Text(s) => {
            bytes.push(b's');
            text(bytes, s);
        }
        Cell::List(items) => {
            bytes.push(b'l');
            number(bytes, items.len());
            items.iter().for_each(|i| cell(bytes, i));
        }
        Cell::Map(entries) => {
            bytes.push(b'm');
            map(bytes, entries);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &str) -> NodeKey<'_> {
        NodeKey { label: "Pod", key }
    }

    #[test]
    fn order_does_not_matter_and_everything_else_does() {
        let props = BTreeMap::from([("a".to_owned(), Cell::Int(1))]);
        let (mut x, mut y) = (GraphHash::default(), GraphHash::default());
        x.node(key("1"), &["Pod".into(), "K".into()], &props);
        x.relation(key("1"), "OWNS", key("2"), &BTreeMap::new());
        y.relation(key("1"), "OWNS", key("2"), &BTreeMap::from([("gone".to_owned(), Cell::Null)]));
        y.node(key("1"), &["K".into(), "Pod".into()], &props);
        assert_eq!(x.finish(), y.finish());
        y.node(key("3"), &[], &BTreeMap::new());
        assert_ne!(x.finish(), y.finish());
        let (mut x, mut y) = (GraphHash::default(), GraphHash::default());
        x.node(key("1"), &[], &BTreeMap::from([("a".to_owned(), Cell::Int(1))]));
        y.node(key("1"), &[], &BTreeMap::from([("a".to_owned(), Cell::Float(1.0))]));
        assert_ne!(x.finish(), y.finish());
    }
}
