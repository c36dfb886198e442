//! How the kubelet collector stands: which of the kubelet's answers come, what was counted, what people should know.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::feed::Notes;
use crate::remarks::Remarks;

/// What is asked of a kubelet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// `/pods`: status of the node's pods.
    Pods,
    /// `/stats/summary`: what pods and node use.
    Stats,
    /// `/metrics/probes`: how often probes failed.
    Probes,
    /// `/metrics/cadvisor`: how often containers were held back.
    Throttling,
    /// `/healthz`: whether it is well, and how long it takes to say so.
    Health,
    /// `/logs/pods/`, or the folder: last lines of failing containers.
    Logs,
}

impl Topic {
    /// Where it is asked.
    pub const fn path(self) -> &'static str {
        match self {
            Topic::Pods => "/pods",
            Topic::Stats => "/stats/summary",
            Topic::Probes => "/metrics/probes",
            Topic::Throttling => "/metrics/cadvisor",
            Topic::Health => "/healthz",
            Topic::Logs => "/logs/pods/",
        }
    }

    /// The right that it needs, as `get` on `nodes/…`.
    pub const fn right(self) -> &'static str {
        match self {
            Topic::Pods => "nodes/pods",
            Topic::Stats => "nodes/stats",
            Topic::Probes | Topic::Throttling => "nodes/metrics",
            Topic::Health => "nodes/healthz",
            Topic::Logs => "nodes/log",
        }
    }

    /// What cannot be told without it.
    pub const fn without(self) -> &'static str {
        match self {
            Topic::Pods => "pods' status from the node itself, also while the API server is away",
            Topic::Stats => "what pods and nodes use: memory, CPU, disk, processes, pressure",
            Topic::Probes => "failed probes beyond those that Events tell",
            Topic::Throttling => "containers that their CPU limit holds back",
            Topic::Health => "a kubelet that is ill, before its node is given up",
            Topic::Logs => "logs of failing containers while the API server is away",
        }
    }

    /// Kubelets before 1.33 know no right of its own for it, and want `nodes/proxy`.
    pub const fn is_fine_grained(self) -> bool {
        matches!(self, Topic::Pods | Topic::Health)
    }
}

/// How it stands with one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum TopicState {
    /// Not asked yet.
    Waiting,
    /// It answers.
    Answered,
    /// Not allowed: asked again slowly.
    Forbidden {
        /// The kubelet's words.
        why: String,
    },
    /// This kubelet does not have it: asked again slowly.
    NotServed {
        /// The kubelet's words.
        why: String,
    },
    /// It fails: asked again with growing pauses.
    Failing {
        /// Why.
        why: String,
    },
}

/// What was counted; each grows only.
#[derive(Debug, Default)]
pub struct Counts {
    /// Events in the sink.
    pub events: AtomicU64,
    /// Input that could not be used.
    pub dead_letters: AtomicU64,
    /// Answers that were read to their end.
    pub answers: AtomicU64,
    /// Bytes of all answers.
    pub bytes: AtomicU64,
    /// Pods and uses of pods that could not be read, or were too large.
    pub skipped: AtomicU64,
    /// Logs that were read.
    pub logs: AtomicU64,
    /// Logs that were not read because too many failed at once.
    pub logs_dropped: AtomicU64,
}

/// How the collector stands.
#[derive(Default)]
pub struct State {
    /// What was counted.
    pub counts: Counts,
    topics: Mutex<BTreeMap<Topic, TopicState>>,
    notes: Remarks,
}

impl State {
    /// Everything that is asked, with how it stands.
    pub fn topics(&self) -> BTreeMap<Topic, TopicState> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How one of them stands.
    pub fn topic(&self, topic: Topic) -> TopicState {
        self.topics().get(&topic).cloned().unwrap_or(TopicState::Waiting)
    }

    /// Whether the node is seen: its pods, or at least what they use.
    pub fn is_seeing(&self) -> bool {
        let topics = self.topics();
        let answered = |t| topics.get(&t) == Some(&TopicState::Answered);
        let pods_refused =
            matches!(topics.get(&Topic::Pods), Some(TopicState::Forbidden { .. } | TopicState::NotServed { .. }));
        answered(Topic::Pods) || (pods_refused && answered(Topic::Stats))
    }

    /// Takes the remarks since the last time.
    pub fn take_notes(&self) -> Vec<String> {
        self.notes.take()
    }

    /// Notes how a topic stands; what people should know becomes a remark. Whether that is new.
    pub(super) fn set(&self, topic: Topic, new: TopicState) -> bool {
        let old = self.topics.lock().unwrap_or_else(PoisonError::into_inner).insert(topic, new.clone());
        if old.as_ref() == Some(&new) {
            return false;
        }
        let path = topic.path();
        let was_ill = matches!(
            old,
            Some(TopicState::Forbidden { .. } | TopicState::NotServed { .. } | TopicState::Failing { .. })
        );
        let was_failing = matches!(old, Some(TopicState::Failing { .. }));
        match new {
            TopicState::Forbidden { why } => {
                let old_kubelet =
                    if topic.is_fine_grained() { "; kubelets before 1.33 know no such right" } else { "" };
                let right = topic.right();
                self.note(format!(
                    "the kubelet refuses {path}, going on without {}: {why} (get on {right} allows it{old_kubelet})",
                    topic.without()
                ));
            }
            TopicState::NotServed { why } => {
                self.note(format!("the kubelet has no {path}, going on without {}: {why}", topic.without()));
            }
            TopicState::Failing { why } if !was_failing => {
                self.note(format!("{path} of the kubelet cannot be read for now: {why}"));
            }
            TopicState::Answered if was_ill => self.note(format!("{path} of the kubelet is read again")),
            _ => {}
        }
        !was_failing
    }
}

impl Notes for State {
    fn note(&self, text: String) {
        self.notes.add(text);
    }

    fn counts(&self) -> (&AtomicU64, &AtomicU64) {
        (&self.counts.events, &self.counts.dead_letters)
    }
}
