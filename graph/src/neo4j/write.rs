//! Writing: one job, one explicit transaction, that is committed, rolled back, or ended with its connection.
//!
//! The driver never sets TCP_NODELAY and writes a message of more than 8 KiB in parts, so that each such message waits
//! some 40 ms for the server's delayed acknowledgement. A message of its own costs the server half a millisecond. So few
//! rows are sent in messages that stay below 8 KiB, and many in large ones: there the wait is small beside the work, and
//! the other connections use it.
//! A commit that got no answer may have happened; the job runs again all the same, because it is idempotent.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use neo4rs::{BoltList, BoltMap, BoltNode, BoltString, BoltType, Query, Txn};
use tapio_core::change::{NodeRef, Prop};
use tapio_core::ontology::{Label, Relation};

use super::columns::{Alike, alike};
use super::fault::Fault;
use super::fuse::{Piece, pieces};
use super::pool::{Lease, Pool};
use super::shard::Job;
use super::value::{map, stored, text, text_of};
use crate::projection::{LinkRow, NodeRow, PropMap, Step};
use crate::statements;

/// Bytes of rows in a small message, with room for the statement below the driver's buffer of 8 KiB.
const SMALL: usize = 7_400;

/// Small messages that cost about as much as the wait of a large one.
const MANY: usize = 12;

/// Bytes of rows in a large message: more than a thousand events.
const LARGE: usize = 512 << 10;

/// Bytes above which a text that has an index is shortened: Neo4j indexes about 8,000 at most.
const INDEXED: usize = 4_000;

/// How long the steps of a transaction may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Connecting, and the server's first answer.
    pub(super) connect: Duration,
    /// One transaction, without its beginning.
    pub(super) transaction: Duration,
}

/// Runs a job in a transaction of its own.
pub(super) async fn job(pool: &Pool, job: &Job, times: Times) -> Result<(), Fault> {
    let (lease, mut tx) = begin(pool, times).await?;
    let done = tokio::time::timeout(times.transaction, apply_all(&mut tx, job)).await;
    end(lease, tx, done, times).await
}

/// Removes what stands under these keys.
pub(super) async fn delete(pool: &Pool, label: Label, keys: &[String], times: Times) -> Result<(), Fault> {
    let (lease, mut tx) = begin(pool, times).await?;
    let statement = statements::delete_nodes(label);
    let work = batches(&mut tx, &statement, keys, |k| k.len() + 8, |k| map([("key", text(k))]));
    let done = tokio::time::timeout(times.transaction, work).await;
    end(lease, tx, done, times).await
}

async fn begin(pool: &Pool, times: Times) -> Result<(Lease<'_>, Txn), Fault> {
    let lease = pool.lease().await?;
    let begun = tokio::time::timeout(times.connect, lease.graph().start_txn()).await;
    let tx = begun.map_err(|_| Fault::late("connecting", times.connect))?.map_err(Fault::of)?;
    Ok((lease, tx))
}

/// Commits, rolls back or, out of time, lets the connection go with the lease: then the server rolls back.
async fn end(
    lease: Lease<'_>,
    tx: Txn,
    done: Result<Result<(), Fault>, tokio::time::error::Elapsed>,
    times: Times,
) -> Result<(), Fault> {
    let late = || Fault::late("a transaction", times.transaction);
    match done.map_err(|_| late())? {
        Ok(()) => {
            let ended = tokio::time::timeout(times.transaction, tx.commit()).await;
            ended.map_err(|_| late())?.map_err(Fault::of)?;
            lease.keep();
            Ok(())
        }
        Err(fault) => {
            // After a failure the server ignores a rollback, because it has rolled back already; the next lease begins
            // with a reset in any case.
            if tokio::time::timeout(times.connect, tx.rollback()).await.is_ok_and(|e| e.is_ok()) {
                lease.keep();
            }
            Err(fault)
        }
    }
}

