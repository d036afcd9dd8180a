//! Sessions of people in a browser. A session stands for the token that it was opened with, and is
//! worth no more: each request looks the token's hash up again in the access in force.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::token::TOKEN_PREFIX;
use super::{Access, Identity, Token, TokenHash};

/// How long a session lasts, in milliseconds.
pub const SESSION_MS: u64 = 12 * 60 * 60 * 1000;
/// Sessions of one identity; a further one ends the oldest.
const PER_IDENTITY: usize = 16;
/// Sessions of all identities.
const MOST: usize = 1024;

/// A session that was found.
#[derive(Debug, Clone)]
pub struct Session {
    /// Whom its token names now.
    pub identity: Arc<Identity>,
    /// What a form has to send, so that no other page's form acts for this person.
    pub form_key: String,
}

/// An open session as it is kept while no host runs. Of what gives access it has hashes alone.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptSession {
    /// SHA-256 of its id, in hexadecimal digits.
    pub id: String,
    /// SHA-256 of its token.
    pub token: String,
    /// Whom it names.
    pub identity: String,
    /// When it was opened, in milliseconds of Unix time.
    pub opened_ms: u64,
}

#[derive(Debug)]
struct Open {
    token: TokenHash,
    identity: serin_core::Name,
    opened_ms: u64,
}

/// The open sessions, by the hashes of their ids.
#[derive(Debug)]
pub struct Sessions {
    open: Mutex<HashMap<TokenHash, Open>>,
    /// Where there is no session, form keys are derived from this.
    secret: Option<Token>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { open: Mutex::default(), secret: Token::generate().ok() }
    }
}

impl Sessions {
    /// Those that were kept, and whose time is not over.
    pub fn of(kept: Vec<KeptSession>, now_ms: u64) -> Self {
        let open = kept.into_iter().filter_map(|kept| {
            let (id, token) = (TokenHash::parse(&kept.id)?, TokenHash::parse(&kept.token)?);
            let session = Open { token, identity: kept.identity.as_str().into(), opened_ms: kept.opened_ms };
            session.is_current(now_ms).then_some((id, session))
        });
        Self { open: Mutex::new(open.take(MOST).collect()), ..Self::default() }
    }

    /// Those that are open, to be kept.
    pub fn kept(&self) -> Vec<KeptSession> {
        let open = self.open.lock();
        let kept = open.iter().map(|(id, session)| KeptSession {
            id: id.to_hex(),
            token: session.token.to_hex(),
            identity: session.identity.to_string(),
            opened_ms: session.opened_ms,
        });
        kept.collect()
    }

    /// Opens a session for a token that was accepted; its id, which only the browser keeps. None where the
    /// system has no entropy.
    pub fn open(&self, token: &str, identity: &Identity, now_ms: u64) -> Option<String> {
        let id = Token::generate().ok()?;
        let mut open = self.open.lock();
        open.retain(|_, session| session.is_current(now_ms));
        while let Some(oldest) = Self::surplus(&open, identity) {
            open.remove(&oldest);
        }
        let session = Open { token: TokenHash::of(token), identity: identity.name.clone(), opened_ms: now_ms };
        open.insert(TokenHash::of(id.as_str()), session);
        Some(id.as_str().to_owned())
    }

    /// The oldest session that has to make room.
    fn surplus(open: &HashMap<TokenHash, Open>, identity: &Identity) -> Option<TokenHash> {
        let own = open.iter().filter(|(_, session)| session.identity == identity.name);
        let own: Vec<_> = own.map(|(hash, session)| (session.opened_ms, hash)).collect();
        let all = || open.iter().map(|(hash, session)| (session.opened_ms, hash)).collect::<Vec<_>>();
        let crowded = match () {
            () if own.len() >= PER_IDENTITY => own,
            () if open.len() >= MOST => all(),
            () => return None,
        };
        crowded.into_iter().min_by_key(|(opened_ms, _)| *opened_ms).map(|(_, hash)| hash.clone())
    }

    /// The session of an id, while its token is accepted.
    pub fn find(&self, id: &str, access: &Access, now_ms: u64) -> Option<Session> {
        let hash = TokenHash::of(id);
        let mut open = self.open.lock();
        let session = open.get(&hash)?;
        let identity = match session.is_current(now_ms) {
            true => access.of_hash(&session.token, now_ms).ok(),
            false => None,
        };
        match identity {
            Some(identity) => Some(Session { identity, form_key: derived("form of", id) }),
            None => {
                open.remove(&hash);
                None
            }
        }
    }

