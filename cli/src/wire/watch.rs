//! Rules of one's own beside a stream: the graph is brought to each time at which a rule is due, then asked.
//!
//! The times are those at which the engine looked at the whole, which depend on the stream and not on how it was cut
//! into batches. So the same recording gives the same findings in every run.

use tapio_core::change::GraphChange;
use tapio_core::ports::GraphStore;
use tapio_core::time::Time;
use tapio_engine::Outcome as EngineOutcome;
use tapio_graph::EmbeddedGraph;
use tapio_graph::rules::{News, Rule, Runner};

use super::pipeline::block_on;
use crate::cmd::Session;
use crate::error::{Failure, Outcome};

/// Changes that go into an embedded graph in one step.
pub(super) const BATCH: usize = 1_000;

/// Writes all that waits, in steps of so many changes.
pub(super) fn write(graph: &dyn GraphStore, waiting: &mut Vec<GraphChange>, batch: usize) -> Outcome {
    while !waiting.is_empty() {
        let n = waiting.len().min(batch);
        let batch: Vec<GraphChange> = waiting.drain(..n).collect();
        block_on(graph.apply(batch))??;
    }
    Ok(())
}

/// Takes the changes of a batch, and asks the rules on the way wherever one is due.
pub(super) fn step(
    runner: &mut Runner,
    graph: &dyn GraphStore,
    waiting: &mut Vec<GraphChange>,
    batch: usize,
    out: &mut EngineOutcome,
) -> Outcome<Vec<News>> {
    let mut news = Vec::new();
    let mut changes = std::mem::take(&mut out.changes).into_iter();
    let mut taken = 0;
    for (at, n) in &out.looks {
        waiting.extend(changes.by_ref().take(n.saturating_sub(taken)));
        taken = *n;
        if runner.due(*at) {
            write(graph, waiting, batch)?;
            news.extend(block_on(runner.look(graph, *at, false))??);
        }
    }
    waiting.extend(changes);
    Ok(news)
}

/// Rules with a graph of their own, in a folder that goes with them.
pub(crate) struct Watch {
    runner: Runner,
    graph: EmbeddedGraph,
    waiting: Vec<GraphChange>,
    // Behind the graph, which has a file open in it.
    _dir: tempfile::TempDir,
}

impl Watch {
    /// Begins with an empty graph.
    pub(crate) fn open(session: &Session, rules: Vec<Rule>) -> Outcome<Self> {
        let cannot = |e: std::io::Error| Failure::Unreachable(format!("cannot make a temporary folder: {e}"));
        let dir = tempfile::Builder::new().prefix("tapio-").tempdir().map_err(cannot)?;
        let graph = EmbeddedGraph::open(dir.path(), session.config.graph.embedded())?;
        block_on(graph.ensure_schema())??;
        Ok(Watch { runner: Runner::new(rules), graph, waiting: Vec::new(), _dir: dir })
    }

    /// The same where there are rules.
    pub(crate) fn where_wanted(session: &Session) -> Outcome<Option<Self>> {
        let rules = session.rules()?;
        if rules.is_empty() { Ok(None) } else { Watch::open(session, rules).map(Some) }
    }

    /// Takes what came of a batch.
    pub(crate) fn take(&mut self, out: &mut EngineOutcome) -> Outcome<Vec<News>> {
        let news = step(&mut self.runner, &self.graph, &mut self.waiting, BATCH, out)?;
        if self.waiting.len() >= BATCH {
            write(&self.graph, &mut self.waiting, BATCH)?;
        }
        Ok(news)
    }

    /// Asks every rule once more, at the end of the input.
    pub(crate) fn end(&mut self, at: Time) -> Outcome<Vec<News>> {
        write(&self.graph, &mut self.waiting, BATCH)?;
        block_on(self.runner.look(&self.graph, at, true))?.map_err(Into::into)
    }

    /// What the rules found.
    pub(crate) fn runner(&self) -> &Runner {
        &self.runner
    }
}
