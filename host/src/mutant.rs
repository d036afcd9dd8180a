//! Defects that were found once, kept so that the simulation of the control loop can show that it
//! finds them: `tests/simulation` starts itself with one of them put back. A build without debug
//! assertions has none of them.

/// A defect that can be put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A command of the host is carried out on whatever status it finds.
    StaleCommand,
    /// Outcomes and exposures are read before the decisions that they follow.
    OutcomesFirst,
    /// What files ask for is in force, whether or not it was recorded.
    UnrecordedStatus,
    /// Expiry takes the rows that a running experiment is analysed by.
    ForgottenFacts,
}

impl Mutant {
    /// Whether it was put back, by its name in the environment variable `SERIN_MUTANT`.
    pub(crate) fn is_on(self) -> bool {
        #[cfg(debug_assertions)]
        {
            static MUTANT: std::sync::LazyLock<Option<String>> =
                std::sync::LazyLock::new(|| std::env::var("SERIN_MUTANT").ok());
            MUTANT.as_deref() == Some(format!("{self:?}").as_str())
        }
        #[cfg(not(debug_assertions))]
        false
    }
}
