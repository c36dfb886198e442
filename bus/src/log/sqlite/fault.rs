//! From what SQLite and the system say to what the caller must do.
//!
//! A [`Fault`] is a [`LogError`] that does not know its place yet and can be copied: one failed group commit is
//! answered to several callers.

use std::io;

use rusqlite::ffi::{self, ErrorCode};
use tapio_core::ports::LogError;

/// Why it failed, by what the caller must do; see [`LogError`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Busy(String),
    Full(String),
    ReadOnly(String),
    Corrupt(String),
    NewerVersion { found: u32, known: u32 },
    InUse(String),
    Gone { asked: u64, first: u64 },
    Other(String),
}

impl Fault {
    /// The error as the callers of the log at `place` see it.
    pub(super) fn at(self, place: &str) -> LogError {
        let place = place.to_owned();
        match self {
            Fault::Busy(why) => LogError::Busy { place, why },
            Fault::Full(why) => LogError::Full { place, why },
            Fault::ReadOnly(why) => LogError::ReadOnly { place, why },
            Fault::Corrupt(why) => LogError::Corrupt { place, why },
            Fault::NewerVersion { found, known } => LogError::NewerVersion { place, found, known },
            Fault::InUse(why) => LogError::InUse { place, why },
            Fault::Gone { asked, first } => LogError::Gone { place, asked, first },
            Fault::Other(why) => LogError::Other { place, why },
        }
    }

    /// The same while opening: who holds the file then does not let go soon.
    pub(super) fn while_opening(self) -> Self {
        match self {
            Fault::Busy(why) => Fault::InUse(why),
            other => other,
        }
    }

    /// What a failed system call on the file or its folder means.
    pub(super) fn from_io(what: &str, error: &io::Error) -> Self {
        let why = format!("{what}: {error}");
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Fault::ReadOnly(why),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Fault::Full(why),
            _ => Fault::Other(why),
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        let why = error.to_string();
        let Some(code) = error.sqlite_error() else {
            // Not from the engine but from reading its answer: a column of another type, a row that must be there.
            return match error {
                rusqlite::Error::QueryReturnedNoRows
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..) => Fault::Corrupt(why),
                _ => Fault::Other(why),
            };
        };
        match code.extended_code {
            // Writing, syncing or growing failed although the file is open for writing: a full disk that shows late,
            // a quota, a limit, or a failing disk. All ask for the same: stop, tell, try again slowly.
            ffi::SQLITE_IOERR_WRITE
            | ffi::SQLITE_IOERR_FSYNC
            | ffi::SQLITE_IOERR_DIR_FSYNC
            | ffi::SQLITE_IOERR_TRUNCATE
            | ffi::SQLITE_IOERR_SHMSIZE => return Fault::Full(why),
            ffi::SQLITE_IOERR_SHORT_READ | ffi::SQLITE_IOERR_DATA | ffi::SQLITE_IOERR_CORRUPTFS => {
                return Fault::Corrupt(why);
            }
            _ => {}
        }
        match code.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Fault::Busy(why),
            ErrorCode::DiskFull => Fault::Full(why),
            ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::CannotOpen
            | ErrorCode::AuthorizationForStatementDenied => Fault::ReadOnly(why),
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Fault::Corrupt(why),
            _ => Fault::Other(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_of_sqlite_becomes_the_decision_it_asks_for() {
        type Check = fn(&Fault) -> bool;
        let cases: &[(i32, Check)] = &[
            (ffi::SQLITE_BUSY, |f| matches!(f, Fault::Busy(_))),
            (ffi::SQLITE_BUSY_SNAPSHOT, |f| matches!(f, Fault::Busy(_))),
            (ffi::SQLITE_LOCKED, |f| matches!(f, Fault::Busy(_))),
            (ffi::SQLITE_FULL, |f| matches!(f, Fault::Full(_))),
            (ffi::SQLITE_IOERR_WRITE, |f| matches!(f, Fault::Full(_))),
            (ffi::SQLITE_IOERR_FSYNC, |f| matches!(f, Fault::Full(_))),
            (ffi::SQLITE_IOERR_SHMSIZE, |f| matches!(f, Fault::Full(_))),
            (ffi::SQLITE_READONLY, |f| matches!(f, Fault::ReadOnly(_))),
            (ffi::SQLITE_READONLY_DBMOVED, |f| matches!(f, Fault::ReadOnly(_))),
            (ffi::SQLITE_CANTOPEN, |f| matches!(f, Fault::ReadOnly(_))),
            (ffi::SQLITE_CORRUPT, |f| matches!(f, Fault::Corrupt(_))),
            (ffi::SQLITE_NOTADB, |f| matches!(f, Fault::Corrupt(_))),
            (ffi::SQLITE_IOERR_SHORT_READ, |f| matches!(f, Fault::Corrupt(_))),
            (ffi::SQLITE_IOERR_READ, |f| matches!(f, Fault::Other(_))),
            (ffi::SQLITE_NOMEM, |f| matches!(f, Fault::Other(_))),
        ];
        for (code, check) in cases {
            let fault = Fault::from(rusqlite::Error::SqliteFailure(ffi::Error::new(*code), None));
            assert!(check(&fault), "{code} became {fault:?}");
        }
    }

    #[test]
    fn a_system_error_without_space_or_rights_is_told_apart() {
        let of = |kind| Fault::from_io("file", &io::Error::from(kind));
        assert!(matches!(of(io::ErrorKind::StorageFull), Fault::Full(_)));
        assert!(matches!(of(io::ErrorKind::PermissionDenied), Fault::ReadOnly(_)));
        assert!(matches!(of(io::ErrorKind::ReadOnlyFilesystem), Fault::ReadOnly(_)));
        assert!(matches!(of(io::ErrorKind::NotFound), Fault::Other(_)));
    }
}