async fn apply_all(tx: &mut Txn, job: &Job) -> Result<(), Fault> {
    for piece in pieces(job) {
        match piece {
            Piece::Step(Step::Nodes { label, also, rows }) => nodes(tx, *label, also, rows).await?,
            Piece::Nodes { label, also, rows } => nodes(tx, label, also, &rows).await?,
            Piece::Affecting { also, to, rows } => affecting(tx, also, to, &rows).await?,
            Piece::Step(Step::Link { from, relation, to, rows }) => links(tx, *from, *relation, *to, rows).await?,
            Piece::Links { from, relation, to, rows } => links(tx, from, relation, to, &rows).await?,
            Piece::Step(Step::Unlink { from, relation, to, rows }) => {
                let row = |(a, b): &(String, String)| map([("from", key(a)), ("to", key(b))]);
                let size = |(a, b): &(String, String)| a.len() + b.len() + 24;
                batches(tx, &statements::unlink(*from, *relation, *to), rows, size, row).await?;
            }
            Piece::Step(Step::Rekey { from, to }) => rekey(tx, from, to).await?,
        }
    }
    Ok(())
}

async fn nodes(tx: &mut Txn, label: Label, also: &[String], rows: &[impl Borrow<NodeRow>]) -> Result<(), Fault> {
    let rows: Vec<&NodeRow> = rows.iter().map(Borrow::borrow).collect();
    let (found, rest) = alike(&rows, |r| r);
    for Alike { names, rows } in found {
        let row = |r: &&NodeRow| list(std::iter::once(key(&r.key)).chain(values(label, &r.props)).collect());
        let size = |r: &&NodeRow| r.key.len() + size_of_values(&r.props) + 8;
        batches(tx, &statements::merge_alike(label, also, &names), &rows, size, row).await?;
    }
    let row = |r: &&NodeRow| map([("key", key(&r.key)), ("props", BoltType::Map(props(Some(label), &r.props)))]);
    let size = |r: &&NodeRow| r.key.len() + size_of_props(&r.props) + 24;
    batches(tx, &statements::merge_nodes(label, also), &rest, size, row).await
}

async fn affecting(tx: &mut Txn, also: &[String], to: Label, rows: &[(&NodeRow, &str)]) -> Result<(), Fault> {
    let (found, rest) = alike(rows, |(r, _)| r);
    for Alike { names, rows } in found {
        let row = |(r, object): &(&NodeRow, &str)| {
            list([key(&r.key), key(object)].into_iter().chain(values(Label::Event, &r.props)).collect())
        };
        let size = |(r, object): &(&NodeRow, &str)| r.key.len() + object.len() + size_of_values(&r.props) + 12;
        let statement = statements::merge_alike_linked(Label::Event, also, &names, Relation::Affects, to);
        batches(tx, &statement, &rows, size, row).await?;
    }
    let row = |(r, object): &(&NodeRow, &str)| {
        let props = BoltType::Map(props(Some(Label::Event), &r.props));
        map([("key", key(&r.key)), ("to", key(object)), ("props", props)])
    };
    let size = |(r, object): &(&NodeRow, &str)| r.key.len() + object.len() + size_of_props(&r.props) + 32;
    batches(tx, &statements::merge_linked(Label::Event, also, Relation::Affects, to), &rest, size, row).await
}

async fn links(
    tx: &mut Txn,
    from: Label,
    relation: Relation,
    to: Label,
    rows: &[impl Borrow<LinkRow>],
) -> Result<(), Fault> {
    if rows.iter().all(|r| r.borrow().props.is_empty()) {
        let row = |r: &LinkRow| map([("from", key(&r.from)), ("to", key(&r.to))]);
        let size = |r: &LinkRow| r.from.len() + r.to.len() + 24;
        let statement = statements::link_bare(from, relation, to);
        return batches(tx, &statement, rows, |r| size(r.borrow()), |r| row(r.borrow())).await;
    }
    let row = |r: &LinkRow| {
        let props = BoltType::Map(props(None, &r.props));
        map([("from", key(&r.from)), ("to", key(&r.to)), ("props", props)])
    };
    let size = |r: &LinkRow| r.from.len() + r.to.len() + size_of_props(&r.props) + 32;
    batches(tx, &statements::link(from, relation, to), rows, |r| size(r.borrow()), |r| row(r.borrow())).await
}

