//! Which parts are ready, and which do their work only in part.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use utoipa::ToSchema;

/// How a part stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PartState {
    /// It does its work.
    Ready,
    /// It does its work without something that it should have.
    Degraded,
    /// Answers would not hold yet, or not any more.
    NotReady,
}

/// A part of the whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Part {
    /// Its name: `engine`, `API server`, `first lists`, a kind that is watched.
    pub part: String,
    /// How it stands.
    pub state: PartState,
    /// Why, where it is not simply ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    pub why: Option<String>,
}

impl Part {
    /// One that does its work.
    pub fn ready(part: impl Into<String>) -> Self {
        Part { part: part.into(), state: PartState::Ready, why: None }
    }

    /// One that lacks something.
    pub fn degraded(part: impl Into<String>, why: impl Into<String>) -> Self {
        Part { part: part.into(), state: PartState::Degraded, why: Some(why.into()) }
    }

    /// One that is not ready.
    pub fn not_ready(part: impl Into<String>, why: impl Into<String>) -> Self {
        Part { part: part.into(), state: PartState::NotReady, why: Some(why.into()) }
    }
}

/// The whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Readiness {
    /// Whether every part is ready, in part at least.
    pub ready: bool,
    /// Every part, those that are not ready first.
    pub parts: Vec<Part>,
}

impl Readiness {
    /// Of parts.
    pub fn of(mut parts: Vec<Part>) -> Self {
        parts.sort_by(|a, b| (std::cmp::Reverse(a.state), &a.part).cmp(&(std::cmp::Reverse(b.state), &b.part)));
        Readiness { ready: parts.iter().all(|p| p.state != PartState::NotReady), parts }
    }
}

/// The parts as those who wire them up have seen them last.
#[derive(Default)]
pub struct Health(Mutex<BTreeMap<&'static str, Vec<Part>>>);

impl Health {
    /// Replaces all that one of them told; `by`: who.
    pub fn set(&self, by: &'static str, parts: Vec<Part>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(by, parts);
    }

    /// All.
    pub fn parts(&self) -> Vec<Part> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().flatten().cloned().collect()
    }
}
