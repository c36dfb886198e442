//! How long it takes to say what an event means, beside merely reading its JSON into a tree.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tapio_core::event::{CATALOG, Nothing, normalise};
use tapio_core::raw::RawEvent;

fn bench(c: &mut Criterion) {
    for doc in CATALOG {
        let Some(sample) = doc.samples.first() else { continue };
        let Ok(raw) = serde_json::from_str::<RawEvent>(sample) else { continue };
        let mut group = c.benchmark_group(doc.raw_type.split(',').next().unwrap_or_default());
        group.throughput(Throughput::Bytes(sample.len() as u64));
        group.bench_function("value", |b| {
            b.iter(|| serde_json::from_str::<serde_json::Value>(black_box(sample)).map(|v| v.is_object()));
        });
        group.bench_function("normalise", |b| {
            b.iter(|| normalise(black_box(&raw), &Nothing).map(|n| n.events.len()));
        });
        group.bench_function("read_and_normalise", |b| {
            b.iter(|| {
                let raw = serde_json::from_str::<RawEvent>(black_box(sample));
                raw.map(|raw| normalise(&raw, &Nothing).map(|n| n.events.len()))
            });
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_millis(600));
    targets = bench
}
criterion_main!(benches);
