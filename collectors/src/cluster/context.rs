//! What all followers share.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tapio_core::time::Time;
use tokio::sync::{Semaphore, watch};

use super::config::{ClusterConfig, Timing};
use super::kinds::{Form, Scope};
use super::outlet::Outlet;
use super::state::State;
use crate::log_desk::{LogDesk, Want, failing};
use crate::redaction::Redaction;

/// What all followers share.
pub(crate) struct Context {
    pub(crate) state: Arc<State>,
    pub(crate) config: ClusterConfig,
    pub(crate) timing: Timing,
    pub(crate) redaction: Redaction,
    pub(crate) outlet: Outlet,
    /// Turns to list.
    pub(crate) lists: Semaphore,
    pub(crate) sync: Sync,
    pub(crate) pulse: Pulse,
    pub(crate) logs: Option<LogDesk>,
    pub(crate) dice: RandomState,
}

impl Context {
    /// A time of this machine, as the server's clock would have shown it.
    pub(crate) fn server_time(&self, ours: Time) -> Time {
        ours.plus(self.state.connection.clock_ahead())
    }

    /// A duration, longer by up to a quarter: what began together must not go on so.
    pub(crate) fn jittered(&self, duration: Duration, who: &str) -> Duration {
        let mut h = self.dice.build_hasher();
        h.write(who.as_bytes());
        h.write_u32(Instant::now().elapsed().subsec_nanos());
        h.write_u128(super::stamp::now().micros().unsigned_abs().into());
        let part = u32::try_from(h.finish() % 256).unwrap_or(0);
        duration + duration * part / 1_024
    }

    /// The logs that a pod's status makes worth reading.
    pub(crate) fn failing(&self, json: &str) -> Vec<Want> {
        if self.logs.is_some() { failing(json) } else { Vec::new() }
    }

    pub(crate) fn read_logs(&self, wants: Vec<Want>) {
        if let Some(desk) = self.logs.as_ref().filter(|_| !wants.is_empty()) {
            desk.ask(wants, &self.state.counts.logs_dropped);
        }
    }

    /// A pod is gone, and so are its logs.
    pub(crate) fn forget_logs(&self, scope: &Scope, uid: &str) {
        if let Some(desk) = self.logs.as_ref().filter(|_| scope.form == Form::Pod) {
            desk.forget(uid);
        }
    }
}

/// The first lists of all kinds: what comes later waits for them.
pub(crate) struct Sync {
    waiting: Mutex<Option<BTreeSet<String>>>,
    left: watch::Sender<usize>,
    open: watch::Sender<bool>,
}

impl Sync {
    /// Waits for these.
    pub(crate) fn of(names: BTreeSet<String>) -> Self {
        let left = watch::channel(names.len()).0;
        Sync { waiting: Mutex::new(Some(names)), left, open: watch::channel(false).0 }
    }

    /// One has its list, or will have none for now.
    pub(crate) fn arrive(&self, name: &str) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(names) = waiting.as_mut().filter(|n| n.contains(name)) {
            names.remove(name);
            self.left.send_replace(names.len());
        }
    }

    /// Waits until all have arrived.
    pub(crate) async fn complete(&self) {
        let mut left = self.left.subscribe();
        let _ = left.wait_for(|n| *n == 0).await;
    }

    /// Lets everybody go on.
    pub(crate) fn open(&self) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.open.send_replace(true);
    }

    /// Waits until it is open.
    pub(crate) async fn opened(&self) {
        let mut open = self.open.subscribe();
        let _ = open.wait_for(|o| *o).await;
    }
}

/// When leases were last heard of.
#[derive(Default)]
pub(crate) struct Pulse(Mutex<Option<Instant>>);

impl Pulse {
    pub(crate) fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// How long there was none; nothing where there never was one.
    pub(crate) fn silence(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed())
    }
}
