//! Killing the process: nothing that was acknowledged is lost, nothing is there by half.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tapio_core::ports::{EventLog, Position};

use super::fixture::*;

const ROUNDS: usize = 5;

#[test]
#[ignore = "the child of a test; it is killed"]
fn appends_until_it_is_killed() {
    let log = open(&child_log());
    println!();
    let round = std::process::id();
    std::thread::scope(|scope| {
        for producer in 0..3_usize {
            let log = &log;
            scope.spawn(move || {
                for batch in 0_u64.. {
                    let size = [1, 17, 400][producer];
                    let records = (0..size)
                        .map(|index| {
                            event(&format!(r#"{{"batch":"{round}/{producer}/{batch}","index":{index},"of":{size}}}"#))
                        })
                        .collect();
                    let last = wait(log.append(records)).unwrap().0;
                    say(&format!("appended {round}/{producer}/{batch} {last}"));
                    if producer == 0 && batch % 5 == 0 {
                        wait(log.commit("engine", Position(last))).unwrap();
                        say(&format!("committed engine {last}"));
                    }
                    if producer == 1 && batch % 5 == 0 {
                        wait(log.save_checkpoint("saver", Position(last), 1, vec![7; 200_000])).unwrap();
                        say(&format!("saved saver {last}"));
                    }
                }
            });
        }
    });
}

/// One whole line, through the lock of standard output.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).unwrap();
}

#[test]
fn what_was_acknowledged_is_there_after_kill_9_and_no_batch_is_torn() {
    let (_folder, path) = place();
    let mut acknowledged = BTreeMap::new();
    let (mut committed, mut saved) = (0, 0);
    for round in 0..ROUNDS {
        for (what, name, position) in run_and_kill(&path, Duration::from_millis(150 + 130 * round as u64)) {
            match what.as_str() {
                "appended" => drop(acknowledged.insert(name, position)),
                "committed" => committed = committed.max(position),
                "saved" => saved = saved.max(position),
                other => panic!("the child said {other}"),
            }
        }
        verify(&path, &acknowledged, committed, saved);
    }
    assert!(acknowledged.len() > 5 * ROUNDS, "only {} batches were acknowledged", acknowledged.len());
    assert!(committed > 0 && saved > 0);
}

/// What the child said it had done, before it was killed after `time` of work.
fn run_and_kill(path: &Path, time: Duration) -> Vec<(String, String, u64)> {
    let mut child = child("crash::appends_until_it_is_killed", path).stdout(Stdio::piped()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let mut said = Vec::new();
    let mut killer = None;
    for line in out.lines() {
        let Ok(line) = line else { break };
        let mut words = line.split(' ');
        let (Some(what), Some(name), Some(position)) = (words.next(), words.next(), words.next()) else { continue };
        let Ok(position) = position.parse() else { continue };
        said.push((what.to_owned(), name.to_owned(), position));
        if killer.is_none() {
            let id = child.id().to_string();
            killer = Some(std::thread::spawn(move || {
                std::thread::sleep(time);
                std::process::Command::new("kill").args(["-9", &id]).status().unwrap();
            }));
        }
    }
    killer.expect("the child said something").join().unwrap();
    let status = child.wait().unwrap();
    assert!(!status.success(), "the child ended by itself");
    // The last line may have been cut in the middle of its number: it then names a position that is too small, which
    // the check below would take for a wrong one.
    said.pop();
    said
}

fn verify(path: &Path, acknowledged: &BTreeMap<String, u64>, committed: u64, saved: u64) {
    let log = open(path);
    let records = read_all(&log, Position(0));
    let mut batches = BTreeMap::<String, Vec<(u64, u64, u64)>>::new();
    for (expected, record) in (1..).zip(&records) {
        assert_eq!(record.position.0, expected, "positions have a gap");
        let data: serde_json::Value = serde_json::from_str(record.event.data.get()).unwrap();
        let number = |key: &str| data[key].as_u64().unwrap();
        let batch = data["batch"].as_str().unwrap().to_owned();
        batches.entry(batch).or_default().push((record.position.0, number("index"), number("of")));
    }
    for (name, batch) in &batches {
        let (first, _, of) = batch[0];
        let whole: Vec<_> = (0..of).map(|index| (first + index, index, of)).collect();
        assert_eq!(batch, &whole, "batch {name} is torn");
    }
    for (name, last) in acknowledged {
        let found = batches.get(name).and_then(|batch| batch.last()).map(|(position, ..)| position);
        assert_eq!(found, Some(last), "batch {name} was acknowledged");
    }
    assert!(wait(log.committed("engine")).unwrap().0 >= committed);
    let checkpoint = wait(log.load_checkpoint("saver")).unwrap();
    assert!(checkpoint.map_or(0, |(cursor, ..)| cursor.0) >= saved);
    assert_eq!(wait(log.dead_letters(1)).unwrap(), [], "nothing is unreadable");
    let bytes: i64 = sqlite(path).query_row("SELECT sum(length(event)) FROM records", [], |row| row.get(0)).unwrap();
    assert_eq!(wait(log.stats()).unwrap().bytes, bytes as u64, "the count of bytes is exact");
}
