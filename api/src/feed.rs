//! What happens to incidents, as a ring: writers never wait, readers each keep their place.
//!
//! A reader that is slower than the ring is long has lost something and is told so; one that comes back with the id of
//! what it saw last goes on behind it. Ids name the process too, since a new process begins with an empty ring.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::Serialize;
use tapio_core::answer::Incident;
use tapio_core::time::Time;
use tapio_engine::incidents::Transition;
use tapio_graph::rules::{Finding, News};
use tokio::sync::watch;

use crate::config::ApiConfig;

/// Something that happened to an incident, or to a finding of a rule of users' own: a line of `tapio up -o json`, the
/// data of an event of the stream.
#[derive(Clone, Debug, Serialize)]
pub struct Happening<'a> {
    /// When, by the time of the stream.
    pub at: Time,
    /// `open` (since before), `opened`, `updated`, `resolved`, `merged`; of findings `firing`, `over`.
    pub transition: &'static str,
    /// The incident as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<&'a Incident>,
    /// The finding as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<&'a Finding>,
}

impl<'a> Happening<'a> {
    /// Of an incident.
    pub fn of(transition: Transition, incident: &'a Incident) -> Self {
        let transition = match transition {
            Transition::Opened => "opened",
            Transition::Updated => "updated",
            Transition::Resolved => "resolved",
            Transition::Merged => "merged",
        };
        Happening { at: incident.updated_at, transition, incident: Some(incident), finding: None }
    }

    /// Of an incident that an earlier run has left open.
    pub fn open(incident: &'a Incident) -> Self {
        Happening { at: incident.updated_at, transition: "open", incident: Some(incident), finding: None }
    }

    /// Of a finding; a rule that is off is none.
    pub fn of_rule(news: &'a News) -> Option<Self> {
        let (at, transition, finding) = match news {
            News::Opened(f) => (f.opened_at, "firing", f),
            News::Resolved(f) => (f.resolved_at.unwrap_or(f.opened_at), "over", f),
            News::Fenced(_) => return None,
        };
        Some(Happening { at, transition, incident: None, finding: Some(finding) })
    }
}

/// One of them in the ring.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) number: u64,
    pub(crate) event: &'static str,
    pub(crate) data: Bytes,
}

/// What a reader asked for is not there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost;

#[derive(Default)]
struct Ring {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    last: u64,
}

/// The ring.
pub struct Feed {
    process: String,
    max_entries: usize,
    max_bytes: usize,
    ring: Mutex<Ring>,
    last: watch::Sender<u64>,
}

impl Feed {
    /// An empty one, with the bounds of the settings.
    pub fn new(config: &ApiConfig) -> Self {
        // Tells two runs apart; it means nothing else.
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        Feed {
            process: format!("{began:x}"),
            max_entries: config.stream_events,
            max_bytes: config.stream_bytes,
            ring: Mutex::default(),
            last: watch::channel(0).0,
        }
    }

    /// Adds what happened; the oldest gives way where the ring is full.
    pub fn tell(&self, happening: &Happening) {
        let Ok(data) = serde_json::to_vec(happening) else { return };
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.last += 1;
        ring.bytes += data.len();
        let entry = Entry { number: ring.last, event: happening.transition, data: data.into() };
        ring.entries.push_back(Arc::new(entry));
        while ring.entries.len() > self.max_entries || ring.bytes > self.max_bytes {
            let Some(old) = ring.entries.pop_front() else { break };
            ring.bytes -= old.data.len();
        }
        let last = ring.last;
        drop(ring);
        self.last.send_replace(last);
    }

    /// The id of an entry on the wire.
    pub(crate) fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.process)
    }

    /// The number in an id of this process.
    pub(crate) fn number(&self, id: &str) -> Option<u64> {
        let (process, number) = id.rsplit_once('-')?;
        if process != self.process {
            return None;
        }
        number.parse().ok()
    }

    /// The number of the newest; 0 for none.
    pub(crate) fn last(&self) -> u64 {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).last
    }

    /// Told of every new one.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// At most `max` that come after a number.
    pub(crate) fn after(&self, number: u64, max: usize) -> Result<Vec<Arc<Entry>>, Lost> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let first = ring.entries.front().map_or(ring.last + 1, |e| e.number);
        if number + 1 < first || number > ring.last {
            return Err(Lost);
        }
        let skip = usize::try_from(number + 1 - first).unwrap_or(usize::MAX);
        Ok(ring.entries.iter().skip(skip).take(max).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(events: usize, bytes: usize) -> Feed {
        let feed = Feed::new(&ApiConfig { stream_events: events, stream_bytes: bytes, ..ApiConfig::default() });
        for _ in 0..5 {
            feed.tell(&Happening { at: Time::MIN, transition: "opened", incident: None, finding: None });
        }
        feed
    }

    #[test]
    fn the_ring_is_bounded_by_number_and_bytes_and_knows_what_it_lost() {
        for f in [feed(3, 1_000_000), feed(1_000, 3 * 60)] {
            let numbers = |after| f.after(after, 10).map(|l| l.iter().map(|e| e.number).collect::<Vec<_>>());
            assert_eq!(numbers(2), Ok(vec![3, 4, 5]));
            assert_eq!(numbers(4), Ok(vec![5]));
            assert_eq!(numbers(5), Ok(vec![]));
            assert_eq!(numbers(1), Err(Lost), "3 was the first that is left");
            assert_eq!(numbers(6), Err(Lost), "nobody has seen it yet");
        }
    }

    #[test]
    fn ids_of_another_process_are_none_of_ours() {
        let f = feed(3, 1_000_000);
        assert_eq!(f.number(&f.id(4)), Some(4));
        for id in
            ["", "4", "abc-4", "-", &format!("{}-x", f.process), &format!("{}-99999999999999999999999", f.process)]
        {
            assert_eq!(f.number(id), None, "{id}");
        }
    }
}
