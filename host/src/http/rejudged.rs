//! A credential is judged again once a request's body is there: a body may take longer to arrive than it takes to revoke
//! a token.

use std::sync::Arc;

use axum::extract::Request;

use super::access::{Caller, asks_nobody, is_vouched_for, named_now};
use super::refusals::{Asked, CHANGED, refuse_one, refused, unauthorized};
use super::{Problem, Service};
use crate::access::Identity;

/// Who asks now, by the same credential as before. None where it is not accepted any more.
type AsksNow = fn(&Service, &Request) -> Option<Option<Arc<Identity>>>;

/// How somebody is known who sends no credential of the API, as an extension of a request: the console has sessions.
#[derive(Clone, Copy)]
pub(super) struct KnownBy(pub(super) AsksNow);

/// Refuses a request whose credential is not the one any more that it was let through for.
pub(super) fn still_accepted(service: &Service, request: &Request) -> Result<(), Problem> {
    let extensions = request.extensions();
    let Some(caller) = extensions.get::<Caller>().filter(|_| !asks_nobody(request)) else { return Ok(()) };
    let now = match extensions.get::<KnownBy>() {
        Some(KnownBy(asks_now)) => asks_now(service, request),
        None if is_vouched_for(request) => named_now(service, request),
        None => None,
    };
    if now.is_some_and(|identity| identity.as_deref() == caller.identity.as_deref()) {
        return Ok(());
    }
    let detail = "the credential was taken away or changed while the request arrived; nothing was done";
    let (asked, who) = (Asked::of(request, None), caller.identity.as_ref().map(|identity| &*identity.name));
    let refused = refused(CHANGED, caller.address, who, &asked);
    Err(refuse_one(service, refused, unauthorized(CHANGED, detail).problem()))
}
