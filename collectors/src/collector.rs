//! The port of whatever watches a living source: it runs until it is told to stop, and writes into a sink.

use tapio_core::ports::{BoxFuture, LogError, Position};
use tapio_core::raw::{DeadLetter, RawEvent};

use crate::cluster::{ClusterCollector, Sink};
use crate::cni::CniCollector;
use crate::kubelet::KubeletCollector;

/// A living source.
///
/// What a collector has taken in is in the sink when it ends. It ends early only where the sink cannot be written any
/// more: whatever is wrong with the source becomes a fact and a remark, and the collector goes on.
pub trait Collector: Send {
    /// The word in `source` of its events.
    fn source(&self) -> &'static str;

    /// Collects until `stop` is done.
    ///
    /// # Errors
    /// The sink cannot be written any more.
    fn run(
        self: Box<Self>,
        sink: Box<dyn Sink>,
        stop: BoxFuture<'static, ()>,
    ) -> BoxFuture<'static, Result<(), LogError>>;
}

impl Sink for Box<dyn Sink> {
    fn append(&mut self, events: Vec<RawEvent>) -> BoxFuture<'_, Result<Position, LogError>> {
        (**self).append(events)
    }

    fn bury(&mut self, letters: Vec<DeadLetter>) -> BoxFuture<'_, Result<(), LogError>> {
        (**self).bury(letters)
    }

    fn remember(&mut self, cursor: Position, version: u32, state: Vec<u8>) -> BoxFuture<'_, Result<(), LogError>> {
        (**self).remember(cursor, version, state)
    }
}

macro_rules! collectors {
    ($($collector:ty: $source:ident,)*) => {$(
        impl Collector for $collector {
            fn source(&self) -> &'static str {
                tapio_core::raw::source::$source
            }

            fn run(
                self: Box<Self>,
                sink: Box<dyn Sink>,
                stop: BoxFuture<'static, ()>,
            ) -> BoxFuture<'static, Result<(), LogError>> {
                Box::pin((*self).run(sink, stop))
            }
        }
    )*};
}

collectors! {
    ClusterCollector: CLUSTER,
    KubeletCollector: KUBELET,
    CniCollector: CNI,
}
