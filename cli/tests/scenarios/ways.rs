//! The ways in which a story is replayed.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use tapio_core::answer::Answer;
use tapio_core::raw::RawEvent;
use tapio_core::time::{SECOND, Time};
use tapio_engine::checkpoint::VERSION;
use tapio_engine::{EngineConfig, EventProcessor};

/// Events in a batch, as the command cuts them.
const CHUNK: usize = 256;
/// By how much a line may come late: below the window of 5 s within which the engine puts evidence in order.
const DELAY: u64 = 4 * SECOND.unsigned_abs();

fn new() -> EventProcessor {
    EventProcessor::new(EngineConfig { project: false, ..EngineConfig::default() })
}

fn feed(engine: &mut EventProcessor, events: &[RawEvent], batch: usize) {
    for part in events.chunks(batch) {
        let out = engine.process(part.iter().cloned());
        assert!(out.dead.is_empty(), "evidence that cannot be used: {:?}", out.dead);
    }
}

/// The answer at the end, and its bytes.
fn end(mut engine: EventProcessor) -> (Answer, String) {
    let out = engine.finish();
    assert!(out.dead.is_empty(), "evidence that cannot be used: {:?}", out.dead);
    let answer = engine.answer();
    let bytes = serde_json::to_string_pretty(&answer).unwrap();
    (answer, bytes)
}

/// In the batches of the command.
pub(crate) fn as_it_is(events: &[RawEvent]) -> (Answer, String) {
    let mut engine = new();
    feed(&mut engine, events, CHUNK);
    end(engine)
}

/// Every event for itself.
pub(crate) fn one_at_a_time(events: &[RawEvent]) -> (Answer, String) {
    let mut engine = new();
    feed(&mut engine, events, 1);
    end(engine)
}

/// Stopped after each third, and begun again from what was saved there.
pub(crate) fn killed_and_restarted(events: &[RawEvent]) -> (Answer, String) {
    let mut engine = new();
    let mut parts = events.chunks(events.len().div_ceil(3).max(1)).peekable();
    while let Some(part) = parts.next() {
        feed(&mut engine, part, CHUNK);
        if parts.peek().is_some() {
            let saved = engine.checkpoint().unwrap();
            engine = EventProcessor::restore(VERSION, &saved).unwrap();
        }
    }
    end(engine)
}

/// Every line is late by up to 4 s, as lines of many collectors are.
pub(crate) fn shuffled(events: &[RawEvent], seed: u64) -> Vec<RawEvent> {
    let mut number = numbers(seed);
    let mut out: Vec<(Time, &RawEvent)> =
        events.iter().map(|e| (e.seen_at().plus(i64::try_from(number(DELAY)).unwrap()), e)).collect();
    out.sort_by_key(|(at, _)| *at);
    out.into_iter().map(|(_, e)| e.clone()).collect()
}

/// A tenth of the lines comes twice: at once, or some lines later.
pub(crate) fn a_tenth_doubled(events: &[RawEvent], seed: u64) -> Vec<RawEvent> {
    let mut number = numbers(seed);
    let mut out: Vec<(usize, &RawEvent)> = Vec::with_capacity(events.len() * 11 / 10);
    for (i, e) in events.iter().enumerate() {
        out.push((i, e));
        if number(10) == 0 {
            out.push((i + usize::try_from(number(20)).unwrap(), e));
        }
    }
    out.sort_by_key(|(at, _)| *at);
    out.into_iter().map(|(_, e)| e.clone()).collect()
}

/// The lines for which `whose` holds come from a clock that is off by so many microseconds.
pub(crate) fn skewed(events: &[RawEvent], by: i64, whose: fn(&RawEvent) -> bool) -> Vec<RawEvent> {
    let shift = |e: &RawEvent| {
        let mut e = e.clone();
        if whose(&e) {
            e.timestamp = e.timestamp.plus(by);
            e.observed_at = e.observed_at.map(|t| t.plus(by));
        }
        e
    };
    events.iter().map(shift).collect()
}

/// Every tenth update is missing, chosen by the hash of what it says. The last one of each object stays: what is seen
/// last is how it is.
pub(crate) fn a_tenth_of_updates_lost(events: &[RawEvent]) -> Vec<RawEvent> {
    let mut last: BTreeMap<Key, usize> = BTreeMap::new();
    for (i, e) in events.iter().enumerate().filter(|(_, e)| e.kind == "ObjectModified") {
        last.insert(serde_json::from_str(e.data.get()).unwrap(), i);
    }
    let kept: BTreeSet<usize> = last.into_values().collect();
    let lost = |e: &RawEvent| {
        let digits = e.content_id().to_string();
        e.kind == "ObjectModified" && u64::from_str_radix(&digits[..8], 16).unwrap().is_multiple_of(10)
    };
    let all = events.iter().enumerate().filter(|(i, e)| kept.contains(i) || !lost(e));
    all.map(|(_, e)| e.clone()).collect()
}

