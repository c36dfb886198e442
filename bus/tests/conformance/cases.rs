//! The promises of an event log, one function each.

use std::sync::Arc;

use tapio_core::ports::{BoxFuture, LogError, Position, Retention};
use tapio_core::time::{SECOND, Time};

use super::fixture::{Outcome, Place, check, equal, event, event_with, events, letter, payloads, positions, read_all};

type Case = for<'a> fn(&'a dyn Place) -> BoxFuture<'a, Outcome>;

/// Each promise and what proves it.
pub(crate) const CASES: &[(&str, Case)] = &[
    ("a new log is empty", |p| Box::pin(new_log_is_empty(p))),
    ("records come back in the order of their append, as they were", |p| Box::pin(order(p))),
    ("positions grow by one from 1 over batches of any size", |p| Box::pin(contiguous(p))),
    ("an empty append is fine and changes nothing", |p| Box::pin(empty_append(p))),
    ("an append answers with a position that can be read at once", |p| Box::pin(read_own_append(p))),
    ("pages of any size make the same whole", |p| Box::pin(paging(p))),
    ("reading at or beyond the end is empty", |p| Box::pin(reading_beyond(p))),
    ("append times do not lie before the append or after its answer", |p| Box::pin(append_times(p))),
    ("concurrent producers keep their own order and lose nothing", |p| Box::pin(producers(p))),
    ("unicode, control characters and odd numbers come back byte for byte", |p| Box::pin(unicode(p))),
    ("a record of 1.5 MB comes back whole", |p| Box::pin(large(p))),
    ("a batch larger than any queue is taken", |p| Box::pin(huge_batch(p))),
    ("an unknown consumer stands at 0", |p| Box::pin(unknown_consumer(p))),
    ("a cursor never moves backwards", |p| Box::pin(cursor_forwards(p))),
    ("consumers have cursors of their own", |p| Box::pin(cursors_apart(p))),
    ("all is there after opening again, and positions go on", |p| Box::pin(reopen(p))),
    ("the newest checkpoint comes back with cursor and version", |p| Box::pin(checkpoint(p))),
    ("a checkpoint commits its cursor", |p| Box::pin(checkpoint_commits(p))),
    ("a large and an empty checkpoint come back after opening again", |p| Box::pin(checkpoint_sizes(p))),
    ("retention drops by age only what is older", |p| Box::pin(retain_age(p))),
    ("retention drops by size until the rest fits", |p| Box::pin(retain_size(p))),
    ("retention without bounds drops nothing", |p| Box::pin(retain_unbounded(p))),
    ("retention drops nothing while no consumer is known", |p| Box::pin(retain_without_consumers(p))),
    ("retention keeps what the slowest consumer has not committed", |p| Box::pin(retain_slowest(p))),
    ("retention keeps what the older checkpoint needs", |p| Box::pin(retain_checkpoints(p))),
    ("a read from before the first record is gone and says where to begin", |p| Box::pin(gone(p))),
    ("positions are not used again after everything was dropped", |p| Box::pin(retain_everything(p))),
    ("a restart after retention goes on from the cursor", |p| Box::pin(retain_reopen(p))),
    ("dead letters come back, newest last", |p| Box::pin(dead_letters(p))),
    ("an excerpt is cut at 2,048 bytes and at a character", |p| Box::pin(excerpt(p))),
    ("stats count records, bytes and dead letters", |p| Box::pin(stats(p))),
];

const FOREVER: Time = Time::MAX;
const ALL: Retention = Retention { max_age_secs: 1, max_bytes: 0 };

async fn new_log_is_empty(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    let stats = log.stats().await?;
    equal((stats.first, stats.last, stats.bytes, stats.dead_letters), (Position(0), Position(0), 0, 0))?;
    equal(log.read(Position(0), 10).await?.len(), 0)?;
    equal(log.load_checkpoint("engine").await?, None)?;
    equal(log.dead_letters(10).await?, vec![])
}

async fn order(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    let sent = events(1, 50);
    equal(log.append(sent.clone()).await?, Position(50))?;
    let found = log.read(Position(0), 100).await?;
    equal(found.len(), 50)?;
    for (found, sent) in found.iter().zip(&sent) {
        equal(found.event.content_id(), sent.content_id())?;
        equal(serde_json::to_string(&found.event)?, serde_json::to_string(sent)?)?;
    }
    Ok(())
}

async fn contiguous(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    let mut sent = 0;
    for size in [1, 7, 100, 1, 1_000, 3] {
        let last = log.append(events(sent + 1, sent + size)).await?;
        sent += size;
        equal(last, Position(sent))?;
    }
    equal(positions(&read_all(&*log, Position(0), 97).await?), (1..=sent).collect())
}

