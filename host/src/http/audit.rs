//! `GET /v1/audit`: who did what.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::access::Caller;
use super::admin::{TIMES, answer, parse_time, read, rfc3339};
use super::wire::unfit_query;
use super::{Problem, Service};
use crate::ledger::{AuditFilter, Reads as _, StoredAuditEntry};

/// What entries are of, as they are asked for: what people do, what they read, and what the host does.
pub const KINDS: [&str; 25] = [
    "access.applied",
    "access.refused",
    "access.sign_in",
    "access.sign_out",
    "audit.read",
    "clock.confirm",
    "configuration.applied",
    "decision.dry_run",
    "decision.forced",
    "experiment.abort",
    "experiment.affected",
    "experiment.amend",
    "experiment.approve",
    "experiment.conclude",
    "experiment.pause",
    "experiment.promote",
    "experiment.resume",
    "experiment.start",
    "experiment.unknown",
    "experiments.freeze",
    "features.read",
    "record.outcomes",
    "record.read",
    "record.replay",
    "records.list",
];

/// Entries of one answer.
const MAX_ENTRIES: u32 = 1_000;

/// Which entries to list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    since: Option<String>,
    until: Option<String>,
    who: Option<String>,
    what: Option<String>,
    limit: Option<u32>,
    before: Option<u64>,
}

/// Something that somebody did.
#[derive(Debug, Serialize, ToSchema)]
pub struct WireAuditEntry {
    /// Its number. Later ones are higher.
    seq: u64,
    at: String,
    /// The identity of the credential, also of one that has expired; null without `[access]`, or where a credential was
    /// refused that nobody has; `serin` for the host itself.
    #[schema(required)]
    who: Option<String>,
    /// Where it came from; null for the host itself.
    #[schema(required)]
    address: Option<String>,
    /// What, like `experiment.abort`.
    what: String,
    /// On what.
    target: String,
    /// `done`; `unchanged` for what was done before, like a second approval of one file by one person; or the kind of
    /// the problem.
    result: String,
    /// How often within the minute; 1 for what is not counted by the minute.
    count: u64,
}

impl From<StoredAuditEntry> for WireAuditEntry {
    fn from(StoredAuditEntry { seq, entry }: StoredAuditEntry) -> Self {
        Self {
            seq,
            at: rfc3339(entry.time_ms),
            who: entry.who,
            address: entry.address,
            what: entry.what,
            target: entry.target,
            result: entry.result,
            count: entry.count,
        }
    }
}

/// The newest entries of the audit that match.
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    caller: Caller,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|e| unfit_query(&e))?;
    caller.reaches_all("reading the audit")?;
    let limit = query.limit.unwrap_or(100);
    if !(1..=MAX_ENTRIES).contains(&limit) {
        return Err(Problem::invalid("limit", format!("limit: valid: 1 to {MAX_ENTRIES}")));
    }
    let now_ms = service.clock.now_ms();
    let time = |key: &str, text: Option<String>| {
        let parse = |text: String| {
            parse_time(&text, now_ms).ok_or_else(|| Problem::invalid(key, format!("{key}: valid: {TIMES}")))
        };
        text.map(parse).transpose()
    };
    // The ledger counts in signed numbers.
    if query.before.is_some_and(|before| i64::try_from(before).is_err()) {
        return Err(Problem::invalid("before", "before: valid: `next` of the page before"));
    }
    let filter = AuditFilter {
        since_ms: time("since", query.since)?,
        until_ms: time("until", query.until)?,
        who: query.who,
        what: query.what,
        before: query.before,
    };
    let entries = read(&service, move |service, budget| {
        service.ledger.bounded(budget, |ledger| ledger.audit_entries(&filter, limit))
    });
    let entries = entries.await??;
    let next = entries.last().filter(|_| entries.len() == limit as usize).map(|entry| entry.seq);
    let entries: Vec<WireAuditEntry> = entries.into_iter().map(WireAuditEntry::from).collect();
    answer(&service, json!({ "entries": entries, "next": next })).await
}
