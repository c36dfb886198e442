//! All of a graph, page by page.

use std::collections::VecDeque;

use tapio_core::ontology::Label;
use tapio_core::ports::{GraphStore, StoredNode, StoredRelation};

use super::{LeftOut, TransferError, keep_node, keep_relation};
use crate::hash::GraphHash;

/// Nodes of one page.
const PAGE: usize = 500;

/// A part of a graph; never empty.
#[derive(Debug)]
pub enum Piece {
    /// Nodes of one label, in the order of their keys.
    Nodes(Vec<StoredNode>),
    /// Relations that start at nodes of one label.
    Relations(Vec<StoredRelation>),
}

/// What was walked through.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Nodes.
    pub nodes: u64,
    /// Relations.
    pub relations: u64,
    /// What is not Tapio's, with how often.
    pub left_out: LeftOut,
    hash: GraphHash,
}

impl Tally {
    /// The hash of what was walked through, as [`GraphStore::graph_hash`] gives it.
    pub fn hash(&self) -> String {
        self.hash.finish()
    }
}

/// Walks through all nodes, label by label, and then through all relations.
///
/// Where somebody writes meanwhile, it is of no single moment: a node that comes after its page was read is missing,
/// and its relations may be there.
pub struct Walker<'a> {
    store: &'a dyn GraphStore,
    /// Labels whose nodes are still to come, and the key behind which the first of them goes on.
    labels: std::slice::Iter<'static, Label>,
    at: Option<(Label, String)>,
    /// The ends of the pages of nodes, so that relations come by the same ones.
    pages: VecDeque<(Label, String, String)>,
    tally: Tally,
}

impl<'a> Walker<'a> {
    /// At the beginning.
    pub fn new(store: &'a dyn GraphStore) -> Self {
        let mut labels = Label::ALL.iter();
        let at = labels.next().map(|l| (*l, String::new()));
        Walker { store, labels, at, pages: VecDeque::new(), tally: Tally::default() }
    }

    /// The next part; none: that was all.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn next(&mut self) -> Result<Option<Piece>, TransferError> {
        while let Some((label, after)) = self.at.take() {
            let mut page = self.store.nodes(label, &after, PAGE).await?;
            let last = page.last().map(|n| n.node.key.clone()).filter(|_| page.len() >= PAGE);
            self.at = match &last {
                Some(last) => Some((label, last.clone())),
                None => self.labels.next().map(|l| (*l, String::new())),
            };
            let Some(last) = page.last().map(|n| n.node.key.clone()) else { continue };
            self.pages.push_back((label, after, last));
            page.iter_mut().for_each(|n| keep_node(n, &mut self.tally.left_out));
            page.iter().for_each(|n| self.tally.hash.stored_node(n));
            self.tally.nodes += page.len() as u64;
            return Ok(Some(Piece::Nodes(page)));
        }
        while let Some((label, after, last)) = self.pages.pop_front() {
            let mut found = self.store.relations(label, &after, &last).await?;
            found.retain_mut(|r| keep_relation(r, &mut self.tally.left_out));
            if found.is_empty() {
                continue;
            }
            found.iter().for_each(|r| self.tally.hash.stored_relation(r));
            self.tally.relations += found.len() as u64;
            // In one order on every store.
            found.sort_by(|a, b| (&a.from.key, &a.relation, &a.to).cmp(&(&b.from.key, &b.relation, &b.to)));
            return Ok(Some(Piece::Relations(found)));
        }
        Ok(None)
    }

    /// What came so far.
    pub fn tally(self) -> Tally {
        self.tally
    }
}
