//! Stories as they lie in the tree: a recording and what must come out.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::Deserialize;
use tapio_collectors::{Item, ReadOptions};
use tapio_core::object::ObjectRef;
use tapio_core::raw::RawEvent;
use tapio_core::time::Time;

/// `expected.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expected {
    /// Where the story is from.
    from: From,
    /// What happens, in a sentence or two.
    says: String,
    /// Whether nothing is wrong in it. Said beside the empty list, so that a forgotten list is no quiet story.
    quiet: bool,
    /// One per root cause.
    pub(crate) incidents: Vec<Fault>,
}

/// Where a story is from.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum From {
    /// A cluster did this.
    Recorded,
    /// Built after documented behaviour.
    Documented,
}

/// An incident that has to be there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    /// The root.
    pub(crate) object: ObjectRef,
    /// What else is accepted as the root: what a person may as well call it.
    #[serde(default)]
    pub(crate) objects: Vec<ObjectRef>,
    /// The mechanisms that are accepted.
    pub(crate) mechanisms: Vec<String>,
    /// Whether it is resolved at the end; none if the recording ends too early to tell.
    pub(crate) resolved: Option<bool>,
    /// When the fault was made; none if it came by itself.
    pub(crate) opened_not_before: Option<Time>,
    /// The first line that shows cause and failure.
    pub(crate) decisive_at: Time,
    /// Seconds after it within which the incident has to be opened.
    pub(crate) within_secs: i64,
}

/// A story.
pub(crate) struct Story {
    /// Name of its folder.
    pub(crate) name: String,
    /// What must come out.
    pub(crate) expected: Expected,
    /// Its recording.
    pub(crate) recording: PathBuf,
    events: OnceLock<Vec<RawEvent>>,
}

impl Story {
    /// Whether a cluster did this and nothing is wrong in it.
    pub(crate) fn is_recorded_and_quiet(&self) -> bool {
        self.expected.quiet && matches!(self.expected.from, From::Recorded)
    }

    /// What was recorded, in its order; read when it is first asked for.
    pub(crate) fn events(&self) -> &[RawEvent] {
        self.events.get_or_init(|| {
            let mut reader =
                tapio_collectors::open(std::slice::from_ref(&self.recording), ReadOptions::default()).unwrap();
            reader
                .by_ref()
                .map(|item| match item {
                    Item::Event(e) => e,
                    Item::Dead(d) => panic!("{}: a line that cannot be used: {d:?}", self.name),
                })
                .collect()
        })
    }

    /// A number of its own, the same in every run.
    pub(crate) fn seed(&self) -> u64 {
        self.name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
    }
}

/// All stories, by name. One that is not whole stops the suite: a story that is silently left out tests nothing.
pub(crate) fn all(folder: &Path) -> Vec<Story> {
    let mut folders: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
        .collect();
    folders.sort();
    folders.iter().map(|f| one(f)).collect()
}

fn one(folder: &Path) -> Story {
    let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
    let text = fs::read_to_string(folder.join("expected.json")).unwrap_or_else(|e| panic!("{name}: {e}"));
    let expected: Expected = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: expected.json: {e}"));
    assert_eq!(expected.quiet, expected.incidents.is_empty(), "{name}: `quiet` and `incidents` disagree");
    assert!(!expected.says.is_empty(), "{name}: says nothing");
    let recording = ["recording.jsonl.zst", "recording.jsonl"]
        .iter()
        .map(|n| folder.join(n))
        .find(|p| p.exists())
        .unwrap_or_else(|| panic!("{name}: has no recording ({:?})", expected.from));
    Story { name, expected, recording, events: OnceLock::new() }
}
