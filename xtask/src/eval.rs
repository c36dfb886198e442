//! `cargo xtask eval DIR…`: runs the release binary over folders that have an answer key, and scores the answers.
//!
//! Two layouts. A *case folder* holds one dump a folder (`DIR/CASE/…`) and its key beside it (`DIR-truth.json`, or
//! `--truth`). A *recordings folder* holds `DIR/ID/{recording.jsonl.zst,snapshot/,truth.json}`. The data stay where they
//! are. A third of the cases, chosen by a hash of their names, is locked: it is left out unless `--part locked` asks for
//! it, so that what was built while looking at the others can be told from what holds. The result of the last run is kept under the target folder, and what changed since is said.

mod calibration;
mod judge;
mod story;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::process::{measure, release_binary, target};
use judge::Truth;

/// What to score.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folders of cases or recordings.
    #[arg(required = true)]
    dirs: Vec<PathBuf>,
    /// Answer key of the case folders; `DIR-truth.json` beside each where absent.
    #[arg(long)]
    truth: Option<PathBuf>,
    /// Another binary than this workspace's release build.
    #[arg(long)]
    tapio: Option<PathBuf>,
    /// Runs at a time. Times are only worth something with 1.
    #[arg(long, short, default_value_t = 1)]
    jobs: usize,
    /// Which cases: those that may be looked at, the locked third, or all.
    #[arg(long, value_enum, default_value_t = Part::Open)]
    part: Part,
    /// Print so many wrong or missing answers.
    #[arg(long, default_value_t = 20)]
    misses: usize,
}

/// A part of the cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Two thirds, to build by.
    Open,
    /// One third, to be scored at the end.
    Locked,
    /// All of them.
    All,
}

impl Part {
    fn holds(self, name: &str) -> bool {
        // FNV-1a: fixed for ever, so that what is locked stays locked.
        let hash =
            name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let locked = hash % 3 == 0;
        match self {
            Part::Open => !locked,
            Part::Locked => locked,
            Part::All => true,
        }
    }
}

/// One thing that was asked and judged.
struct Scored {
    id: String,
    /// Rank of the first right cause, from 1.
    rank: Option<usize>,
    /// First answer: its mechanism and object, or nothing.
    first: Option<(String, String)>,
    want: String,
    mechanisms: Vec<String>,
    millis: f64,
    /// Confidence of the first three causes, and whether each was right.
    given: Vec<calibration::Given>,
    /// What else was wrong with it.
    notes: Vec<String>,
}

/// Runs and scores all folders.
///
/// # Errors
/// Where a folder or its key cannot be read.
pub(crate) fn run(root: &Path, args: &Args) -> Result<()> {
    let binary = match &args.tapio {
        Some(path) => path.clone(),
        None => release_binary(root)?,
    };
    for dir in &args.dirs {
        let names = folders(dir)?;
        let recordings = names.iter().any(|n| dir.join(n).join("truth.json").exists());
        let rows =
            if recordings { story::run(&binary, dir, &names, args.jobs)? } else { cases(&binary, dir, &names, args)? };
        println!("\n== {} ==", dir.display());
        report(&rows, args.misses);
        compare(root, dir, &rows)?;
    }
    Ok(())
}

fn folders(dir: &Path) -> Result<Vec<String>> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .with_context(|| format!("cannot read {}", dir.display()))?
        .filter_map(Result::ok)
        .filter(|e| e.path().is_dir())
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    if names.is_empty() {
        bail!("{} holds no folders", dir.display());
    }
    Ok(names)
}

fn cases(binary: &Path, dir: &Path, names: &[String], args: &Args) -> Result<Vec<Scored>> {
    let key = match &args.truth {
        Some(path) => path.clone(),
        None => PathBuf::from(format!("{}-truth.json", dir.to_string_lossy().trim_end_matches('/'))),
    };
    let text = std::fs::read(&key).with_context(|| format!("cannot read the answer key {}", key.display()))?;
    let truth: BTreeMap<String, Value> = serde_json::from_slice(&text).context("the answer key is no JSON object")?;
    let known: Vec<&String> = names.iter().filter(|n| truth.contains_key(*n) && args.part.holds(n)).collect();
    each(&known, args.jobs, |name| {
        let folder = dir.join(name).to_string_lossy().into_owned();
        let done = measure(binary, &["analyze", &folder, "-o", "json"])?;
        let answer: Value = serde_json::from_slice(&done.answer).unwrap_or(Value::Null);
        let key = Truth::read(&truth[name.as_str()]);
        let mut scored = judge::causes(name, &key, &answer["root_causes"], done.millis);
        if answer.is_null() {
            scored.notes.push(format!("no answer, exit {:?}", done.status));
        }
        Ok(scored)
    })
}

