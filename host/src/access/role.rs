//! Roles: what somebody may do. None contains another.

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Ask for decisions.
    Decide,
    /// Send outcomes, exposures and features.
    Ingest,
    /// Read what holds no personal data: plugins, experiments, reports, metrics, masked decisions.
    Read,
    /// Read records, affected units, features of an entity and the audit, and replay.
    Audit,
    /// Command experiments.
    Operate,
    /// Approve experiments.
    Approve,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] = [Self::Decide, Self::Ingest, Self::Read, Self::Audit, Self::Operate, Self::Approve];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decide => "decide",
            Self::Ingest => "ingest",
            Self::Read => "read",
            Self::Audit => "audit",
            Self::Operate => "operate",
            Self::Approve => "approve",
        }
    }

    /// A role as it is written; none where there is no such role.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// Every role as it is written, with commas.
    pub fn written() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }
}

/// Some roles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// These roles.
    pub fn of(roles: &[Role]) -> Self {
        Self(roles.iter().fold(0, |bits, role| bits | 1 << *role as u8))
    }

    /// Whether one is among them.
    pub fn contains(self, role: Role) -> bool {
        self.0 & 1 << role as u8 != 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.contains(*role))
    }
}
