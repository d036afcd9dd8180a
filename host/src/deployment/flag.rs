//! What a decision point answers as a flag.

use serin_core::Name;

/// The value of a decision, for clients that ask for a flag.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum FlagValue {
    /// The action's name, a text.
    #[default]
    Action,
    /// Whether the action is another one than the fallback's.
    Boolean,
    /// This parameter of the action, a number. An action without it has no value, and the client uses its own
    /// default.
    Number(Name),
    /// The action with its parameters.
    Object,
}
