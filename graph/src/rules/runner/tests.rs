//! Rules that work beside rules that do not.

use std::path::Path;
use std::sync::Mutex;

use tapio_core::change::GraphChange;
use tapio_core::ontology::Label;
use tapio_core::ports::{BoxFuture, Cell, GraphStats, StoreAbout, StoredNode, StoredRelation};
use tapio_core::time::SECOND;
use tapio_core::unified::Severity;

use super::*;
use crate::rules::{Template, Timing};
use crate::{EmbeddedConfig, EmbeddedGraph};

fn rule(id: &str, query: &str, holds: i64, gone: i64) -> Rule {
    Rule {
        id: id.to_owned(),
        severity: Severity::High,
        query: query.to_owned(),
        title: "t".to_owned(),
        message: Template::parse("{{pod}} has {{n}}").unwrap(),
        key: vec!["pod".to_owned()],
        timing: Timing { holds: holds * SECOND, gone: gone * SECOND },
        every: 10 * SECOND,
    }
}

fn at(secs: i64) -> Time {
    Time::parse("2024-01-15T10:30:00Z").unwrap().plus(secs * SECOND)
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// A store that answers what it was told to, in turn.
struct Script(Mutex<VecDeque<Result<Rows, StoreError>>>);

impl Script {
    fn new(answers: impl IntoIterator<Item = Result<Rows, StoreError>>) -> Self {
        Script(Mutex::new(answers.into_iter().collect()))
    }
}

impl GraphStore for Script {
    fn ensure_schema(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        unreachable!()
    }
    fn apply(&self, _: Vec<GraphChange>) -> BoxFuture<'_, Result<(), StoreError>> {
        unreachable!()
    }
    fn query(&self, _: Query) -> BoxFuture<'_, Result<Rows, StoreError>> {
        let next = self.0.lock().unwrap().pop_front().expect("asked more often than expected");
        Box::pin(async move { next })
    }
    fn retain(&self, _: Time) -> BoxFuture<'_, Result<u64, StoreError>> {
        unreachable!()
    }
    fn stats(&self) -> BoxFuture<'_, Result<GraphStats, StoreError>> {
        unreachable!()
    }
    fn graph_hash(&self) -> BoxFuture<'_, Result<String, StoreError>> {
        unreachable!()
    }
    fn nodes<'a>(&'a self, _: Label, _: &'a str, _: usize) -> BoxFuture<'a, Result<Vec<StoredNode>, StoreError>> {
        unreachable!()
    }
    fn relations<'a>(
        &'a self,
        _: Label,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Vec<StoredRelation>, StoreError>> {
        unreachable!()
    }
    fn schema_faults(&self) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        unreachable!()
    }
    fn about(&self) -> BoxFuture<'_, Result<StoreAbout, StoreError>> {
        unreachable!()
    }
    fn backup<'a>(&'a self, _: &'a Path) -> BoxFuture<'a, Result<(), StoreError>> {
        unreachable!()
    }
}

fn rows(of: &[(&str, i64)]) -> Result<Rows, StoreError> {
    let rows = of.iter().map(|(pod, n)| vec![Cell::Text((*pod).to_owned()), Cell::Int(*n)]).collect();
    Ok(Rows { columns: vec!["pod".to_owned(), "n".to_owned()], rows, truncated: false })
}

fn limit() -> Result<Rows, StoreError> {
    Err(StoreError::Limit("slow".to_owned()))
}

fn refused() -> Result<Rows, StoreError> {
    Err(StoreError::Refused("no".to_owned()))
}

/// Looks every ten seconds until the script is at its end.
fn play(runner: &mut Runner, script: &Script) -> Vec<News> {
    let mut news = Vec::new();
    for i in 0.. {
        if script.0.lock().unwrap().is_empty() {
            break;
        }
        news.extend(block(runner.look(script, at(i * 10), false)).unwrap());
    }
    news
}

#[test]
fn an_endless_and_a_failing_rule_are_fenced_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let graph = EmbeddedGraph::open(dir.path(), EmbeddedConfig::default()).unwrap();
    block(graph.ensure_schema()).unwrap();
    let pod = |i: i64| {
        let name = format!("p{i}");
        GraphChange::node(Label::Pod, name.clone(), vec![("name", name.into()), ("restart_count", i.into())])
    };
    block(graph.apply((0..40).map(pod).collect())).unwrap();
    let endless = "MATCH (a:Pod), (b:Pod), (c:Pod), (d:Pod), (e:Pod), (f:Pod) WHERE a.name + b.name + c.name = 'x' \
                   RETURN 1 AS pod, count(*) AS n";
    let failing = "MATCH (p:Pod) RETURN p.name AS pod, duration({hours: p.name}) AS n";
    let works = "MATCH (p:Pod) WHERE p.restart_count > 37 RETURN p.name AS pod, p.restart_count AS n";
    let rules = vec![rule("endless", endless, 0, 0), rule("failing", failing, 0, 0), rule("works", works, 20, 0)];
    let limits = Limits { timeout_millis: 100, ..LIMITS };
    let mut runner = Runner::with_limits(rules, limits);
    let mut told: Vec<(i64, String)> = Vec::new();
    for i in 0..5 {
        for n in block(runner.look(&graph, at(i * 10), false)).unwrap() {
            let what = match n {
                News::Opened(f) => f.message,
                News::Resolved(f) => format!("over {}", f.message),
                News::Fenced(f) => format!("{} is off", f.id),
            };
            told.push((i, what));
        }
    }
    let want = [(0, "endless is off"), (2, "failing is off"), (2, "p38 has 38"), (2, "p39 has 39")];
    assert_eq!(told, want.map(|(i, t)| (i, t.to_owned())));
    let fenced = runner.fenced();
    assert!(fenced[0].why.starts_with("query stopped"), "{fenced:?}");
    assert!(fenced[1].why.contains("must be a number"), "{fenced:?}");
    assert_eq!(runner.findings().len(), 2);
}

