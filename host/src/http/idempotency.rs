//! `Idempotency-Key`: the same request sent twice is decided once.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use tokio::sync::OwnedMutexGuard;

use super::access::Caller;
use super::error::uncommitted;
use super::service::COMMIT_WAIT;
use super::{Problem, Service};
use crate::ledger::Reads as _;

/// How long an answer is kept under its key.
pub const KEPT_MS: u64 = 24 * 60 * 60 * 1000;

/// A key that this request holds.
pub struct HeldKey {
    /// The key.
    pub key: String,
    /// SHA-256 of the path and the body.
    pub request: String,
    /// Keeps twins waiting.
    pub guard: OwnedMutexGuard<()>,
}

/// What a key says.
pub enum KeyLookup {
    /// No key was sent.
    None,
    /// The key is new, and held.
    New(HeldKey),
    /// The same request was answered. The key is held, so that what was left open may be finished.
    Answered(HeldKey, u16, Vec<u8>),
}

/// Looks up the request's key. Waits until `end` for the answer to the same request, sent before.
///
/// # Errors
/// 409 where the key was used for another body, 422 where it is not a key, 503 where that answer is not
/// committed in time.
pub async fn look_up(
    service: &Arc<Service>,
    caller: &Caller,
    headers: &HeaderMap,
    path: &'static str,
    (body, end): (&Bytes, Instant),
) -> Result<KeyLookup, Problem> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(KeyLookup::None);
    };
    let key = value
        .to_str()
        .ok()
        .filter(|key| (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()))
        .ok_or_else(|| {
            Problem::invalid("Idempotency-Key", "Idempotency-Key: 1 to 255 visible ASCII characters are needed")
        })?;
    // A key is its sender's: nobody gets the answer to another's request by guessing it.
    let key = caller.name().map_or_else(|| key.to_owned(), |name| format!("{name} {key}"));
    let in_vain = || !service.ledger.is_healthy();
    let guard = service.keys.lock(&key, end, COMMIT_WAIT, in_vain).await.ok_or_else(uncommitted)?;
    let since = service.clock.now_ms().saturating_sub(KEPT_MS);
    let (shared, owned, body) = (Arc::clone(service), key.clone(), body.clone());
    // The digest, too: a large body takes a while.
    let look = move || {
        let request = crate::digest::digest(&[path.as_bytes(), b"\n", &body].concat());
        shared.ledger.stored_answer(&owned, since).map(|stored| (request, stored))
    };
    let looked = tokio::task::spawn_blocking(look).await;
    let (request, stored) = looked.map_err(|_| Problem::unavailable("stopping", "the host is stopping"))??;
    let is_same = stored.as_ref().is_none_or(|stored| stored.request == request);
    let held = HeldKey { key, request, guard };
    match stored {
        None => Ok(KeyLookup::New(held)),
        Some(stored) if is_same => Ok(KeyLookup::Answered(held, stored.status, stored.body)),
        Some(_) => Err(Problem::new(
            StatusCode::CONFLICT,
            "idempotency-conflict",
            "this Idempotency-Key was used for another request; use a new key",
        )),
    }
}
