//! The settings of the SQLite log.

use serde::{Deserialize, Serialize};

/// Settings of a [`SqliteLog`](super::SqliteLog). The defaults suit a node agent and a laptop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SqliteConfig {
    /// Milliseconds to wait for a lock that another program (a backup, a `sqlite3` shell) holds on the file, before
    /// the call fails as busy.
    pub busy_timeout_millis: u32,
    /// Records after which a group is committed without looking for more. One batch is never split, so a group can be
    /// larger.
    pub group_max_records: usize,
    /// Microseconds that the writer waits for more batches before it commits a group that is not full. 0: takes only
    /// what is queued already, which under load is what came in during the last fsync.
    pub group_max_wait_micros: u64,
    /// Dead letters kept; the oldest go first, and are counted.
    pub max_dead_letters: u64,
    /// Bytes beyond which the file does not grow: appends then fail as full until retention frees space. The WAL
    /// beside it (some 20 MiB, more while a single batch is larger or a backup reads) does not count. 0: as large as the disk allows.
    pub max_file_bytes: u64,
    /// Bytes up to which opening reads the whole file to check its structure, at the speed of the disk; of a larger
    /// file only the two ends are looked at. 0: never reads it whole.
    pub check_max_bytes: u64,
}

impl Default for SqliteConfig {
    fn default() -> Self {
        SqliteConfig {
            busy_timeout_millis: 5_000,
            group_max_records: 8_192,
            group_max_wait_micros: 0,
            max_dead_letters: 100_000,
            max_file_bytes: 0,
            check_max_bytes: 256 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_setting_is_refused_and_a_missing_one_has_its_default() {
        let read: SqliteConfig = serde_json::from_str(r#"{"busy_timeout_millis":1}"#).unwrap();
        assert_eq!(read, SqliteConfig { busy_timeout_millis: 1, ..SqliteConfig::default() });
        assert!(serde_json::from_str::<SqliteConfig>(r#"{"busy_timeout":1}"#).is_err());
    }
}