/// As a collector would tell it that begins at this time: first the newest state of each object that is there, with
/// the events that the API still has and the logs that the kubelet still has; then what really followed.
pub(crate) fn begun_at(events: &[RawEvent], begin: Time) -> Vec<RawEvent> {
    let (before, after): (Vec<&RawEvent>, Vec<&RawEvent>) = events.iter().partition(|e| e.seen_at() < begin);
    let (mut objects, mut notes, mut logs) = (Newest::new(), Newest::new(), Newest::new());
    for (i, e) in before.into_iter().enumerate() {
        let key: Key = serde_json::from_str(e.data.get()).unwrap();
        match e.kind.as_str() {
            "ObjectAdded" | "ObjectModified" => {
                // The place in the list is that of the first version.
                let place = objects.get(&key).map_or(i, |(place, _)| *place);
                objects.insert(key, (place, RawEvent { kind: "ObjectAdded".to_owned(), ..e.clone() }));
            }
            "ObjectDeleted" => {
                objects.remove(&key);
                notes.remove(&key);
            }
            "Event" => {
                notes.insert(key, (i, e.clone()));
            }
            "ContainerLog" => {
                logs.insert(key, (i, e.clone()));
            }
            _ => {}
        }
    }
    let pods: BTreeSet<(String, String)> = objects
        .keys()
        .filter(|k| k.kind == "Pod")
        .map(|k| (k.metadata.namespace.clone(), k.metadata.name.clone()))
        .collect();
    logs.retain(|k, _| pods.contains(&(k.namespace.clone(), k.pod.clone())));
    let mut first: Vec<RawEvent> = Vec::new();
    for list in [objects, notes, logs] {
        let mut list: Vec<(usize, RawEvent)> = list.into_values().collect();
        list.sort_by_key(|(place, _)| *place);
        first.extend(list.into_iter().map(|(_, e)| e));
    }
    let mut at = begin.plus(-i64::try_from(first.len()).unwrap());
    for e in &mut first {
        e.timestamp = at;
        e.observed_at = None;
        at = at.plus(1);
    }
    first.extend(after.into_iter().cloned());
    first
}

/// The newest of each, with its place in the list.
type Newest = BTreeMap<Key, (usize, RawEvent)>;

/// What tells objects, events and logs apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(default)]
struct Key {
    kind: String,
    metadata: Name,
    namespace: String,
    pod: String,
    container: String,
    previous: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(default)]
struct Name {
    namespace: String,
    name: String,
}

/// Recordings joined to one: each begins five seconds after the end of the one before, with all times in it moved along.
pub(crate) fn one_after_another<'a>(recordings: impl Iterator<Item = &'a [RawEvent]>) -> Vec<RawEvent> {
    let mut out: Vec<RawEvent> = Vec::new();
    for events in recordings {
        let Some(first) = events.first() else { continue };
        let begin = out.last().map_or(first.seen_at(), |e| e.seen_at().plus(5 * SECOND));
        let by = begin.since(first.seen_at());
        out.extend(events.iter().map(|e| moved(e, by)));
    }
    out
}

/// An event with every time in it, also in its data, moved by microseconds.
fn moved(e: &RawEvent, by: i64) -> RawEvent {
    let text = serde_json::to_string(e).unwrap();
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find('Z') {
        let (head, tail) = rest.split_at(at + 1);
        // The longest ending of what was read that is a time: with or without a fraction.
        let time = [27, 24, 20].into_iter().find_map(|n| {
            let from = head.len().checked_sub(n).filter(|f| head.is_char_boundary(*f))?;
            let t = Time::parse(&head[from..]).ok().filter(|_| head.as_bytes()[from].is_ascii_digit())?;
            Some((from, t))
        });
        match time {
            Some((from, t)) => {
                out.push_str(&head[..from]);
                out.push_str(&t.plus(by).to_string());
            }
            None => out.push_str(head),
        }
        rest = tail;
    }
    out.push_str(rest);
    serde_json::from_str(&out).unwrap()
}

/// Numbers that look random and are the same in every run.
fn numbers(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    }
}