async fn empty_append(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    equal(log.append(vec![]).await?, Position(0))?;
    log.append(events(1, 3)).await?;
    equal(log.append(vec![]).await?, Position(3))?;
    equal(log.stats().await?.last, Position(3))?;
    log.bury(vec![]).await?;
    equal(log.stats().await?.dead_letters, 0)
}

async fn read_own_append(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    for number in 1..=30 {
        let at = log.append(vec![event(number)]).await?;
        let found = log.read(Position(at.0 - 1), 1).await?;
        equal(payloads(&found), vec![format!(r#"{{"number":{number}}}"#)])?;
    }
    Ok(())
}

async fn paging(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    log.append(events(1, 101)).await?;
    for page in [1, 2, 100, 101, 102, usize::MAX] {
        equal(positions(&read_all(&*log, Position(0), page).await?), (1..=101).collect())?;
    }
    equal(positions(&log.read(Position(99), 1).await?), vec![100])?;
    equal(log.read(Position(0), 0).await?.len(), 0)
}

async fn reading_beyond(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    log.append(events(1, 5)).await?;
    for cursor in [5, 6, 1_000, u64::MAX] {
        equal(log.read(Position(cursor), 10).await?.len(), 0)?;
    }
    Ok(())
}

async fn append_times(place: &dyn Place) -> Outcome {
    let now = || -> Outcome<i64> {
        Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_micros().try_into()?)
    };
    let log = place.open()?;
    let before = now()?;
    log.append(events(1, 2)).await?;
    let after = now()?;
    for record in log.read(Position(0), 2).await? {
        let at = record.appended_at.micros();
        // A second of slack: a server's clock is another one.
        check((before - SECOND..=after + SECOND).contains(&at), || format!("{at} not in {before} … {after}"))?;
    }
    Ok(())
}

async fn producers(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    let threads: Vec<_> = (0..8_u64)
        .map(|producer| {
            let log = log.clone();
            std::thread::spawn(move || -> Outcome<Vec<u64>> {
                let runtime = tokio::runtime::Builder::new_current_thread().build()?;
                let mut acknowledged = Vec::new();
                for batch in 0..25_u64 {
                    let first = producer * 1_000_000 + batch * 10;
                    acknowledged.push(runtime.block_on(log.append(events(first, first + 9)))?.0);
                }
                Ok(acknowledged)
            })
        })
        .collect();
    let mut acknowledged = Vec::new();
    for thread in threads {
        let mine = thread.join().map_err(|_| "a producer panicked")??;
        check(mine.is_sorted(), || "a producer's positions are out of order".into())?;
        acknowledged.extend(mine);
    }
    let all = read_all(&*log, Position(0), 333).await?;
    equal(positions(&all), (1..=2_000).collect())?;
    let numbers: Vec<u64> = payloads(&all).iter().map(|p| p[10..p.len() - 1].parse()).collect::<Result<_, _>>()?;
    for producer in 0..8_u64 {
        let mine: Vec<u64> = numbers.iter().copied().filter(|n| n / 1_000_000 == producer).collect();
        equal(mine, (producer * 1_000_000..producer * 1_000_000 + 250).collect())?;
    }
    // A batch lies together, and its answer is the place of its last record.
    for last in acknowledged {
        let at = usize::try_from(last)?;
        let batch = &numbers[at - 10..at];
        check(batch[0].is_multiple_of(10) && batch.windows(2).all(|w| w[0] + 1 == w[1]), || {
            format!("torn: {batch:?}")
        })?;
    }
    Ok(())
}

async fn unicode(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    let odd = [
        r#"{"text":"Grüße, 世界, 🦀, \u0000 and \ud83e\udd80","empty":""}"#,
        r#"{ "spaces" : [ 1 ,  2 ], "number": 1.0, "long": 123456789012345678901234567890, "e": 1E+2 }"#,
        r#"{"double":1,"double":2}"#,
        "null",
        r#""a text""#,
        "[]",
        "{\"line\u{2028}\":\"\u{7f}\u{feff}\"}",
    ];
    log.append(odd.iter().map(|data| event_with(data)).collect()).await?;
    equal(payloads(&log.read(Position(0), 100).await?), odd.iter().map(|s| s.to_string()).collect())?;
    log.commit("Verbraucher/ü 1", Position(2)).await?;
    equal(log.committed("Verbraucher/ü 1").await?, Position(2))
}

async fn large(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    let data = format!(r#"{{"text":"{}"}}"#, "xü".repeat(500_000));
    log.append(vec![event(1), event_with(&data), event(3)]).await?;
    let found = read_all(&*log, Position(0), 10).await?;
    equal(positions(&found), vec![1, 2, 3])?;
    check(payloads(&found)[1] == data, || "the large record came back changed".into())
}

async fn huge_batch(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    let data = format!(r#"{{"text":"{}"}}"#, "x".repeat(900_000));
    equal(log.append((0..40).map(|_| event_with(&data)).collect()).await?, Position(40))?;
    equal(positions(&read_all(&*log, Position(0), 100).await?), (1..=40).collect())
}

async fn unknown_consumer(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    log.append(events(1, 3)).await?;
    equal(log.committed("engine").await?, Position(0))
}

async fn cursor_forwards(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    log.append(events(1, 10)).await?;
    for (commit, expected) in [(4, 4), (2, 4), (0, 4), (4, 4), (10, 10), (9, 10)] {
        log.commit("engine", Position(commit)).await?;
        equal(log.committed("engine").await?, Position(expected))?;
    }
    Ok(())
}

async fn cursors_apart(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    log.append(events(1, 10)).await?;
    log.commit("engine", Position(7)).await?;
    log.commit("history", Position(3)).await?;
    equal((log.committed("engine").await?, log.committed("history").await?), (Position(7), Position(3)))
}

async fn reopen(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    log.append(events(1, 20)).await?;
    log.commit("engine", Position(12)).await?;
    log.bury(vec![letter(1)]).await?;
    drop(log);
    let log = place.open()?;
    equal(log.committed("engine").await?, Position(12))?;
    equal(log.dead_letters(5).await?, vec![letter(1)])?;
    equal(log.append(events(21, 22)).await?, Position(22))?;
    equal(positions(&read_all(&*log, Position(12), 4).await?), (13..=22).collect())
}

async fn checkpoint(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    log.append(events(1, 10)).await?;
    log.save_checkpoint("engine", Position(3), 1, b"three".to_vec()).await?;
    log.save_checkpoint("engine", Position(5), 2, b"five".to_vec()).await?;
    log.save_checkpoint("other", Position(9), 7, b"nine".to_vec()).await?;
    equal(log.load_checkpoint("engine").await?, Some((Position(5), 2, b"five".to_vec())))?;
    log.save_checkpoint("engine", Position(5), 3, b"five again".to_vec()).await?;
    equal(log.load_checkpoint("engine").await?, Some((Position(5), 3, b"five again".to_vec())))?;
    equal(log.load_checkpoint("other").await?, Some((Position(9), 7, b"nine".to_vec())))?;
    equal(log.load_checkpoint("nobody").await?, None)
}

async fn checkpoint_commits(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    log.append(events(1, 10)).await?;
    log.save_checkpoint("engine", Position(6), 1, vec![1]).await?;
    equal(log.committed("engine").await?, Position(6))?;
    log.commit("engine", Position(8)).await?;
    log.save_checkpoint("engine", Position(7), 1, vec![2]).await?;
    equal(log.committed("engine").await?, Position(8))?;
    equal(log.load_checkpoint("engine").await?, Some((Position(7), 1, vec![2])))
}

async fn checkpoint_sizes(place: &dyn Place) -> Outcome {
    let state: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    let log = place.open()?;
    log.append(events(1, 2)).await?;
    log.save_checkpoint("large", Position(2), u32::MAX, state.clone()).await?;
    log.save_checkpoint("empty", Position(0), 0, vec![]).await?;
    drop(log);
    let log = place.open()?;
    check(log.load_checkpoint("large").await? == Some((Position(2), u32::MAX, state)), || "changed".into())?;
    equal(log.load_checkpoint("empty").await?, Some((Position(0), 0, vec![])))
}

async fn retain_age(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    log.append(events(1, 10)).await?;
    log.commit("engine", Position(10)).await?;
    let appended = log.read(Position(9), 1).await?[0].appended_at;
    let hour = Retention { max_age_secs: 3_600, max_bytes: 0 };
    equal(log.retain(hour, Time::from_micros(appended.micros() + 3_000 * SECOND)).await?, 0)?;
    equal(log.stats().await?.first, Position(1))?;
    equal(log.retain(hour, Time::from_micros(appended.micros() + 3_700 * SECOND)).await?, 10)?;
    equal(log.stats().await?.bytes, 0)
}

async fn retain_size(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    let sized = event_with(&format!(r#"{{"text":"{}"}}"#, "x".repeat(10_000)));
    for _ in 0..30 {
        log.append(vec![sized.clone()]).await?;
    }
    log.commit("engine", Position(30)).await?;
    let retention = Retention { max_age_secs: 0, max_bytes: 105_000 };
    let dropped = log.retain(retention, FOREVER).await?;
    let stats = log.stats().await?;
    check(stats.bytes <= 105_000 && stats.bytes > 80_000, || format!("{} bytes are left", stats.bytes))?;
    equal((stats.first.0, stats.last.0), (dropped + 1, 30))?;
    equal(log.retain(retention, FOREVER).await?, 0)
}

async fn retain_unbounded(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    log.append(events(1, 10)).await?;
    log.commit("engine", Position(10)).await?;
    equal(log.retain(Retention { max_age_secs: 0, max_bytes: 0 }, FOREVER).await?, 0)
}

async fn retain_without_consumers(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    log.append(events(1, 10)).await?;
    equal(log.retain(ALL, FOREVER).await?, 0)?;
    log.commit("engine", Position(0)).await?;
    equal(log.retain(ALL, FOREVER).await?, 0)
}

async fn retain_slowest(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    log.append(events(1, 100)).await?;
    log.commit("engine", Position(80)).await?;
    log.commit("history", Position(30)).await?;
    equal(log.retain(ALL, FOREVER).await?, 30)?;
    equal(positions(&read_all(&*log, Position(30), 50).await?), (31..=100).collect())?;
    equal(log.retain(Retention { max_age_secs: 0, max_bytes: 1 }, FOREVER).await?, 0)?;
    log.commit("history", Position(90)).await?;
    equal(log.retain(Retention { max_age_secs: 0, max_bytes: 1 }, FOREVER).await?, 50)
}

async fn retain_checkpoints(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    log.append(events(1, 100)).await?;
    for cursor in [10, 20, 40] {
        log.save_checkpoint("engine", Position(cursor), 1, vec![1]).await?;
    }
    log.commit("engine", Position(100)).await?;
    // The one at 10 is not kept any more, the one at 20 is what recovery may have to fall back on.
    equal(log.retain(ALL, FOREVER).await?, 20)?;
    equal(log.read(Position(20), 1).await?[0].position, Position(21))
}

async fn gone(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    log.append(events(1, 100)).await?;
    log.commit("engine", Position(60)).await?;
    log.retain(ALL, FOREVER).await?;
    for cursor in [0, 1, 59] {
        match log.read(Position(cursor), 10).await {
            Err(LogError::Gone { asked, first, .. }) => equal((asked, first), (cursor + 1, 61))?,
            other => return Err(format!("read from {cursor}: {other:?}").into()),
        }
    }
    equal(log.stats().await?.first, Position(61))?;
    equal(log.read(Position(60), 1).await?[0].position, Position(61))
}

async fn retain_everything(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    log.append(events(1, 10)).await?;
    log.commit("engine", Position(10)).await?;
    equal(log.retain(ALL, FOREVER).await?, 10)?;
    let stats = log.stats().await?;
    equal((stats.first, stats.last, stats.bytes), (Position(0), Position(10), 0))?;
    equal(log.read(Position(10), 10).await?.len(), 0)?;
    check(matches!(log.read(Position(0), 10).await, Err(LogError::Gone { .. })), || "not gone".into())?;
    drop(log);
    let log = place.open()?;
    equal(log.append(events(11, 12)).await?, Position(12))?;
    equal(positions(&log.read(Position(10), 10).await?), vec![11, 12])
}

async fn retain_reopen(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    log.append(events(1, 50)).await?;
    log.save_checkpoint("engine", Position(30), 1, b"thirty".to_vec()).await?;
    log.retain(ALL, FOREVER).await?;
    drop(log);
    let log = place.open()?;
    let (cursor, _, _) = log.load_checkpoint("engine").await?.ok_or("no checkpoint")?;
    equal(positions(&read_all(&*log, cursor, 7).await?), (31..=50).collect())
}

async fn dead_letters(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    log.bury((1..=3).map(letter).collect()).await?;
    log.bury((4..=5).map(letter).collect()).await?;
    equal(log.dead_letters(100).await?, (1..=5).map(letter).collect())?;
    equal(log.dead_letters(2).await?, (4..=5).map(letter).collect())?;
    equal(log.dead_letters(0).await?, vec![])?;
    equal(log.dead_letters(usize::MAX).await?.len(), 5)
}

async fn excerpt(place: &dyn Place) -> Outcome {
    let log = place.open()?;
    let mut long = letter(1);
    long.excerpt = format!("x{}", "ü".repeat(5_000));
    log.bury(vec![long]).await?;
    let found = log.dead_letters(1).await?.remove(0).excerpt;
    equal(found, format!("x{}", "ü".repeat(1_023)))
}

async fn stats(place: &dyn Place) -> Outcome {
    let log = Arc::clone(&place.open()?);
    log.append(events(1, 10)).await?;
    let ten = log.stats().await?;
    equal((ten.first, ten.last), (Position(1), Position(10)))?;
    check(ten.bytes > 0, || "no bytes".into())?;
    log.append(events(1, 10)).await?;
    log.bury(vec![letter(1), letter(2)]).await?;
    let twenty = log.stats().await?;
    equal((twenty.last, twenty.bytes, twenty.dead_letters), (Position(20), 2 * ten.bytes, 2))
}