/// Does `work` for all names, so many at a time, results in order of the names.
fn each<T: Send>(names: &[&String], jobs: usize, work: impl Fn(&String) -> Result<T> + Sync) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Result<T>)>> = Mutex::new(Vec::new());
    std::thread::scope(|s| {
        for _ in 0..jobs.max(1) {
            s.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(name) = names.get(i) else { break };
                    let result = work(name);
                    done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((i, result));
                }
            });
        }
    });
    let mut list = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    list.sort_by_key(|(i, _)| *i);
    list.into_iter().map(|(_, r)| r).collect()
}

fn report(rows: &[Scored], misses: usize) {
    let asked: Vec<&Scored> = rows.iter().filter(|r| !r.want.is_empty()).collect();
    let n = asked.len().max(1) as f64;
    let share = |ok: &dyn Fn(&Scored) -> bool| asked.iter().filter(|r| ok(r)).count() as f64 / n;
    println!(
        "{} asked: A@1 {:.3}  A@3 {:.3}  wrong {:.3}  unknown {:.3}",
        asked.len(),
        share(&|r| r.rank == Some(1)),
        share(&|r| r.rank.is_some_and(|k| k <= 3)),
        share(&|r| r.first.is_some() && r.rank != Some(1)),
        share(&|r| r.first.is_none()),
    );
    let mut millis: Vec<f64> = rows.iter().map(|r| r.millis).collect();
    millis.sort_by(f64::total_cmp);
    let at = |share: f64| millis.get((millis.len() as f64 * share) as usize).or(millis.last()).copied().unwrap_or(0.0);
    println!("time p50 {:.0} ms  p95 {:.0} ms", at(0.5), at(0.95));
    calibration::report(&rows.iter().flat_map(|r| r.given.clone()).collect::<Vec<_>>());
    by_mechanism(rows);
    let bad = rows.iter().filter(|r| (!r.want.is_empty() && r.rank != Some(1)) || !r.notes.is_empty());
    for r in bad.take(misses) {
        let got = r.first.as_ref().map_or_else(|| "nothing".to_owned(), |(m, o)| format!("{o} {m}"));
        println!("{}: want {}, got {got}{} {}", r.id, or_dash(&r.want), rank(r.rank), r.notes.join("; "));
    }
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "nothing" } else { text }
}

fn rank(rank: Option<usize>) -> String {
    rank.filter(|r| *r > 1).map(|r| format!(" (right at {r})")).unwrap_or_default()
}

/// Precision: of the first answers with this id, those right. Recall: of what accepts this id, those right at first.
fn by_mechanism(rows: &[Scored]) {
    #[derive(Default)]
    struct Line {
        said: u32,
        right: u32,
        wanted: u32,
        got: u32,
    }
    let mut lines: BTreeMap<&str, Line> = BTreeMap::new();
    for r in rows {
        if let Some((m, _)) = &r.first {
            let l = lines.entry(m).or_default();
            l.said += 1;
            l.right += u32::from(r.rank == Some(1));
        }
        if let Some(m) = r.mechanisms.first().filter(|_| !r.want.is_empty()) {
            let l = lines.entry(m).or_default();
            l.wanted += 1;
            l.got += u32::from(r.rank == Some(1));
        }
    }
    println!("{:<38} {:>6} {:>10} {:>6} {:>8}", "mechanism", "said", "precision", "wanted", "recall");
    let of = |a: u32, b: u32| if b == 0 { "-".to_owned() } else { format!("{:.2}", f64::from(a) / f64::from(b)) };
    for (id, l) in lines {
        println!("{id:<38} {:>6} {:>10} {:>6} {:>8}", l.said, of(l.right, l.said), l.wanted, of(l.got, l.wanted));
    }
}

/// Says what changed since the last run over the same folder, and keeps this one.
fn compare(root: &Path, dir: &Path, rows: &[Scored]) -> Result<()> {
    let name = dir.file_name().map_or_else(|| "set".to_owned(), |n| n.to_string_lossy().into_owned());
    let file = target(root).join(format!("eval/{name}.json"));
    let now: BTreeMap<&str, Value> = rows
        .iter()
        .map(|r| {
            let said = r.first.as_ref().map(|(m, o)| format!("{o} {m}"));
            (r.id.as_str(), json!({"rank": r.rank, "said": said, "notes": r.notes}))
        })
        .collect();
    let old: BTreeMap<String, Value> =
        std::fs::read(&file).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default();
    let changed: Vec<String> = now
        .iter()
        .filter_map(|(id, v)| old.get(*id).filter(|o| *o != v).map(|o| format!("  {id}: {o} -> {v}")))
        .collect();
    if !old.is_empty() {
        println!("since the last run {} changed", changed.len());
        changed.iter().for_each(|c| println!("{c}"));
    }
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&file, serde_json::to_vec_pretty(&now)?).with_context(|| format!("cannot write {}", file.display()))
}
