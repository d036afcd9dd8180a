//! Who may do what: identities, their roles, and the credentials that name them. Nothing else looks
//! at a credential.

mod control;
mod limits;
mod role;
mod session;
mod token;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use serin_core::Name;

pub use control::{AccessControl, Refused};
pub use limits::RefusalLimits;
pub use role::{Role, Roles};
pub use session::{KeptSession, SESSION_MS, Session, Sessions, is_form_key, masked};
pub use token::{TOKEN_PREFIX, Token, TokenHash};

/// Somebody whom a credential names.
#[derive(Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name, as records and approvals show it.
    pub name: Name,
    roles: Roles,
    /// The decision points that its roles are limited to; none: all.
    points: Option<Vec<Name>>,
}

impl Identity {
    /// An identity with these roles, at these decision points; none: at all.
    pub fn new(name: Name, roles: Roles, points: Option<Vec<Name>>) -> Self {
        Self { name, roles, points }
    }

    /// Whether it has a role.
    pub fn may(&self, role: Role) -> bool {
        self.roles.contains(role)
    }

    /// Whether its roles are for a decision point.
    pub fn reaches(&self, point: &str) -> bool {
        self.points.as_ref().is_none_or(|points| points.iter().any(|own| **own == *point))
    }

    /// The decision points that its roles are limited to; none: all.
    pub fn points(&self) -> Option<&[Name]> {
        self.points.as_deref()
    }

    /// Its roles, as they are written.
    pub fn roles(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.roles.iter().map(Role::as_str)
    }
}

/// A credential and whom it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Whom it names.
    pub identity: Arc<Identity>,
    /// From when on it is not accepted, in milliseconds since the Unix epoch.
    pub expires_ms: Option<u64>,
}

/// Why a credential is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Nobody has it.
    #[error("the credential is not known here")]
    Unknown,
    /// Its time is over; whom it named. That is for the audit, and not for who has it.
    #[error("the credential has expired")]
    Expired(Name),
}

impl CredentialError {
    /// The reason in metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown-credential",
            Self::Expired(_) => "expired-credential",
        }
    }

    /// Whom the credential named.
    pub fn name(&self) -> Option<&Name> {
        match self {
            Self::Unknown => None,
            Self::Expired(name) => Some(name),
        }
    }
}

/// `[access]` of `serin.toml`: every credential that is accepted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// By the first bytes of their hashes. How long it takes to find a place tells something of a hash,
    /// and a hash tells nothing of its token.
    tokens: HashMap<[u8; 8], Vec<(TokenHash, Credential)>>,
    /// By a name in the client's certificate.
    certificates: HashMap<String, Credential>,
}

impl Access {
    /// Adds a token by its hash. False where it is there already.
    pub fn add_token(&mut self, hash: TokenHash, credential: Credential) -> bool {
        let same = self.tokens.entry(hash.prefix()).or_default();
        let is_new = same.iter().all(|(known, _)| *known != hash);
        if is_new {
            same.push((hash, credential));
        }
        is_new
    }

    /// Adds a name that a client's certificate may have. False where it is there already.
    pub fn add_certificate(&mut self, dns_name: String, credential: Credential) -> bool {
        match self.certificates.entry(dns_name.to_ascii_lowercase()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(credential);
                true
            }
        }
    }

    /// Whom a token names at a time.
    ///
    /// # Errors
    /// That nobody has it, or that it has expired.
    pub fn of_token(&self, token: &str, now_ms: u64) -> Result<Arc<Identity>, CredentialError> {
        self.of_hash(&TokenHash::of(token), now_ms)
    }

    /// Whom the token of a hash names at a time.
    ///
    /// # Errors
    /// That nobody has it, or that it has expired.
    pub fn of_hash(&self, hash: &TokenHash, now_ms: u64) -> Result<Arc<Identity>, CredentialError> {
        let same = self.tokens.get(&hash.prefix()).map(Vec::as_slice).unwrap_or_default();
        let found = same.iter().find(|(known, _)| known.is_same(hash)).map(|(_, credential)| credential);
        accept(found, now_ms)
    }

    /// The names of those who have a role at a decision point, or at all of them, in order.
    pub fn with_role(&self, role: Role, point: Option<&str>) -> Vec<Name> {
        let tokens = self.tokens.values().flatten().map(|(_, credential)| credential);
        let reaches = |identity: &Identity| match point {
            Some(point) => identity.reaches(point),
            None => identity.points().is_none(),
        };
        let all = tokens.chain(self.certificates.values());
        let all = all.filter(|credential| credential.identity.may(role) && reaches(&credential.identity));
        let mut names: Vec<Name> = all.map(|credential| credential.identity.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Whom a client's certificate names at a time. It was verified in the handshake.
    ///
    /// # Errors
    /// That it names nobody, or that the entry has expired.
    pub fn of_certificate(&self, dns_names: &[String], now_ms: u64) -> Result<Arc<Identity>, CredentialError> {
        let found = dns_names.iter().find_map(|name| self.certificates.get(&name.to_ascii_lowercase()));
        accept(found, now_ms)
    }
}

fn accept(found: Option<&Credential>, now_ms: u64) -> Result<Arc<Identity>, CredentialError> {
    let credential = found.ok_or(CredentialError::Unknown)?;
    match credential.expires_ms {
        Some(expires_ms) if expires_ms <= now_ms => {
            Err(CredentialError::Expired(Arc::clone(&credential.identity.name)))
        }
        _ => Ok(Arc::clone(&credential.identity)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(name: &str, expires_ms: Option<u64>) -> Credential {
        let identity = Identity::new(name.into(), Roles::of(&[Role::Decide]), Some(vec!["offers".into()]));
        Credential { identity: Arc::new(identity), expires_ms }
    }

    #[test]
    fn a_token_names_one_until_it_expires_and_another_names_nobody() {
        let (token, other) = (Token::generate().expect("entropy"), Token::generate().expect("entropy"));
        let mut access = Access::default();
        assert!(access.add_token(TokenHash::of(token.as_str()), credential("app", Some(100))));
        assert!(!access.add_token(TokenHash::of(token.as_str()), credential("twin", None)), "one token, two names");
        let identity = access.of_token(token.as_str(), 99).expect("is known");
        assert_eq!(&*identity.name, "app");
        assert!(identity.may(Role::Decide) && !identity.may(Role::Operate));
        assert!(identity.reaches("offers") && !identity.reaches("limits"));
        assert_eq!(access.of_token(token.as_str(), 100), Err(CredentialError::Expired("app".into())));
        assert_eq!(access.of_token(other.as_str(), 0), Err(CredentialError::Unknown));
        assert_eq!(access.of_token("", 0), Err(CredentialError::Unknown));
    }

    #[test]
    fn a_certificate_names_one_by_any_of_its_names() {
        let mut access = Access::default();
        assert!(access.add_certificate("App.internal".to_owned(), credential("app", None)));
        assert!(!access.add_certificate("app.INTERNAL".to_owned(), credential("twin", None)));
        let of = |names: &[&str]| access.of_certificate(&names.map_owned(), 0);
        assert_eq!(of(&["x.internal", "app.internal"]).map(|found| found.name.to_string()), Ok("app".to_owned()));
        assert_eq!(of(&["x.internal"]), Err(CredentialError::Unknown));
        assert_eq!(of(&[]), Err(CredentialError::Unknown));
    }

    trait MapOwned {
        fn map_owned(&self) -> Vec<String>;
    }

    impl MapOwned for &[&str] {
        fn map_owned(&self) -> Vec<String> {
            self.iter().map(|name| (*name).to_owned()).collect()
        }
    }
}
