//! Tables and migrations. A released migration is never edited; changes need another migration.

use std::path::Path;

use rusqlite::Connection;

use super::{Durability, LedgerError};

/// One migration a schema version, in order.
const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE decisions (
  decision_id TEXT NOT NULL PRIMARY KEY,
  time_ms INTEGER NOT NULL,
  point TEXT NOT NULL,
  unit TEXT,
  experiment TEXT,
  arm TEXT,
  served_by TEXT NOT NULL,
  outcome TEXT,
  action TEXT NOT NULL,
  took_us INTEGER NOT NULL,
  forced INTEGER NOT NULL,
  batch INTEGER,
  attributes TEXT,
  digest TEXT NOT NULL,
  dictionary INTEGER,
  record BLOB NOT NULL
);
CREATE INDEX decisions_by_unit ON decisions (unit);
CREATE TABLE dictionaries (
  id INTEGER NOT NULL PRIMARY KEY,
  time_ms INTEGER NOT NULL,
  bytes BLOB NOT NULL
);
CREATE TABLE answers (
  key TEXT NOT NULL PRIMARY KEY,
  request TEXT NOT NULL,
  status INTEGER NOT NULL,
  body BLOB NOT NULL,
  time_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX answers_by_time ON answers (time_ms);
CREATE TABLE outcomes (
  id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  value REAL NOT NULL,
  at_ms INTEGER NOT NULL,
  received_ms INTEGER NOT NULL,
  decision_id TEXT,
  entity_kind TEXT,
  entity TEXT,
  reverses TEXT
);
CREATE INDEX outcomes_by_reversed ON outcomes (reverses) WHERE reverses IS NOT NULL;
CREATE INDEX outcomes_by_entity ON outcomes (entity_kind, entity, name, at_ms);
CREATE INDEX outcomes_by_decision ON outcomes (decision_id);
CREATE INDEX outcomes_by_time ON outcomes (received_ms);
CREATE TABLE exposures (
  decision_id TEXT NOT NULL PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  received_ms INTEGER NOT NULL
);
CREATE INDEX exposures_by_time ON exposures (received_ms);
CREATE TABLE experiments (
  id TEXT NOT NULL PRIMARY KEY,
  state TEXT NOT NULL,
  generation INTEGER NOT NULL,
  status TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE transitions (
  experiment TEXT NOT NULL,
  generation INTEGER NOT NULL,
  time_ms INTEGER NOT NULL,
  command TEXT NOT NULL,
  from_state TEXT NOT NULL,
  to_state TEXT NOT NULL,
  phase INTEGER NOT NULL,
  by TEXT NOT NULL,
  reason TEXT NOT NULL,
  spec TEXT NOT NULL,
  evidence TEXT NOT NULL,
  PRIMARY KEY (experiment, generation)
) WITHOUT ROWID;
CREATE TABLE approvals (
  experiment TEXT NOT NULL,
  spec TEXT NOT NULL,
  by TEXT NOT NULL,
  reason TEXT NOT NULL,
  time_ms INTEGER NOT NULL,
  PRIMARY KEY (experiment, spec, by)
) WITHOUT ROWID;
CREATE TABLE moments (
  experiment TEXT NOT NULL,
  time_ms INTEGER NOT NULL,
  moment TEXT NOT NULL,
  PRIMARY KEY (experiment, time_ms)
) WITHOUT ROWID;
CREATE TABLE shadows (
  experiment TEXT NOT NULL,
  arm TEXT NOT NULL,
  decision_id TEXT NOT NULL,
  served TEXT NOT NULL,
  action TEXT,
  outcome TEXT NOT NULL,
  took_us INTEGER NOT NULL,
  served_us INTEGER NOT NULL,
  dropped INTEGER NOT NULL,
  attempt TEXT NOT NULL,
  PRIMARY KEY (experiment, arm, decision_id)
);
CREATE TABLE probe (time_ms INTEGER NOT NULL);
INSERT INTO probe VALUES (0);
",
    "
ALTER TABLE decisions RENAME TO decisions_1;
DROP INDEX decisions_by_unit;
CREATE TABLE decisions (
  seq INTEGER PRIMARY KEY,
  decision_id TEXT NOT NULL UNIQUE,
  time_ms INTEGER NOT NULL,
  point TEXT NOT NULL,
  unit TEXT,
  experiment TEXT,
  arm TEXT,
  served_by TEXT NOT NULL,
  outcome TEXT,
  action TEXT NOT NULL,
  took_us INTEGER NOT NULL,
  forced INTEGER NOT NULL,
  batch INTEGER,
  attributes TEXT,
  digest TEXT NOT NULL,
  dictionary INTEGER,
  record BLOB NOT NULL
);
INSERT INTO decisions SELECT rowid, * FROM decisions_1 ORDER BY rowid;
DROP TABLE decisions_1;
-- Units come in no order: an index by unit alone would change one page of its own for each
-- decision, and more of them than all else together. Within a run of decisions it is a few pages.
CREATE INDEX decisions_by_unit ON decisions (seq >> 9, unit);
",
    // An event that was stored before a unit entered an experiment is no effect of it. The position
    // of the newest decision at that time decides.
    "
ALTER TABLE outcomes ADD COLUMN after_seq INTEGER NOT NULL DEFAULT 0;
UPDATE outcomes SET after_seq = (SELECT coalesce(max(seq), 0) FROM decisions);
ALTER TABLE exposures ADD COLUMN after_seq INTEGER NOT NULL DEFAULT 0;
UPDATE exposures SET after_seq = (SELECT coalesce(max(seq), 0) FROM decisions);
CREATE TABLE final_reports (
  experiment TEXT NOT NULL PRIMARY KEY,
  generation INTEGER NOT NULL,
  time_ms INTEGER NOT NULL,
  report TEXT NOT NULL
) WITHOUT ROWID;
",
    "
ALTER TABLE shadows ADD COLUMN dictionary INTEGER;
ALTER TABLE shadows ADD COLUMN cut INTEGER NOT NULL DEFAULT 0;
CREATE INDEX shadows_by_decision ON shadows (decision_id);
-- Rows of one experiment lie in the order in which they came: a new one changes the last page.
CREATE INDEX decisions_by_experiment ON decisions (experiment) WHERE experiment IS NOT NULL;
CREATE TABLE clock (seen_ms INTEGER, doubt TEXT);
INSERT INTO clock VALUES ((SELECT time_ms FROM decisions ORDER BY seq DESC LIMIT 1), NULL);
",
    // A time that was before the decision's, by a clock that is behind, is kept as it was sent.
    "
ALTER TABLE outcomes ADD COLUMN sent_ms INTEGER;
ALTER TABLE exposures ADD COLUMN sent_ms INTEGER;
-- The names of all outcomes so far, by kind of entity; by decision, '' is the kind.
CREATE TABLE outcome_names (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  last_ms INTEGER NOT NULL,
  PRIMARY KEY (kind, name)
) WITHOUT ROWID;
INSERT INTO outcome_names SELECT coalesce(entity_kind, ''), name, max(received_ms) FROM outcomes
WHERE entity IS NOT NULL OR decision_id IN (SELECT decision_id FROM decisions) GROUP BY 1, 2;
",
    "
CREATE TABLE positions (decisions INTEGER NOT NULL, outcomes INTEGER NOT NULL, exposures INTEGER NOT NULL);
INSERT INTO positions VALUES (0, 0, 0);
",
    // The usual time between two outcomes of a name; of one that is not known yet, four days.
    "
ALTER TABLE outcome_names ADD COLUMN gap_ms INTEGER NOT NULL DEFAULT 345600000;
UPDATE outcome_names SET last_ms = max(last_ms, of.newest_ms), gap_ms = max(gap_ms, of.longest_ms)
FROM (SELECT kind, name, max(received_ms) AS newest_ms, coalesce(max(received_ms - before_ms), 0) AS longest_ms
      FROM (SELECT coalesce(entity_kind, '') AS kind, name, received_ms,
                   lag(received_ms) OVER (PARTITION BY coalesce(entity_kind, ''), name ORDER BY received_ms) AS before_ms
            FROM outcomes WHERE reverses IS NULL)
      GROUP BY kind, name) AS of
WHERE of.kind = outcome_names.kind AND of.name = outcome_names.name;
-- All outcomes of a name up to a time have been posted.
CREATE TABLE watermarks (
  name TEXT NOT NULL PRIMARY KEY,
  until_ms INTEGER NOT NULL,
  gap_ms INTEGER NOT NULL
) WITHOUT ROWID;
-- Silences that have ended.
CREATE TABLE outages (
  name TEXT NOT NULL,
  from_ms INTEGER NOT NULL,
  to_ms INTEGER NOT NULL,
  PRIMARY KEY (name, from_ms)
) WITHOUT ROWID;
CREATE INDEX outcome_names_by_name ON outcome_names (name);
",
    // Who: the identity of the credential.
    "
ALTER TABLE decisions ADD COLUMN identity TEXT;
ALTER TABLE outcomes ADD COLUMN identity TEXT;
ALTER TABLE exposures ADD COLUMN identity TEXT;
ALTER TABLE watermarks ADD COLUMN identity TEXT;
CREATE TABLE audit (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  time_ms INTEGER NOT NULL,
  who TEXT,
  address TEXT,
  what TEXT NOT NULL,
  target TEXT NOT NULL,
  result TEXT NOT NULL,
  count INTEGER NOT NULL
);
CREATE INDEX audit_by_time ON audit (time_ms);
CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit
BEGIN SELECT raise(ABORT, 'an entry of the audit is never changed'); END;
",
    // Only what is older than it is kept goes: the retention says until when, in the same transaction.
    "
CREATE TABLE audit_expiry (before_ms INTEGER NOT NULL);
INSERT INTO audit_expiry VALUES (0);
CREATE TRIGGER audit_keeps_its_entries BEFORE DELETE ON audit
WHEN coalesce(old.time_ms >= (SELECT max(before_ms) FROM audit_expiry), 1)
BEGIN SELECT raise(ABORT, 'an entry of the audit goes when ledger.audit_retain is over, and not before'); END;
CREATE TRIGGER audit_replaces_no_entry BEFORE INSERT ON audit
WHEN EXISTS (SELECT 1 FROM audit WHERE seq = new.seq)
BEGIN SELECT raise(ABORT, 'an entry of the audit is never changed'); END;
",
    // The ids of exposures whose senders give them one, so that one that is sent again is known, whatever decision it
    // names then.
    "
CREATE TABLE exposure_ids (
  id TEXT NOT NULL PRIMARY KEY,
  decision_id TEXT NOT NULL,
  received_ms INTEGER NOT NULL
);
CREATE INDEX exposure_ids_by_time ON exposure_ids (received_ms);
",
    // Whom an outcome that names a decision is about, as of when it was stored: its decision may expire before it. Of
    // decisions before this the kind of unit is not known.
    "
ALTER TABLE decisions ADD COLUMN unit_kind TEXT;
ALTER TABLE outcomes ADD COLUMN unit TEXT;
ALTER TABLE outcomes ADD COLUMN unit_kind TEXT;
UPDATE outcomes SET unit = d.unit FROM decisions d
WHERE d.decision_id = outcomes.decision_id AND d.seq <= outcomes.after_seq;
",
];

/// The newest version of the schema that this program knows.
pub const SCHEMA: i64 = MIGRATIONS.len() as i64;

/// Finds the decisions of one unit, by probing each run of the index. A probe takes 3 µs, so a
/// ledger of 100 million decisions takes 0.6 s.
pub(super) const OF_UNIT: &str = "(WITH RECURSIVE runs (run) AS
    (SELECT max(seq) >> 9 FROM decisions
     UNION ALL SELECT run - 1 FROM runs WHERE run > (SELECT min(seq) >> 9 FROM decisions))
  SELECT run FROM runs) CROSS JOIN decisions ON seq >> 9 = run AND unit = ?";

