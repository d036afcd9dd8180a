//! The access in force, and what was refused under it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use super::{Access, RefusalLimits};

/// Identities and addresses that are counted apart between two looks; more are counted together.
const APART: usize = 256;

/// The access in force.
#[derive(Debug, Default)]
pub struct AccessControl {
    current: ArcSwapOption<Access>,
    /// By address and by identity.
    limits: RefusalLimits<String>,
    refused: Mutex<BTreeMap<Refused, u64>>,
}

/// Who was refused, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// The reason, as metrics count it.
    pub reason: &'static str,
    /// The identity, where the credential names one.
    pub who: Option<String>,
    /// The address; none for those that are counted together.
    pub address: Option<IpAddr>,
    /// What was asked for, and which role that needs; empty for those that are counted together.
    pub on: String,
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
    pub fn refuse(&self, refusal: Refused, now_ms: u64) -> Option<u64> {
        let (who, address) = (refusal.who.clone(), refusal.address);
        {
            let mut refused = self.refused.lock();
            let is_apart = refused.len() < APART || refused.contains_key(&refusal);
            let together = Refused { reason: refusal.reason, who: None, address: None, on: String::new() };
            *refused.entry(if is_apart { refusal } else { together }).or_default() += 1;
        }
        let by_address = address.and_then(|address| self.limits.refuse(&address.to_string(), now_ms));
        who.and_then(|who| self.limits.refuse(&format!("@{who}"), now_ms)).or(by_address)
    }

    /// How often each was refused since this was last called.
    pub fn take_refused(&self) -> BTreeMap<Refused, u64> {
        std::mem::take(&mut self.refused.lock())
    }
}
