//! How a batch is cut into transactions that run side by side and cannot wait for each other.
//!
//! Neo4j locks the nodes that a statement writes and both ends of every relation that it makes, until the commit.
//! Two transactions can only block each other where both lock one node. So what hangs together by relations of the
//! batch stays together: nodes joined by its relations are one group, a group goes whole into one transaction, and
//! no two transactions of a batch touch the same node. A rekey moves relations that the batch does not name, so it
//! runs alone, between what came before and what comes after it.
//!
//! A small batch is one transaction, whole or not at all. A larger one that is cut off halfway may stand in parts;
//! it was not acknowledged, comes again, and its changes are idempotent.

use std::collections::HashMap;

use tapio_core::ontology::Label;

use crate::projection::Step;

/// Steps of one transaction.
pub(super) type Job = Vec<Step>;

/// Rows below which a batch is not cut.
pub(super) const WHOLE: usize = 200;

/// Rows of a transaction of a large batch, about: what the server holds in its heap, and locks, stays small.
const MOST: usize = 4_000;

/// Cuts a batch into phases, run one after the other; the jobs of a phase run side by side, and at least `lanes` of
/// them where they are worth it.
pub(super) fn plan(steps: Vec<Step>, lanes: usize) -> Vec<Vec<Job>> {
    if steps.is_empty() {
        return Vec::new();
    }
    if lanes < 2 || steps.iter().map(rows).sum::<usize>() <= WHOLE {
        return vec![vec![steps]];
    }
    let mut phases = Vec::new();
    let mut run: Job = Vec::new();
    let mut alone = false;
    for step in steps {
        let rekey = matches!(step, Step::Rekey { .. });
        if rekey != alone && !run.is_empty() {
            phases.push(phase(std::mem::take(&mut run), alone, lanes));
        }
        alone = rekey;
        run.push(step);
    }
    phases.push(phase(run, alone, lanes));
    phases
}

fn phase(steps: Job, alone: bool, lanes: usize) -> Vec<Job> {
    let rows = steps.iter().map(rows).sum::<usize>();
    let jobs = lanes.min(rows.div_ceil(WHOLE)).max(rows.div_ceil(MOST));
    if alone || jobs < 2 { vec![steps] } else { spread(steps, jobs) }
}

fn rows(step: &Step) -> usize {
    match step {
        Step::Nodes { rows, .. } => rows.len(),
        Step::Unlink { rows, .. } => rows.len(),
        Step::Link { rows, .. } => rows.len(),
        Step::Rekey { .. } => 1,
    }
}

/// Nodes of a batch in groups that hang together.
#[derive(Default)]
struct Groups<'a> {
    of: HashMap<(Label, &'a str), usize>,
    parent: Vec<usize>,
    weight: Vec<usize>,
}

impl<'a> Groups<'a> {
    fn add(&mut self, label: Label, key: &'a str) -> usize {
        let next = self.parent.len();
        let at = *self.of.entry((label, key)).or_insert(next);
        if at == next {
            self.parent.push(next);
            self.weight.push(0);
        }
        at
    }

    fn root(&mut self, mut at: usize) -> usize {
        while self.parent[at] != at {
            self.parent[at] = self.parent[self.parent[at]];
            at = self.parent[at];
        }
        at
    }

    fn join(&mut self, from: (Label, &'a str), to: (Label, &'a str)) {
        let (a, b) = (self.add(from.0, from.1), self.add(to.0, to.1));
        let (a, b) = (self.root(a), self.root(b));
        if a != b {
            self.parent[b] = a;
            self.weight[a] += self.weight[b];
        }
        self.weight[a] += 1;
    }

    /// The lane of every node: heavy groups first, each where least is to do.
    fn lanes(mut self, lanes: usize) -> Lanes<'a> {
        let mut roots: Vec<usize> = (0..self.parent.len()).filter(|&i| self.parent[i] == i).collect();
        roots.sort_by_key(|&r| (std::cmp::Reverse(self.weight[r]), r));
        let mut load = vec![0usize; lanes];
        let mut lane = vec![0usize; self.parent.len()];
        for root in roots {
            let at = (0..lanes).min_by_key(|&l| load[l]).unwrap_or_default();
            load[at] += self.weight[root];
            lane[root] = at;
        }
        for node in 0..lane.len() {
            lane[node] = lane[self.root(node)];
        }
        Lanes { of: self.of, lane }
    }
}

/// The lane of every node of a batch.
struct Lanes<'a> {
    of: HashMap<(Label, &'a str), usize>,
    lane: Vec<usize>,
}

impl Lanes<'_> {
    fn at(&self, label: Label, key: &str) -> usize {
        self.of.get(&(label, key)).map_or(0, |&node| self.lane[node])
    }

    /// The lanes of a step's rows, in their order.
    fn of_rows(&self, step: &Step) -> Vec<usize> {
        match step {
            Step::Nodes { label, rows, .. } => rows.iter().map(|r| self.at(*label, &r.key)).collect(),
            Step::Unlink { from, rows, .. } => rows.iter().map(|(a, _)| self.at(*from, a)).collect(),
            Step::Link { from, rows, .. } => rows.iter().map(|r| self.at(*from, &r.from)).collect(),
            Step::Rekey { .. } => vec![0],
        }
    }
}

