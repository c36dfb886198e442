//! All couriers at work: one task each, on whatever runtime the caller has.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tapio_core::time::Time;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::delivery::{Courier, Note, Step};
use super::store::Outbox;

/// Longest time between two looks at the outbox: another process may have silenced something or sent it again.
const LOOK: Duration = Duration::from_millis(500);
/// Pause after the outbox itself could not be used.
const TROUBLE: Duration = Duration::from_secs(5);
/// Notes that wait to be read; the oldest go first.
const MAX_NOTES: usize = 100;

/// Where the time comes from.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// What the couriers and their owner share.
#[derive(Default)]
pub struct Dispatch {
    wake: Notify,
    notes: Mutex<Vec<Note>>,
}

impl Dispatch {
    /// Something new is in the outbox.
    pub fn wake(&self) {
        self.wake.notify_waiters();
    }

    /// What people should know, since this was asked last.
    pub fn take_notes(&self) -> Vec<Note> {
        std::mem::take(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, new: &mut Vec<Note>) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.append(new);
        let over = notes.len().saturating_sub(MAX_NOTES);
        notes.drain(..over);
    }

    /// Lets couriers work until `stop` is true or gone. What is on its way then is finished; what waits, waits for the
    /// next start. `settle`: how long couriers go on after that with what is due at once.
    pub async fn run(
        self: Arc<Self>,
        outbox: Arc<Outbox>,
        couriers: Vec<Courier>,
        clock: Clock,
        stop: watch::Receiver<bool>,
        settle: Duration,
    ) {
        let mut tasks = JoinSet::new();
        for courier in couriers {
            tasks.spawn(work(Arc::clone(&self), Arc::clone(&outbox), courier, Arc::clone(&clock), stop.clone()));
        }
        let mut stop = stop;
        loop {
            if *stop.borrow_and_update() {
                break;
            }
            if stop.changed().await.is_err() {
                break;
            }
        }
        let all = async { while tasks.join_next().await.is_some() {} };
        // Whoever hangs is not waited for: what it was sending is sent again at the next start.
        let _ = tokio::time::timeout(settle, all).await;
    }
}

async fn work(
    shared: Arc<Dispatch>,
    outbox: Arc<Outbox>,
    mut courier: Courier,
    clock: Clock,
    mut stop: watch::Receiver<bool>,
) {
    let mut broken = false;
    loop {
        // Before the look, so that what comes in during it is not slept through.
        let woken = shared.wake.notified();
        tokio::pin!(woken);
        woken.as_mut().enable();
        let mut notes = Vec::new();
        let step = courier.step(&outbox, clock(), &mut notes).await;
        shared.note(&mut notes);
        let over = *stop.borrow() || stop.has_changed().is_err();
        let pause = match step {
            Ok(Step::Worked) => {
                broken = false;
                continue;
            }
            Ok(Step::Rest(until)) => {
                broken = false;
                let left = until.map_or(i64::MAX, |at| at.since(clock()).max(0));
                LOOK.min(Duration::from_micros(u64::try_from(left).unwrap_or(0)).max(Duration::from_millis(1)))
            }
            Err(e) => {
                if !std::mem::replace(&mut broken, true) {
                    shared.note(&mut vec![Note { sink: courier.name().to_owned(), says: e.to_string() }]);
                }
                TROUBLE
            }
        };
        if over {
            return;
        }
        tokio::select! {
            _ = tokio::time::sleep(pause) => {}
            () = &mut woken => {}
            _ = stop.changed() => {}
        }
    }
}
