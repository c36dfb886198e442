//! Damage inside the file, and what goes on in spite of it.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};

use tapio_bus::log::sqlite::{SqliteConfig, SqliteLog};
use tapio_core::ports::{EventLog, LogError, Position};
use tapio_core::raw::DeadLetter;
use tapio_core::time::Time;

use super::fixture::*;

#[test]
fn a_file_that_was_cut_short_is_corrupt() {
    let (_folder, path) = place();
    wait(open(&path).append(sized(1_000, 300))).unwrap();
    let length = fs::metadata(&path).unwrap().len();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(length / 2 / 4_096 * 4_096).unwrap();
    assert!(matches!(refused(&path), LogError::Corrupt { .. }));
}

#[test]
fn overwritten_pages_are_corrupt_at_opening_and_in_a_file_too_large_to_check_at_reading() {
    let (_folder, path) = place();
    wait(open(&path).append(sized(1_000, 300))).unwrap();
    let mut file = OpenOptions::new().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(40 * 4_096)).unwrap();
    file.write_all(&[0xAA; 4 * 4_096]).unwrap();
    drop(file);
    assert!(matches!(refused(&path), LogError::Corrupt { .. }));

    let log = SqliteLog::open(&path, SqliteConfig { check_max_bytes: 0, ..SqliteConfig::default() }).unwrap();
    let error = wait(log.read(Position(0), 10_000)).err();
    assert!(matches!(error, Some(LogError::Corrupt { .. })), "{error:?}");
}

#[test]
fn counters_that_do_not_fit_the_records_are_corrupt() {
    for change in ["last_position = 9", "dropped_through = 3", "last_position = 11"] {
        let (_folder, path) = place();
        wait(open(&path).append(sized(10, 100))).unwrap();
        sqlite(&path).execute_batch(&format!("UPDATE log_state SET {change}")).unwrap();
        assert!(matches!(refused(&path), LogError::Corrupt { .. }), "{change}");
    }
}

#[test]
fn a_record_that_cannot_be_decoded_is_buried_once_and_reading_goes_on_behind_it() {
    let (_folder, path) = place();
    let log = open(&path);
    wait(log.append(sized(10, 100))).unwrap();
    sqlite(&path).execute_batch("UPDATE records SET event = x'7b22' WHERE position IN (1, 4, 5, 6, 10)").unwrap();
    let found = |page| -> Vec<u64> {
        let mut cursor = Position(0);
        let mut all = Vec::new();
        loop {
            let records = wait(log.read(cursor, page)).unwrap();
            let Some(last) = records.last() else { return all };
            cursor = last.position;
            all.extend(records.iter().map(|record| record.position.0));
        }
    };
    for page in [1, 2, 100] {
        assert_eq!(found(page), [2, 3, 7, 8, 9]);
    }
    let letters = wait(log.dead_letters(100)).unwrap();
    assert_eq!(letters.iter().map(|letter| letter.line).collect::<Vec<_>>(), [1, 4, 5, 6, 10].map(Some));
    assert_eq!(letters[1].origin, "event log");
    assert!(letters[1].reason.starts_with("record 4 cannot be decoded and is skipped: "), "{}", letters[1].reason);
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before_it_and_is_buried() {
    for damage in ["state = x'00'", "cursor = 2", "version = 9", "hash = x''"] {
        let (_folder, path) = place();
        let log = open(&path);
        wait(log.append(sized(10, 100))).unwrap();
        wait(log.save_checkpoint("engine", Position(5), 1, b"five".to_vec())).unwrap();
        wait(log.save_checkpoint("engine", Position(8), 1, b"eight".to_vec())).unwrap();
        let newest = "(SELECT max(seq) FROM checkpoints)";
        sqlite(&path).execute_batch(&format!("UPDATE checkpoints SET {damage} WHERE seq = {newest}")).unwrap();
        for _ in 0..2 {
            assert_eq!(
                wait(log.load_checkpoint("engine")).unwrap(),
                Some((Position(5), 1, b"five".to_vec())),
                "{damage}"
            );
        }
        let letters = wait(log.dead_letters(10)).unwrap();
        assert_eq!(letters.len(), 1);
        assert!(letters[0].reason.contains("checkpoint of consumer engine"), "{}", letters[0].reason);

        sqlite(&path).execute_batch(&format!("UPDATE checkpoints SET {damage}")).unwrap();
        assert!(matches!(wait(log.load_checkpoint("engine")), Err(LogError::Corrupt { .. })), "{damage}");
    }
}

#[test]
fn a_cursor_from_another_log_is_refused_and_takes_no_other_write_along() {
    let (_folder, path) = place();
    let config = SqliteConfig { group_max_wait_micros: 20_000, ..SqliteConfig::default() };
    let log = SqliteLog::open(&path, config).unwrap();
    // All in one group: the futures are started together.
    wait(async {
        let (first, wrong, second) =
            tokio::join!(log.append(sized(3, 10)), log.commit("engine", Position(500)), log.append(sized(2, 10)));
        assert_eq!((first.unwrap(), second.unwrap()), (Position(3), Position(5)));
        let error = wrong.unwrap_err();
        assert!(error.to_string().contains("beyond the last position"), "{error}");
    });
    assert_eq!(read_all(&log, Position(0)).len(), 5);
    assert_eq!(wait(log.committed("engine")).unwrap(), Position(0));
}

#[test]
fn append_times_come_from_the_clock_that_was_given() {
    let (_folder, path) = place();
    let at = Time::parse("2031-02-03T04:05:06.000007Z").unwrap();
    let log = SqliteLog::open_with_clock(&path, SqliteConfig::default(), Box::new(move || at)).unwrap();
    wait(log.append(sized(2, 10))).unwrap();
    assert!(read_all(&log, Position(0)).iter().all(|record| record.appended_at == at));
}

#[test]
fn the_oldest_dead_letters_go_at_the_cap_and_are_counted() {
    let (_folder, path) = place();
    let config = SqliteConfig { max_dead_letters: 10, ..SqliteConfig::default() };
    let letter = |n: u64| DeadLetter { origin: "-".into(), line: Some(n), reason: "r".into(), excerpt: "e".into() };
    let log = SqliteLog::open(&path, config).unwrap();
    wait(log.bury((1..=8).map(letter).collect())).unwrap();
    assert_eq!(log.dead_letters_dropped(), 0);
    wait(log.bury((9..=40).map(letter).collect())).unwrap();
    assert_eq!(log.dead_letters_dropped(), 30);
    assert_eq!(wait(log.dead_letters(100)).unwrap(), (31..=40).map(letter).collect::<Vec<_>>());
    assert_eq!(wait(log.stats()).unwrap().dead_letters, 10);
    drop(log);
    assert_eq!(SqliteLog::open(&path, config).unwrap().dead_letters_dropped(), 30);
}