fn spread(steps: Job, lanes: usize) -> Vec<Job> {
    let mut groups = Groups::default();
    for step in &steps {
        match step {
            Step::Nodes { label, rows, .. } => {
                for row in rows {
                    let at = groups.add(*label, &row.key);
                    let root = groups.root(at);
                    groups.weight[root] += 1;
                }
            }
            Step::Unlink { from, to, rows, .. } => {
                rows.iter().for_each(|(a, b)| groups.join((*from, a), (*to, b)));
            }
            Step::Link { from, to, rows, .. } => {
                rows.iter().for_each(|r| groups.join((*from, &r.from), (*to, &r.to)));
            }
            Step::Rekey { .. } => {}
        }
    }
    let lane_of = groups.lanes(lanes);
    let marks: Vec<Vec<usize>> = steps.iter().map(|step| lane_of.of_rows(step)).collect();
    let mut jobs: Vec<Job> = vec![Vec::new(); lanes];
    for (step, marks) in steps.into_iter().zip(marks) {
        match step {
            Step::Nodes { label, also, rows } => {
                for (at, rows) in parted(rows, marks, lanes) {
                    jobs[at].push(Step::Nodes { label, also: also.clone(), rows });
                }
            }
            Step::Unlink { from, relation, to, rows } => {
                for (at, rows) in parted(rows, marks, lanes) {
                    jobs[at].push(Step::Unlink { from, relation, to, rows });
                }
            }
            Step::Link { from, relation, to, rows } => {
                for (at, rows) in parted(rows, marks, lanes) {
                    jobs[at].push(Step::Link { from, relation, to, rows });
                }
            }
            rekey @ Step::Rekey { .. } => jobs[0].push(rekey),
        }
    }
    jobs.retain(|j| !j.is_empty());
    jobs
}

/// Rows by lane, without the lanes that have none.
fn parted<R>(rows: Vec<R>, marks: Vec<usize>, lanes: usize) -> impl Iterator<Item = (usize, Vec<R>)> {
    let mut parts: Vec<Vec<R>> = (0..lanes).map(|_| Vec::new()).collect();
    for (row, at) in rows.into_iter().zip(marks) {
        parts[at].push(row);
    }
    parts.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use tapio_core::change::{GraphChange, NodeRef};
    use tapio_core::ontology::Relation;

    use super::*;
    use crate::projection::fold;

    fn node(label: Label, key: String) -> NodeRef {
        NodeRef { label, key }
    }

    /// Events of 20 pods; every tenth event also leads to its pod's next one.
    fn batch(events: usize) -> Vec<GraphChange> {
        let mut all = Vec::new();
        for i in 0..events {
            let (event, pod) = (node(Label::Event, format!("e{i}")), node(Label::Pod, format!("p{}", i % 20)));
            all.push(GraphChange::Node { node: event.clone(), also: None, props: vec![] });
            all.push(GraphChange::Edge { from: event.clone(), relation: Relation::Affects, to: pod, props: vec![] });
            if i % 10 == 0 {
                let to = node(Label::Event, format!("e{}", i + 20));
                all.push(GraphChange::Edge { from: event, relation: Relation::Triggered, to, props: vec![] });
            }
        }
        all
    }

    fn touched(job: &Job) -> BTreeSet<(Label, String)> {
        let mut out = BTreeSet::new();
        for step in job {
            match step {
                Step::Nodes { label, rows, .. } => out.extend(rows.iter().map(|r| (*label, r.key.clone()))),
                Step::Link { from, to, rows, .. } => {
                    out.extend(rows.iter().flat_map(|r| [(*from, r.from.clone()), (*to, r.to.clone())]));
                }
                Step::Unlink { from, to, rows, .. } => {
                    out.extend(rows.iter().flat_map(|(a, b)| [(*from, a.clone()), (*to, b.clone())]));
                }
                Step::Rekey { .. } => {}
            }
        }
        out
    }

    #[test]
    fn no_two_transactions_touch_one_node_and_no_row_is_lost() {
        let steps = fold(batch(1_000));
        let all: usize = steps.iter().map(rows).sum();
        let phases = plan(steps, 4);
        assert_eq!(phases.len(), 1);
        let jobs = &phases[0];
        assert_eq!(jobs.len(), 4);
        assert_eq!(jobs.iter().flatten().map(rows).sum::<usize>(), all);
        let mut owner = BTreeMap::new();
        for (at, job) in jobs.iter().enumerate() {
            assert!(job.iter().map(rows).sum::<usize>() > all / 8, "unevenly spread");
            for node in touched(job) {
                assert_eq!(*owner.entry(node).or_insert(at), at);
            }
        }
    }

    #[test]
    fn small_batches_stay_whole_and_rekeys_run_alone() {
        assert_eq!(plan(fold(batch(20)), 4).iter().map(Vec::len).collect::<Vec<_>>(), [1]);
        let rekey = GraphChange::Rekey { from: node(Label::Pod, "p1".to_owned()), to: "real".to_owned() };
        let changes = [batch(500), vec![rekey.clone(), rekey], batch(500)].concat();
        let phases = plan(fold(changes), 3);
        assert_eq!(phases.iter().map(Vec::len).collect::<Vec<_>>(), [3, 1, 3]);
        assert!(phases[1][0].iter().all(|s| matches!(s, Step::Rekey { .. })) && phases[1][0].len() == 2);
        assert!(plan(Vec::new(), 4).is_empty());
    }
}
