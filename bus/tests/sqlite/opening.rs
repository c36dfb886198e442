//! Opening files that are not ours to open.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;
use tapio_bus::log::sqlite::{APPLICATION_ID, FORMAT, SqliteConfig, SqliteLog};
use tapio_core::ports::{EventLog, LogError, Position};

use super::fixture::*;

#[test]
fn a_file_that_is_no_database_is_corrupt_and_stays_as_it_is() {
    for content in ["not a database", &"garbage ".repeat(1_000), "SQLite format 3\0 but too short"] {
        let (_folder, path) = place();
        fs::write(&path, content).unwrap();
        assert!(matches!(refused(&path), LogError::Corrupt { .. }));
        assert_eq!(fs::read(&path).unwrap(), content.as_bytes());
    }
}

#[test]
fn a_database_of_another_program_is_corrupt_and_stays_as_it_is() {
    for id in [0, 0x1234_5678] {
        let (_folder, path) = place();
        let other = sqlite(&path);
        other.execute_batch("CREATE TABLE notes (text TEXT)").unwrap();
        other.pragma_update(None, "application_id", id).unwrap();
        other.close().unwrap();
        let before = fs::read(&path).unwrap();
        let error = refused(&path);
        assert!(matches!(error, LogError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains("another program"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[test]
fn an_empty_file_and_an_empty_database_become_a_log() {
    let (_folder, path) = place();
    fs::write(&path, "").unwrap();
    assert_eq!(wait(open(&path).append(sized(1, 10))).unwrap(), Position(1));

    let (_folder, path) = place();
    sqlite(&path).execute_batch("CREATE TABLE t (x); DROP TABLE t").unwrap();
    assert_eq!(wait(open(&path).append(sized(1, 10))).unwrap(), Position(1));
}

#[test]
fn the_header_says_whose_file_it_is_and_which_format_it_has() {
    let (_folder, path) = place();
    drop(open(&path));
    let header = fs::read(&path).unwrap();
    assert_eq!(header[68..72], APPLICATION_ID.to_be_bytes());
    assert_eq!(header[60..64], FORMAT.to_be_bytes());
}

#[test]
fn a_newer_format_is_refused_and_the_file_stays_as_it_is() {
    let (_folder, path) = place();
    wait(open(&path).append(sized(10, 100))).unwrap();
    let db = sqlite(&path);
    db.pragma_update(None, "user_version", FORMAT + 6).unwrap();
    db.close().unwrap();
    let before = fs::read(&path).unwrap();
    match refused(&path) {
        LogError::NewerVersion { found, known, .. } => assert_eq!((found, known), (FORMAT + 6, FORMAT)),
        other => panic!("{other}"),
    }
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_newer_format_that_stands_only_in_the_wal_is_refused_too() {
    let (_folder, path) = place();
    drop(open(&path));
    let db = sqlite(&path);
    // The format reaches the file's header only when the WAL is folded into it.
    db.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    db.pragma_update(None, "user_version", FORMAT + 1).unwrap();
    assert!(matches!(refused(&path), LogError::NewerVersion { .. }));
}

#[test]
fn a_log_that_is_open_is_in_use_whichever_way_it_is_named_and_free_after_dropping() {
    let (folder, path) = place();
    let log = open(&path);
    let link = folder.path().join("link.db");
    symlink(&path, &link).unwrap();
    for name in [path.clone(), link, folder.path().join(".").join("log.db")] {
        let error = refused(&name);
        assert!(matches!(error, LogError::InUse { .. }), "{error}");
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    }
    drop(log);
    drop(open(&path));
}

#[test]
fn a_dropped_log_is_free_at_once_while_other_threads_start_processes() {
    let (_folder, path) = place();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // With a group given, the child is forked, and has all open files of this process until it runs.
                Command::new("true").gid(fs::metadata(path.parent().unwrap()).unwrap().gid()).status().unwrap();
            }
        });
        let opened: Vec<_> = (0..100).map(|_| SqliteLog::open(&path, SqliteConfig::default()).map(drop)).collect();
        done.store(true, Ordering::Relaxed);
        for outcome in opened {
            outcome.unwrap();
        }
    });
}

#[test]
fn a_log_that_another_process_holds_is_in_use_there_too() {
    let (_folder, path) = place();
    let log = open(&path);
    assert_eq!(verdict(child("opening::opens_and_says_how_it_went", &path)), "in use");
    drop(log);
    assert_eq!(verdict(child("opening::opens_and_says_how_it_went", &path)), "opened");
}

#[test]
fn another_program_s_lock_is_in_use_at_opening_and_busy_later() {
    let (_folder, path) = place();
    drop(open(&path));
    let other = sqlite(&path);
    other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; UPDATE log_state SET bytes = 0").unwrap();
    assert!(matches!(refused(&path), LogError::InUse { .. }));
    other.close().unwrap();

    let log = SqliteLog::open(&path, SqliteConfig { busy_timeout_millis: 50, ..SqliteConfig::default() }).unwrap();
    let other = sqlite(&path);
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(matches!(wait(log.append(sized(1, 10))), Err(LogError::Busy { .. })));
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(wait(log.append(sized(1, 10))).unwrap(), Position(1));
}

#[test]
fn a_missing_folder_and_a_folder_in_place_of_the_file_are_named() {
    let (folder, _) = place();
    let missing = refused(&folder.path().join("no/log.db"));
    assert!(missing.to_string().contains("folder does not exist"), "{missing}");
    let error = refused(folder.path());
    assert!(error.to_string().contains("is a folder"), "{error}");
}

#[test]
#[ignore = "the child of a test"]
fn opens_and_says_how_it_went() {
    let outcome = SqliteLog::open(child_log(), SqliteConfig { busy_timeout_millis: 50, ..SqliteConfig::default() });
    let word = match outcome {
        Ok(_) => "opened".to_owned(),
        Err(LogError::InUse { .. }) => "in use".to_owned(),
        Err(LogError::ReadOnly { .. }) => "read-only".to_owned(),
        Err(other) => other.to_string(),
    };
    println!("\nverdict: {word}");
}

/// What the child said.
fn verdict(mut child: Command) -> String {
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let word = text.lines().find_map(|line| line.strip_prefix("verdict: "));
    word.unwrap_or_else(|| panic!("the child said nothing: {text} {errors}")).to_owned()
}

/// A child whom permissions bind: root passes over them, so that it runs as nobody, from a copy that nobody may run.
fn bound_child(folder: &Path, path: &Path) -> Command {
    let copy = folder.join("child");
    if !copy.exists() {
        // By another process: a handle of ours that is open for writing could be inherited by a child that another test
        // starts, and a file that is open for writing cannot be run.
        let original = std::env::current_exe().unwrap();
        assert!(Command::new("cp").arg(original).arg(&copy).status().unwrap().success());
        set_mode(&copy, 0o755);
    }
    let mut command = Command::new(copy);
    command.args(only("opening::opens_and_says_how_it_went")).env(CHILD_LOG, path).current_dir("/");
    if is_root(folder) {
        command.uid(65_534).gid(65_534);
    }
    command
}

fn is_root(folder: &Path) -> bool {
    fs::metadata(folder).unwrap().uid() == 0
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_folder_or_file_that_may_not_be_written_is_read_only() {
    let outer = tempfile::tempdir().unwrap();
    set_mode(outer.path(), 0o755);
    let folder = outer.path().join("data");
    fs::create_dir(&folder).unwrap();
    let path = folder.join("log.db");
    let verdict = || verdict(bound_child(outer.path(), &path));

    set_mode(&folder, 0o555);
    assert_eq!(verdict(), "read-only", "a new file in a folder without write permission");

    set_mode(&folder, 0o777);
    assert_eq!(verdict(), "opened", "the same with permission: it is the permission that decides");
    if is_root(outer.path()) {
        // Made by root, so that only the mode stands between the child and the file.
        fs::remove_dir_all(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        set_mode(&folder, 0o777);
    }
    wait(open(&path).append(sized(10, 100))).unwrap();
    let before = fs::read(&path).unwrap();
    set_mode(&folder.join("log.db.lock"), 0o666);
    set_mode(&path, 0o444);
    assert_eq!(verdict(), "read-only", "a file without write permission");

    set_mode(&path, 0o666);
    set_mode(&folder.join("log.db.lock"), 0o444);
    assert_eq!(verdict(), "read-only", "a lock file without write permission");

    set_mode(&path, 0o000);
    set_mode(&folder.join("log.db.lock"), 0o666);
    assert_eq!(verdict(), "read-only", "a file without any permission");
    set_mode(&path, 0o600);
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn dropping_folds_the_wal_into_the_file() {
    let (folder, path) = place();
    let log = open(&path);
    wait(log.append(sized(100, 100))).unwrap();
    drop(log);
    let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["log.db", "log.db.lock"]);
    let count: i64 =
        Connection::open(&path).unwrap().query_row("SELECT count(*) FROM records", [], |r| r.get(0)).unwrap();
    assert_eq!(count, 100);
}
