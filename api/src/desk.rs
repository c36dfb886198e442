//! Questions to the engine. It belongs to one thread; others put a question on the desk, and that thread answers it
//! between two batches.
//!
//! The queue is bounded and every question has a time limit, so a busy engine means a refusal and never a hang. A
//! question that falls over costs its asker the answer and nobody else anything.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tapio_core::time::Time;
use tapio_engine::EventProcessor;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::config::ApiConfig;

/// Why there is no answer; each variant is what the asker must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// Ask again soon: too many wait already.
    #[error("too many questions wait for the engine")]
    Full,
    /// Ask again soon: it was at work all the time.
    #[error("the engine was at work for too long")]
    Late,
    /// It is gone: the process ends.
    #[error("the engine has ended")]
    Gone,
    /// The question fell over: report it.
    #[error("the question failed by a defect")]
    Defect,
}

struct Asked {
    until: Instant,
    work: Box<dyn FnOnce(&EventProcessor) + Send>,
}

/// What is known without asking.
struct Known {
    newest: AtomicI64,
    /// Milliseconds after `begun` at which the engine's thread came by last.
    seen: AtomicU64,
    begun: Instant,
}

/// The askers' side.
#[derive(Clone)]
pub struct Reader {
    questions: mpsc::Sender<Asked>,
    bell: Arc<Notify>,
    patience: Duration,
    known: Arc<Known>,
}

/// The side of the engine's thread.
pub struct Desk {
    questions: mpsc::Receiver<Asked>,
    known: Arc<Known>,
}

/// Both sides. `bell` is rung at every question, for a thread that would otherwise sleep.
pub fn desk(config: &ApiConfig, bell: Arc<Notify>) -> (Reader, Desk) {
    let (ask, questions) = mpsc::channel(config.engine_queue);
    let newest = AtomicI64::new(Time::MIN.micros());
    let known = Arc::new(Known { newest, seen: AtomicU64::new(0), begun: Instant::now() });
    let patience = Duration::from_millis(config.engine_timeout_millis);
    (Reader { questions: ask, bell, patience, known: Arc::clone(&known) }, Desk { questions, known })
}

impl Reader {
    /// Asks, and waits for the answer as long as the settings allow. The question runs on the engine's thread, so it
    /// should take what it needs and leave the rest to the asker.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&EventProcessor) -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        let (reply, answer) = oneshot::channel();
        let work = move |engine: &EventProcessor| {
            // Nobody waits any more where the asker has gone.
            if !reply.is_closed() {
                let _ = reply.send(question(engine));
            }
        };
        let asked = Asked { until: Instant::now() + self.patience, work: Box::new(work) };
        self.questions.try_send(asked).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => Unanswered::Full,
            mpsc::error::TrySendError::Closed(_) => Unanswered::Gone,
        })?;
        self.bell.notify_one();
        match tokio::time::timeout(self.patience, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) if self.questions.is_closed() => Err(Unanswered::Gone),
            Ok(Err(_)) => Err(Unanswered::Defect),
            Err(_) => Err(Unanswered::Late),
        }
    }

    /// The newest time of the stream when the engine's thread came by last; none before anything was seen.
    pub fn newest(&self) -> Option<Time> {
        Some(Time::from_micros(self.known.newest.load(Ordering::Relaxed))).filter(|t| *t > Time::MIN)
    }

    /// How long ago the engine's thread came by.
    pub fn silence(&self) -> Duration {
        let seen = Duration::from_millis(self.known.seen.load(Ordering::Relaxed));
        self.known.begun.elapsed().saturating_sub(seen)
    }

    /// Questions that wait.
    pub fn waiting(&self) -> usize {
        self.questions.max_capacity() - self.questions.capacity()
    }
}

impl Desk {
    /// Answers what waits; no new one is begun after `budget`.
    pub fn serve(&mut self, engine: &EventProcessor, budget: Duration) {
        self.known.newest.store(engine.newest().micros(), Ordering::Relaxed);
        let begun = Instant::now();
        let now = u64::try_from(self.known.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.known.seen.store(now, Ordering::Relaxed);
        while let Ok(asked) = self.questions.try_recv() {
            if asked.until > Instant::now() {
                // Its reply goes with it, by which the asker knows.
                let _ = catch_unwind(AssertUnwindSafe(|| (asked.work)(engine)));
            }
            if begun.elapsed() >= budget {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapio_engine::EngineConfig;

    fn config(queue: usize, millis: u64) -> ApiConfig {
        ApiConfig { engine_queue: queue, engine_timeout_millis: millis, ..ApiConfig::default() }
    }

    #[tokio::test]
    async fn an_idle_engine_answers_a_busy_one_is_not_waited_for() {
        let (reader, mut desk) = desk(&config(1, 50), Arc::new(Notify::new()));
        assert_eq!(reader.ask(|_| 1).await, Err(Unanswered::Late));
        // The one that nobody waits for still holds its place.
        assert_eq!(reader.ask(|_| 2).await, Err(Unanswered::Full));
        let engine = EventProcessor::new(EngineConfig::default());
        desk.serve(&engine, Duration::from_secs(1));
        let asked = reader.ask(|e| e.size());
        let served = async {
            tokio::task::yield_now().await;
            desk.serve(&engine, Duration::from_secs(1));
        };
        assert_eq!(tokio::join!(asked, served).0, Ok((0, 0, 0)));
        drop(desk);
        assert_eq!(reader.ask(|_| 3).await, Err(Unanswered::Gone));
    }

    #[tokio::test]
    async fn a_question_that_falls_over_costs_its_asker_alone() {
        let (reader, mut desk) = desk(&config(8, 5_000), Arc::new(Notify::new()));
        let engine = EventProcessor::new(EngineConfig::default());
        let bad = reader.ask(|_| -> u8 { panic!("as a test") });
        let good = reader.ask(|_| 7);
        let served = async {
            tokio::task::yield_now().await;
            desk.serve(&engine, Duration::from_secs(1));
        };
        let (bad, good, ()) = tokio::join!(bad, good, served);
        assert_eq!((bad, good), (Err(Unanswered::Defect), Ok(7)));
    }
}