/// Runs a statement for rows, as many at a time as fit into one message.
async fn batches<R>(
    tx: &mut Txn,
    statement: &str,
    rows: &[R],
    size: impl Fn(&R) -> usize,
    row: impl Fn(&R) -> BoltType,
) -> Result<(), Fault> {
    let all: usize = rows.iter().map(&size).sum();
    let most = if all > MANY * SMALL { LARGE } else { SMALL };
    let mut rest = rows;
    while !rest.is_empty() {
        let mut bytes = statement.len();
        let fit = rest.iter().take_while(|r| {
            bytes += size(r);
            bytes <= most
        });
        let (now, later) = rest.split_at(fit.count().max(1));
        let now = BoltList::from(now.iter().map(&row).collect::<Vec<_>>());
        run(tx, statement, [("rows", BoltType::List(now))]).await?;
        rest = later;
    }
    Ok(())
}

async fn run<const N: usize>(tx: &mut Txn, statement: &str, params: [(&str, BoltType); N]) -> Result<(), Fault> {
    tx.run(query(statement, params)).await.map_err(Fault::of)
}

pub(super) fn query<const N: usize>(statement: &str, params: [(&str, BoltType); N]) -> Query {
    params.into_iter().fold(Query::new(statement.to_owned()), |q, (name, value)| q.param(name, value))
}

fn size_of_props(props: &PropMap) -> usize {
    props.keys().map(|name| name.len() + 1).sum::<usize>() + size_of_values(props)
}

fn size_of_values(props: &PropMap) -> usize {
    let of = |p: &Prop| match p {
        Prop::Null | Prop::Bool(_) => 1,
        Prop::Int(_) | Prop::Float(_) => 9,
        Prop::Time(_) => 24,
        Prop::Text(s) => s.len() + 3,
        Prop::List(items) => items.iter().map(|i| i.len() + 3).sum::<usize>() + 3,
    };
    props.values().map(of).sum()
}

fn props(label: Option<Label>, props: &PropMap) -> BoltMap {
    let mut out = BoltMap::with_capacity(props.len());
    for (name, prop) in props {
        out.put(BoltString::from(*name), value(label, name, prop));
    }
    out
}

/// The values alone, in the order of their names.
fn values(label: Label, props: &PropMap) -> impl Iterator<Item = BoltType> {
    props.iter().map(move |(name, prop)| value(Some(label), name, prop))
}

fn value(label: Option<Label>, name: &str, prop: &Prop) -> BoltType {
    match (label, prop) {
        (Some(l), Prop::Text(s)) if s.len() > INDEXED && statements::is_indexed(l.as_str(), name) => indexable(s),
        (_, prop) => stored(prop),
    }
}

fn key(key: &str) -> BoltType {
    if key.len() > INDEXED { indexable(key) } else { text(key) }
}

/// A text that is too long for an index: its beginning and its hash, so that different ones stay different.
fn indexable(long: &str) -> BoltType {
    let start: String = long.chars().take(200).collect();
    text(&format!("{start}…{}", blake3::hash(long.as_bytes()).to_hex()))
}

