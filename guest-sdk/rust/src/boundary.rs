//! Between positions and names: what the generated code calls. Strategies need none of it.

use std::vec::IntoIter;

use crate::bindings::{self, Context, Value};
use crate::decision::Answer;

/// A plugin's input, read from the raw context.
pub trait FromContext {
    /// Takes the values at their positions.
    fn from_context(context: Context) -> Self;
}

/// An action or a reason, as it crosses the boundary.
pub trait Encode {
    /// Its position in the manifest.
    fn position(&self) -> u32;
    /// Its parameters' values, in the manifest's order.
    fn into_values(self) -> Vec<Value>;
}

/// A typed field's value.
pub trait FromValue: Sized {
    /// The value, where it has this type.
    fn from_value(value: Value) -> Option<Self>;
}

macro_rules! typed {
    ($($case:ident($type:ty)),*) => {$(
        impl FromValue for $type {
            fn from_value(value: Value) -> Option<Self> {
                if let Value::$case(inner) = value { Some(inner) } else { None }
            }
        }
        impl From<$type> for Value {
            fn from(inner: $type) -> Self {
                Self::$case(inner)
            }
        }
    )*};
}
typed!(Boolean(bool), Integer(i64), Number(f64), Text(String));

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value) -> Option<Self> {
        if matches!(value, Value::Missing) { Some(None) } else { T::from_value(value).map(Some) }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(inner: Option<T>) -> Self {
        inner.map_or(Self::Missing, Into::into)
    }
}

/// The next field's value.
pub fn next<T: FromValue>(values: &mut IntoIter<Value>) -> T {
    values.next().and_then(T::from_value).unwrap_or_else(|| drifted())
}

/// The next declared model's score.
pub fn next_score(scores: &mut IntoIter<f64>) -> f64 {
    scores.next().unwrap_or_else(|| drifted())
}

/// The host compares the manifest's hash at load, so this is a defect of one of the two.
#[cold]
fn drifted() -> ! {
    panic!("the host's values do not fit the manifest that this strategy was compiled against")
}

/// One decision, from the raw context to the raw answer.
///
/// # Errors
/// The refusal, where the strategy declined.
pub fn run<I: FromContext, O: Answer>(
    decide: impl FnOnce(&I) -> O,
    context: Context,
) -> Result<bindings::Decision, bindings::Refusal>
where
    O::Action: Encode,
    O::Reason: Encode,
{
    match decide(&I::from_context(context)).into_result() {
        Ok(decision) => Ok(bindings::Decision {
            candidates: decision
                .candidates
                .into_iter()
                .map(|candidate| bindings::Candidate {
                    action: candidate.action.position(),
                    probability: candidate.probability,
                    parameters: candidate.action.into_values(),
                    reasons: candidate
                        .reasons
                        .into_iter()
                        .map(|(reason, weight)| bindings::Reason { code: reason.position(), weight })
                        .collect(),
                    extra: Vec::new(),
                })
                .collect(),
        }),
        Err(refusal) => Err(bindings::Refusal { code: refusal.reason.position(), message: refusal.message }),
    }
}