/// The lowest id of a decision made at `ms` or later: a version 7 UUID begins with its time.
pub(super) fn first_id(ms: u64) -> String {
    format!("{:08x}-{:04x}", ms >> 16, ms & 0xffff)
}

/// The size limit of the write-ahead log on disk, except while a reader blocks its reset. A quarter more than what it
/// is usually reset at: cutting a file waits for the disk.
const MAX_LOG_BYTES: i64 = super::checkpoint::MANY_PAGES / 4 * 5 * super::checkpoint::FRAME as i64;

/// Opens a writing connection.
pub(super) fn connect(path: &Path, durability: Durability) -> Result<Connection, LedgerError> {
    let connection = Connection::open(path).map_err(|e| LedgerError::Database(format!("{}: {e}", path.display())))?;
    // Only another program can hold a lock; decisions wait for it.
    connection.busy_timeout(std::time::Duration::from_secs(1))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // With a write-ahead log, NORMAL loses nothing in a process crash, because the operating system
    // has the writes. FULL waits for the disk at each commit.
    let synchronous = match durability {
        Durability::Process => "NORMAL",
        Durability::Power => "FULL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    // Units arrive in random order, so a new decision changes random pages.
    connection.pragma_update(None, "cache_size", -32_768)?;
    // A thread of its own checkpoints.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // After a reader has blocked the log's reset, the next reset truncates it to this size.
    connection.pragma_update(None, "journal_size_limit", MAX_LOG_BYTES)?;
    Ok(connection)
}

/// Opens the database and migrates it to the newest schema.
pub(super) fn open(path: &Path, durability: Durability) -> Result<Connection, LedgerError> {
    let mut connection = connect(path, durability)?;
    let version = check_version(&connection)?;
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(version as usize) {
        if version > 0 {
            // Migrating a long ledger takes a while.
            tracing::info!(ledger = %path.display(), "bringing the ledger from schema {index} to {}", index + 1);
        }
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", index as i64 + 1)?;
        transaction.commit()?;
    }
    Ok(connection)
}

/// The schema's version.
pub(super) fn check_version(connection: &Connection) -> Result<i64, LedgerError> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = SCHEMA;
    if found > known { Err(LedgerError::TooNew { found, known }) } else { Ok(found) }
}