/// The node under a derived key becomes the real one. Where both exist, the real one keeps its properties, takes
/// those it lacks, takes over labels and relations, and the derived one goes.
async fn rekey(tx: &mut Txn, from: &NodeRef, to: &str) -> Result<(), Fault> {
    let label = from.label;
    let Some(derived) = node(tx, label, &from.key).await? else { return Ok(()) };
    let Some(real) = node(tx, label, to).await? else {
        let params = [("key", key(&from.key)), ("to", key(to))];
        return run(tx, &statements::rename(label), params).await;
    };
    let also: Vec<String> = super::value::labels(&derived).into_iter().filter(|l| l != label.as_str()).collect();
    let missing = without(derived.properties, &real.properties, label.key_property());
    let row = map([("key", key(to)), ("props", BoltType::Map(missing))]);
    run(tx, &statements::merge_nodes(label, &also), [("rows", list(vec![row]))]).await?;
    let has: HashMap<Place, BoltMap> = relations(tx, label, to).await?.into_iter().collect();
    for (mut place, props) in relations(tx, label, &from.key).await? {
        if place.other == *from {
            to.clone_into(&mut place.other.key);
        }
        let none = BoltMap::default();
        let missing = BoltType::Map(without(props, has.get(&place).unwrap_or(&none), ""));
        let (this, other) = (key(to), key(&place.other.key));
        let (statement, start, end) = if place.outgoing {
            (statements::link(label, place.relation, place.other.label), this, other)
        } else {
            (statements::link(place.other.label, place.relation, label), other, this)
        };
        let row = map([("from", start), ("to", end), ("props", missing)]);
        run(tx, &statement, [("rows", list(vec![row]))]).await?;
    }
    let gone = list(vec![map([("key", key(&from.key))])]);
    run(tx, &statements::delete_nodes(label), [("rows", gone)]).await
}

#[derive(PartialEq, Eq, Hash)]
struct Place {
    outgoing: bool,
    relation: Relation,
    other: NodeRef,
}

async fn node(tx: &mut Txn, label: Label, at: &str) -> Result<Option<BoltNode>, Fault> {
    let mut found = tx.execute(query(&statements::node(label), [("key", key(at))])).await.map_err(Fault::of)?;
    let mut node = None;
    while let Some(row) = found.next(tx.handle()).await.map_err(Fault::of)? {
        if let Ok(BoltType::Node(n)) = row.get::<BoltType>("n") {
            node = Some(n);
        }
    }
    Ok(node)
}

/// The relations of a node to nodes of the ontology.
async fn relations(tx: &mut Txn, label: Label, at: &str) -> Result<Vec<(Place, BoltMap)>, Fault> {
    let asked = query(&statements::relations_of(label), [("key", key(at))]);
    let mut found = tx.execute(asked).await.map_err(Fault::of)?;
    let mut out = Vec::new();
    while let Some(row) = found.next(tx.handle()).await.map_err(Fault::of)? {
        let get = |name: &str| row.get::<BoltType>(name).ok();
        let (Some(BoltType::Boolean(outgoing)), Some(relation)) = (get("outgoing"), get("relation")) else { continue };
        let (Some(BoltType::Map(props)), Some(BoltType::Node(other))) = (get("props"), get("other")) else { continue };
        let relation = Relation::ALL.iter().copied().find(|r| text_of(&relation) == Some(r.as_str()));
        if let (Some(relation), Some(other)) = (relation, node_ref(&other)) {
            out.push((Place { outgoing: outgoing.value, relation, other }, props));
        }
    }
    Ok(out)
}

/// Which node of the ontology this is: exactly one of its labels is a word of it.
pub(super) fn node_ref(node: &BoltNode) -> Option<NodeRef> {
    let labels: HashSet<&str> = node.labels.iter().filter_map(text_of).collect();
    let label = Label::ALL.iter().copied().find(|l| labels.contains(l.as_str()))?;
    let key = node.properties.value.get(label.key_property()).and_then(text_of)?;
    Some(NodeRef { label, key: key.to_owned() })
}

fn without(mut props: BoltMap, present: &BoltMap, key: &str) -> BoltMap {
    props.value.retain(|name, _| name.value != key && !present.value.contains_key(name));
    props
}

fn list(items: Vec<BoltType>) -> BoltType {
    BoltType::List(BoltList::from(items))
}
