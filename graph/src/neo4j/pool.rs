//! Connections: few, each with an end; and the breaker that keeps people from waiting for a server that is away.
//!
//! The driver's own pool takes a connection back with whatever is under way on it, and its locks on the server stay.
//! So each connection here is a driver of its own with a pool of one, lent to one piece of work at a time: what ended
//! cleanly is given back ([`Lease::keep`]), all else is closed, whereupon the server rolls back and lets go.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use neo4rs::{Config, Graph};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::fault::Fault;

/// How long nobody but the writer tries a server that was away.
const OPEN: Duration = Duration::from_secs(2);

/// Connections that are lent out.
pub(super) struct Pool {
    config: Config,
    permits: Semaphore,
    idle: Mutex<Vec<Graph>>,
}

impl Pool {
    pub(super) fn new(config: Config, size: usize) -> Self {
        Pool { config, permits: Semaphore::new(size.max(1)), idle: Mutex::new(Vec::new()) }
    }

    /// A connection, when one is free; it is opened by the first thing asked of it.
    pub(super) async fn lease(&self) -> Result<Lease<'_>, Fault> {
        let permit = self.permits.acquire().await.map_err(|_| Fault::Other("the store is closed".to_owned()))?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let graph = match idle {
            Some(graph) => graph,
            None => Graph::connect(self.config.clone()).map_err(Fault::of)?,
        };
        Ok(Lease { pool: self, graph, _permit: permit })
    }
}

/// A connection on loan; dropped, it is closed.
pub(super) struct Lease<'a> {
    pool: &'a Pool,
    graph: Graph,
    _permit: SemaphorePermit<'a>,
}

impl Lease<'_> {
    pub(super) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Gives the connection back for others.
    pub(super) fn keep(self) {
        self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.graph);
    }
}

/// Remembers that the server is away.
#[derive(Default)]
pub(super) struct Breaker(Mutex<Option<(Instant, String)>>);

impl Breaker {
    /// Notes how something ended.
    pub(super) fn note<T>(&self, ended: &Result<T, Fault>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = match ended {
            Err(Fault::Away(why)) => Some((Instant::now() + OPEN, why.clone())),
            _ => None,
        };
    }

    /// Fails at once while the server was away a moment ago.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*state {
            Some((until, why)) if Instant::now() < *until => {
                Err(Fault::Away(format!("{why}; it is asked again in {} s at the latest", OPEN.as_secs())))
            }
            _ => Ok(()),
        }
    }
}

/// Waits between attempts: twice as long each time, within bounds, and never in step with others.
pub(super) struct Backoff {
    next: Duration,
    end: Instant,
}

impl Backoff {
    const MOST: Duration = Duration::from_secs(2);

    pub(super) fn new(patience: Duration) -> Self {
        Backoff { next: Duration::from_millis(20), end: Instant::now() + patience }
    }

    /// Waits; false when the patience is at its end.
    pub(super) async fn wait(&mut self) -> bool {
        use std::hash::{BuildHasher, RandomState};
        // The hasher's seed is the only dice of the standard library.
        let dice = RandomState::new().hash_one(()) % 512;
        let wait = self.next.mul_f64(0.5 + dice as f64 / 512.0);
        if Instant::now() + wait > self.end {
            return false;
        }
        tokio::time::sleep(wait).await;
        self.next = (self.next * 2).min(Self::MOST);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_breaker_opens_for_what_is_away_and_closes_on_an_answer() {
        let breaker = Breaker::default();
        breaker.note::<()>(&Err(Fault::Busy("x".to_owned())));
        assert!(breaker.check().is_ok());
        breaker.note::<()>(&Err(Fault::Away("gone".to_owned())));
        assert!(matches!(breaker.check(), Err(Fault::Away(why)) if why.starts_with("gone")));
        breaker.note(&Ok(()));
        assert!(breaker.check().is_ok());
    }

    #[tokio::test]
    async fn waiting_ends() {
        let mut backoff = Backoff::new(Duration::from_millis(100));
        let begun = Instant::now();
        let mut times = 0;
        while backoff.wait().await {
            times += 1;
        }
        assert!((1..=10).contains(&times) && begun.elapsed() < Duration::from_secs(10), "{times}");
    }
}
