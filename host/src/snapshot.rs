//! Copies a SQLite database as of one moment, while another process may be writing to it.

use std::path::Path;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

/// Pages that one step copies.
const PAGES: i32 = 2048;

/// Copies the database at `from` to a new file at `to`, page by page: positions in the ledger are row ids, which a
/// `VACUUM INTO` would not keep. `progress` gets the pages that are copied, and all of them.
///
/// # Errors
/// SQLite's error.
pub fn copy_database(from: &Path, to: &Path, progress: &mut dyn FnMut(u64, u64)) -> rusqlite::Result<()> {
    // Not read-only: a reader of a write-ahead log needs its shared-memory file, and creates it if the host has stopped.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(from, flags)?;
    source.busy_timeout(Duration::from_secs(5))?;
    source.pragma_update(None, "query_only", true)?;
    // One read transaction around all steps: otherwise each commit of the host would begin the copy anew.
    source.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")?;
    let mut copy = Connection::open(to)?;
    // A copy that a crash leaves behind is of no use, whatever is in it.
    copy.pragma_update(None, "synchronous", "OFF")?;
    copy.pragma_update(None, "journal_mode", "OFF")?;
    let backup = Backup::new(&source, &mut copy)?;
    loop {
        let step = backup.step(PAGES)?;
        let pages = backup.progress();
        progress((pages.pagecount - pages.remaining).max(0) as u64, pages.pagecount.max(0) as u64);
        match step {
            StepResult::Done => return Ok(()),
            StepResult::More => {}
            _ => return Err(locked()),
        }
    }
}

fn locked() -> rusqlite::Error {
    let error = ffi::Error { code: ErrorCode::DatabaseBusy, extended_code: ffi::SQLITE_BUSY };
    rusqlite::Error::SqliteFailure(error, Some("the database is locked by another program".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_of_one_moment_and_keeps_row_ids_whatever_is_written_meanwhile() {
        let dir = tempfile::tempdir().expect("a folder");
        let (from, to) = (dir.path().join("a.db"), dir.path().join("b.db"));
        let writer = Connection::open(&from).expect("opens");
        writer
            .execute_batch(
                "PRAGMA journal_mode = WAL; CREATE TABLE t (name TEXT PRIMARY KEY, x BLOB);
                 WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000)
                 INSERT INTO t SELECT 'n-' || i, randomblob(3000) FROM n; DELETE FROM t WHERE rowid <= 3000",
            )
            .expect("fills");
        let mut steps = 0;
        copy_database(&from, &to, &mut |done, all| {
            assert!(done <= all, "{done} of {all}");
            steps += 1;
            assert!(steps < 100, "it begins anew with each write");
            writer
                .execute("INSERT INTO t (name, x) VALUES ('late-' || ?1, x'00')", [steps])
                .expect("is not kept waiting");
        })
        .expect("copies");
        assert!(steps > 1, "{steps} steps");
        let ends = |of: &Connection| {
            let ends = "SELECT min(rowid), max(rowid), count(*) FROM t";
            of.query_row(ends, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)))
                .expect("reads")
        };
        assert_eq!(ends(&Connection::open(&to).expect("opens")), (3001, 6000, 3000));
        assert_eq!(ends(&writer).2, 3000 + steps);
    }
}
