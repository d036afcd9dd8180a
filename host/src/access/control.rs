//! The access in force, and what was refused under it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use super::{Access, RefusalLimits};

/// Reasons that are counted apart. There are few; what is beyond them is counted together.
const MAX_REASONS: usize = 32;

/// The access in force.
#[derive(Debug, Default)]
pub struct AccessControl {
    current: ArcSwapOption<Access>,
    /// By address and by identity.
    limits: RefusalLimits<String>,
    refused: Mutex<BTreeMap<&'static str, Refused>>,
}

/// Refusals of one kind since they were last taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// How many.
    pub count: u64,
    /// Where the last one came from.
    pub address: IpAddr,
}

impl AccessControl {
    /// Puts an access in force. Says whether it differs from the one before.
    pub fn set(&self, access: Option<Arc<Access>>) -> bool {
        let before = self.current.load();
        if before.as_deref() == access.as_deref() {
            return false;
        }
        self.current.store(access);
        true
    }

    /// The access in force; none: everybody may do everything.
    pub fn current(&self) -> Option<Arc<Access>> {
        self.current.load_full()
    }

    /// Counts a refusal. Some where its address or identity has too many in this minute: the seconds
    /// until the next.
    pub fn refuse(&self, reason: &'static str, address: IpAddr, who: Option<&str>, now_ms: u64) -> Option<u64> {
        {
            let mut refused = self.refused.lock();
            let reason = if refused.len() < MAX_REASONS || refused.contains_key(reason) { reason } else { "other" };
            let of_kind = refused.entry(reason).or_insert(Refused { count: 0, address });
            of_kind.count += 1;
            of_kind.address = address;
        }
        let by_address = self.limits.refuse(&address.to_string(), now_ms);
        who.and_then(|who| self.limits.refuse(&format!("@{who}"), now_ms)).or(by_address)
    }

    /// What was refused since this was last called, by reason.
    pub fn take_refused(&self) -> BTreeMap<&'static str, Refused> {
        std::mem::take(&mut self.refused.lock())
    }
}
