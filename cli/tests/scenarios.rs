//! Every story of `scenarios/`, replayed in every way: the incidents that it expects, and the same bytes as answer.
//!
//! A test is named `STORY::WAY`, so that `cargo test -p tapio --test scenarios config-env-typo` runs one story. The
//! ways run the engine in this process, as only so the cuts between batches can be chosen; that the command does the
//! same, also when it is killed, is asked of one story.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is the failed test")]

#[path = "scenarios/binary.rs"]
mod binary;
#[path = "scenarios/judge.rs"]
mod judge;
#[allow(dead_code, reason = "not every suite needs all of it")]
#[path = "cli/running.rs"]
mod running;
#[path = "scenarios/story.rs"]
mod story;
#[path = "scenarios/ways.rs"]
mod ways;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Failed, Trial};
use tapio_core::answer::Answer;
use tapio_core::raw::{RawEvent, source};
use tapio_core::time::SECOND;

use story::Story;

/// The story that the command itself replays, too.
const OF_THE_COMMAND: &str = "config-env-typo";

/// A story, read and replayed as it is when the first of its tests needs it.
struct Told {
    story: Story,
    as_it_is: OnceLock<(Answer, String)>,
}

impl Told {
    fn as_it_is(&self) -> &(Answer, String) {
        self.as_it_is.get_or_init(|| ways::as_it_is(self.story.events()))
    }
}

/// One way to replay a story.
type Way = fn(&Told) -> Result<(), Failed>;

/// A way that has to end in the same bytes; those of the way as it is are judged on their own.
fn same(told: &Told, (answer, bytes): (Answer, String)) -> Result<(), Failed> {
    judge::incidents(&told.story, &answer)?;
    judge::bytes(&told.as_it_is().1, &bytes)
}

/// A way in which the clock of some sources is off; the roots must stay.
fn skewed(told: &Told, by: i64, whose: fn(&RawEvent) -> bool) -> Result<(), Failed> {
    let off = told.story.events().iter().filter(|e| whose(e)).count();
    // One clock alone cannot be off.
    if off == 0 || off == told.story.events().len() {
        return Ok(());
    }
    let (answer, _) = ways::as_it_is(&ways::skewed(told.story.events(), by, whose));
    judge::same_roots(&told.as_it_is().0, &answer)
}

fn of_a_node(e: &RawEvent) -> bool {
    e.source == source::KUBELET
}

fn of_the_cluster(e: &RawEvent) -> bool {
    e.source == source::CLUSTER
}

/// What nodes report as events of the API, with their own clock.
fn an_event(e: &RawEvent) -> bool {
    e.kind == "Event"
}

const WAYS: [(&str, Way); 10] = [
    ("as_it_is", |t| judge::incidents(&t.story, &t.as_it_is().0)),
    ("shuffled", |t| same(t, ways::as_it_is(&ways::shuffled(t.story.events(), t.story.seed())))),
    ("a_tenth_doubled", |t| same(t, ways::as_it_is(&ways::a_tenth_doubled(t.story.events(), t.story.seed())))),
    ("one_at_a_time", |t| same(t, ways::one_at_a_time(t.story.events()))),
    ("clock_of_nodes_ahead", |t| skewed(t, 2 * SECOND, of_a_node)),
    ("clock_of_nodes_behind", |t| skewed(t, 2 * SECOND, of_the_cluster)),
    ("clock_of_events_ahead", |t| skewed(t, 2 * SECOND, an_event)),
    ("clock_of_events_behind", |t| skewed(t, -2 * SECOND, an_event)),
    ("a_tenth_of_updates_lost", |t| {
        let (answer, _) = ways::as_it_is(&ways::a_tenth_of_updates_lost(t.story.events()));
        judge::no_other_roots(&t.as_it_is().0, &answer)
    }),
    ("killed_and_restarted", |t| same(t, ways::killed_and_restarted(t.story.events()))),
];

/// Minutes of churn that must raise nothing.
const MINUTES: i64 = 30;

fn minutes(events: &[RawEvent]) -> i64 {
    let ends = events.first().zip(events.last());
    ends.map_or(0, |(first, last)| last.seen_at().since(first.seen_at()) / (60 * SECOND))
}

fn recorded_and_quiet(folder: &Path) -> Vec<Story> {
    story::all(folder).into_iter().filter(Story::is_recorded_and_quiet).collect()
}

/// Churn that is long enough and raises nothing.
fn raises_nothing(events: &[RawEvent]) -> Result<(), Failed> {
    let minutes = minutes(events);
    if minutes < MINUTES {
        return Err(format!("only {minutes} minutes of quiet stories").into());
    }
    let (answer, _) = ways::as_it_is(events);
    let opened: Vec<String> = answer
        .incidents
        .iter()
        .map(|i| format!("{} {:?}", i.opened_at, i.root_cause.as_ref().map(|c| &c.summary)))
        .collect();
    if opened.is_empty() { Ok(()) } else { Err(format!("{minutes} minutes of churn raised {opened:#?}").into()) }
}

/// Every recorded quiet story, one after another as if on one cluster: rollouts, scaling, jobs, an autoscaler, changed
/// configuration and cordons, and not one incident.
fn one_after_another(folder: &Path) -> Result<(), Failed> {
    let mut stories = recorded_and_quiet(folder);
    stories.sort_by_key(|s| s.events().first().map(RawEvent::seen_at));
    raises_nothing(&ways::one_after_another(stories.iter().map(Story::events)))
}

/// The longest of them alone: half an hour of one cluster, as it was.
fn in_one_recording(folder: &Path) -> Result<(), Failed> {
    let stories = recorded_and_quiet(folder);
    let longest = stories.iter().max_by_key(|s| minutes(s.events())).ok_or("no quiet story")?;
    raises_nothing(longest.events())
}

/// A check over the folder of stories.
type Check = fn(&Path) -> Result<(), Failed>;

fn main() {
    let args = Arguments::from_args();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let churn: [(&str, Check); 2] =
        [("one_quiet_story_after_another", one_after_another), ("half_an_hour_in_one_recording", in_one_recording)];
    let mut trials: Vec<Trial> = Vec::new();
    for (what, run) in churn {
        let folder = folder.clone();
        trials.push(Trial::test(format!("healthy-churn::{what}"), move || run(&folder)));
    }
    for story in story::all(&folder) {
        let name = story.name.clone();
        let faults = story.expected.incidents.len();
        let told = Arc::new(Told { story, as_it_is: OnceLock::new() });
        for (way, run) in WAYS {
            let told = Arc::clone(&told);
            trials.push(Trial::test(format!("{name}::{way}"), move || run(&told)));
        }
        for i in 0..faults {
            let told = Arc::clone(&told);
            let which = if faults == 1 { String::new() } else { format!("_{}", i + 1) };
            trials.push(Trial::test(format!("{name}::begun_in_mid_fault{which}"), move || {
                let fault = &told.story.expected.incidents[i];
                let (answer, _) = ways::as_it_is(&ways::begun_at(told.story.events(), fault.decisive_at));
                judge::root(fault, &answer)
            }));
        }
        if name == OF_THE_COMMAND {
            trials.push(Trial::test(format!("{name}::killed_and_restarted_as_a_command"), move || {
                binary::killed_and_restarted(&told.story.recording, &told.as_it_is().0)
            }));
        }
    }
    libtest_mimic::run(&args, trials).exit();
}