#[test]
fn a_slow_moment_leaves_no_trace_and_a_failed_look_changes_nothing() {
    let one = || rows(&[("a", 1)]);
    let mut calm = Runner::new(vec![rule("r", "q", 20, 20)]);
    let quiet = Script::new([one(), one(), one(), rows(&[]), one()]);
    let opened = play(&mut calm, &quiet);
    // Each slow answer is asked for again at the same time.
    let mut busy = Runner::new(vec![rule("r", "q", 20, 20)]);
    let script = Script::new([limit(), one(), one(), limit(), limit(), one(), rows(&[]), one()]);
    assert_eq!(play(&mut busy, &script), opened);
    assert_eq!(busy.findings(), calm.findings());
    assert!(matches!(&opened[..], [News::Opened(f)] if f.opened_at == at(20) && f.since == at(0)), "{opened:?}");

    // Two refusals in a row are none to be fenced for, and neither end nor restart what is pending.
    let mut r = Runner::new(vec![rule("r", "q", 30, 0)]);
    let news = play(&mut r, &Script::new([one(), refused(), refused(), one()]));
    assert!(matches!(&news[..], [News::Opened(f)] if f.opened_at == at(30) && f.since == at(0)), "{news:?}");
    assert!(r.fenced().is_empty());
    // The third in a row is, and it is not asked again.
    let news = block(async {
        let script = Script::new([refused(), refused(), refused()]);
        let mut all = Vec::new();
        for i in 10..15 {
            all.extend(r.look(&script, at(i * 10), true).await.unwrap());
        }
        all
    });
    assert!(matches!(&news[..], [News::Fenced(f)] if f.at == at(120)), "{news:?}");
    assert!(!r.due(at(1_000)));
}

#[test]
fn more_rows_than_allowed_are_a_failure_since_which_were_cut_is_chance() {
    let cut = || rows(&[("a", 1)]).map(|r| Rows { truncated: true, ..r });
    let mut r = Runner::new(vec![rule("r", "q", 0, 0)]);
    let news = play(&mut r, &Script::new([cut(), cut(), cut()]));
    assert!(matches!(&news[..], [News::Fenced(f)] if f.why.contains("more than 1000 rows")), "{news:?}");
    assert!(r.findings().is_empty());
}

#[test]
fn the_order_of_rows_has_no_meaning_and_rows_of_one_key_are_one_finding() {
    let mut all = [("b", 3), ("a", 2), ("b", 1), ("a", 9), ("a", 2)];
    let mut first = Runner::new(vec![rule("r", "q", 0, 0)]);
    play(&mut first, &Script::new([rows(&all)]));
    all.reverse();
    let mut second = Runner::new(vec![rule("r", "q", 0, 0)]);
    play(&mut second, &Script::new([rows(&all)]));
    assert_eq!(first.findings(), second.findings());
    let told: Vec<(String, usize)> = first.findings().into_iter().map(|f| (f.message, f.rows.len())).collect();
    assert_eq!(told, [("a has 2".to_owned(), 2), ("b has 1".to_owned(), 2)]);
}

#[test]
fn what_was_found_survives_a_restart_for_the_same_definition_only() {
    let one = || rows(&[("a", 1)]);
    let mut whole = Runner::new(vec![rule("r", "q", 20, 20)]);
    play(&mut whole, &Script::new([one(), one(), one(), rows(&[]), rows(&[]), rows(&[]), one()]));
    let mut r = Runner::new(vec![rule("r", "q", 20, 20)]);
    for (i, answer) in [one(), one(), one(), rows(&[]), rows(&[]), rows(&[]), one()].into_iter().enumerate() {
        let saved = r.save().unwrap();
        r = Runner::new(vec![rule("r", "q", 20, 20)]);
        assert!(r.restore(&saved));
        block(r.look(&Script::new([answer]), at(i64::try_from(i).unwrap() * 10), false)).unwrap();
    }
    assert_eq!(r.findings(), whole.findings());
    assert_eq!(r.findings().len(), 1);
    assert_eq!(r.findings()[0].resolved_at, Some(at(50)));
    let saved = r.save().unwrap();
    let mut other = Runner::new(vec![rule("r", "q2", 20, 20)]);
    assert!(other.restore(&saved) && other.findings().is_empty() && other.has_unasked());
    assert!(!other.restore(b"{}") && !other.restore(b"\0"));
}

#[test]
fn findings_are_bounded_and_what_had_no_place_is_counted() {
    let many = |from: usize| {
        let names: Vec<String> = (from..from + 1_000).map(|i| format!("{i:05}")).collect();
        rows(&names.iter().map(|n| (n.as_str(), 1)).collect::<Vec<_>>())
    };
    let mut r = Runner::new(vec![rule("r", "q", 0, 1_000)]);
    play(&mut r, &Script::new([many(0), many(1_000), many(2_000)]));
    assert_eq!((r.findings().len(), r.counts()), (MAX_LIVE, (1, 1_000)));
    let mut r = Runner::new(vec![rule("r", "q", 0, 0)]);
    play(&mut r, &Script::new([many(0), many(1_000), rows(&[])]));
    assert_eq!((r.findings().len(), r.counts()), (MAX_OVER, (1, 1_000)));
}