    /// Ends a session.
    pub fn end(&self, id: &str) {
        self.open.lock().remove(&TokenHash::of(id));
    }

    /// The form key of somebody without a session.
    pub fn form_key(&self, who: &str) -> String {
        // Without entropy no form is accepted.
        self.secret.as_ref().map_or_else(String::new, |secret| derived(who, secret.as_str()))
    }
}

impl Open {
    fn is_current(&self, now_ms: u64) -> bool {
        // A clock that went back does not prolong it.
        now_ms.abs_diff(self.opened_ms) < SESSION_MS
    }
}

fn derived(what: &str, secret: &str) -> String {
    TokenHash::of(&format!("{secret} {what}")).to_hex()
}

/// A form key as a page holds it: other letters on each page, so that the length of a compressed page, which holds what was
/// searched for as well, tells nothing about the key. Empty where the system has no entropy; no form is accepted then.
pub fn masked(key: &str) -> String {
    let pad = Token::generate().ok().and_then(|pad| bytes(pad.as_str().strip_prefix(TOKEN_PREFIX)?));
    let Some((pad, key)) = pad.zip(bytes(key)).filter(|(pad, key)| pad.len() == key.len()) else {
        return String::new();
    };
    let hidden = pad.iter().zip(&key).map(|(pad, key)| pad ^ key);
    pad.iter().copied().chain(hidden).map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of hexadecimal digits.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(digits).collect()
}

/// Whether a form holds this key, [`masked`]. Keys are compared in a time that does not depend on where they differ.
pub fn is_form_key(sent: &str, expected: &str) -> bool {
    let Some(sent) = bytes(sent).filter(|sent| sent.len() == expected.len() && !sent.is_empty()) else { return false };
    let (pad, hidden) = sent.split_at(sent.len() / 2);
    let key: String = pad.iter().zip(hidden).map(|(pad, hidden)| format!("{:02x}", pad ^ hidden)).collect();
    TokenHash::of(&key).is_same(&TokenHash::of(expected))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Credential, Role, Roles};

    fn access(token: &str, expires_ms: Option<u64>) -> Access {
        let mut access = Access::default();
        let identity = Arc::new(Identity::new("ann".into(), Roles::of(&[Role::Read]), None));
        access.add_token(TokenHash::of(token), Credential { identity, expires_ms });
        access
    }

    #[test]
    fn a_session_ends_with_its_token_its_time_and_its_person() {
        let sessions = Sessions::default();
        let known = access("t", Some(5_000));
        let ann = known.of_token("t", 0).expect("is known");
        let open = || sessions.open("t", &ann, 0).expect("entropy");
        let id = open();
        assert_eq!(sessions.find(&id, &known, 1).map(|found| found.identity.name.to_string()), Some("ann".to_owned()));
        assert!(sessions.find("another", &known, 1).is_none());
        sessions.end(&id);
        assert!(sessions.find(&id, &known, 1).is_none(), "it was ended");
        let id = open();
        assert!(sessions.find(&id, &Access::default(), 1).is_none(), "its token was taken away");
        assert!(sessions.find(&id, &known, 1).is_none(), "and it does not come back with the token");
        let id = open();
        assert!(sessions.find(&id, &known, 5_000).is_none(), "its token has expired");
        let id = open();
        assert!(sessions.find(&id, &access("t", None), SESSION_MS).is_none(), "its time is over");
    }

    #[test]
    fn the_sessions_of_one_identity_are_bounded() {
        let (sessions, known) = (Sessions::default(), access("t", None));
        let ann = known.of_token("t", 0).expect("is known");
        let ids: Vec<String> =
            (0..=PER_IDENTITY as u64).map(|at| sessions.open("t", &ann, at).expect("entropy")).collect();
        assert!(sessions.find(&ids[0], &known, 100).is_none(), "the oldest made room");
        assert!(ids[1..].iter().all(|id| sessions.find(id, &known, 100).is_some()));
    }

    #[test]
    fn a_form_key_is_of_its_session_and_of_its_process() {
        let (sessions, others) = (Sessions::default(), Sessions::default());
        let sent = || masked(&sessions.form_key("ann"));
        assert!(is_form_key(&sent(), &sessions.form_key("ann")) && sent() != sent());
        assert!(!is_form_key(&sent(), &sessions.form_key("bob")));
        assert!(!is_form_key(&sent(), &others.form_key("ann")));
        for other in ["", "00", "x", &sessions.form_key("ann"), &"\u{e9}".repeat(64), &"+f".repeat(64)] {
            assert!(!is_form_key(other, &sessions.form_key("ann")) && !is_form_key(other, ""), "{other}");
        }
    }
}
