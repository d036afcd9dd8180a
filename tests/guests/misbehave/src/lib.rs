//! A strategy for the host's tests: the request's `mode` picks a rule of the boundary, and
//! it breaks that one. The typed layer allows none of this, so it answers in raw bindings.
//!
//! | mode | what happens |
//! |---|---|
//! | `ok` | one candidate, `none` |
//! | `explore` | three candidates: `none` 0.5, `say` 0.3, `scores` 0.2 |
//! | `refuse` | a refusal with the reason `ASKED` |
//! | `count` | `scores`, where `a` is how often this instance was called |
//! | `trap`, `spin`, `memory`, `recurse` | never answers; see [`faults`] |
//! | `log_flood` | 100 lines of 1 kB, then as `ok` |
//! | `call_model` | three rows in one call, their scores as `scores` |
//! | `call_model_too_often` | 1,000 calls; `scores` holds how many were answered (`a`) and not (`b`) |
//! | `call_model_long_rows` | 16 calls with a row of 500 kB of text; `scores` holds how many were answered (`a`) |
//! | `call_model_bad_row` | a row of one text; refuses with the model's error |
//! | `call_model_too_large` | a row with a number beyond a float32; refuses with the model's error |
//! | `call_model_unknown` | a model at a position that is not declared; refuses with the error |
//! | all others | an answer that the host must not accept; see [`answers`] |

pub mod answers;
pub mod calls;
pub mod faults;

use std::sync::atomic::{AtomicU32, Ordering};

use serin_guest::bindings;

serin_guest::plugin!();

/// Would survive from one decision to the next, were an instance used twice.
static CALLS: AtomicU32 = AtomicU32::new(0);

/// The strategy.
pub struct Misbehave;

impl bindings::Guest for Misbehave {
    fn decide(context: bindings::Context) -> Result<bindings::Decision, bindings::Refusal> {
        let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
        let mode = match context.features.into_iter().next() {
            Some(bindings::Value::Text(mode)) => mode,
            _ => String::new(),
        };
        match mode.as_str() {
            "ok" => Ok(answers::one(answers::none())),
            "count" => Ok(answers::one(answers::scores([f64::from(calls), 0.0, 0.0]))),
            "refuse" => Err(answers::refusal(Reason::Asked as u32, "asked to refuse")),
            "trap" => faults::trap(),
            "spin" => faults::spin(),
            "memory" => faults::memory(),
            "recurse" => Ok(answers::one(answers::say(faults::recurse(0).to_string()))),
            "log_flood" => calls::log_flood(),
            "call_model" => calls::three_rows(),
            "call_model_too_often" => calls::too_often(),
            "call_model_long_rows" => calls::long_rows(),
            "call_model_bad_row" => calls::bad_row(),
            "call_model_too_large" => calls::too_large(),
            "call_model_unknown" => calls::unknown_model(),
            other => answers::broken(other).unwrap_or_else(|| Err(answers::refusal(Reason::UnknownMode as u32, other))),
        }
    }
}

#[cfg(target_arch = "wasm32")]
bindings::export_strategy!(Misbehave with_types_in serin_guest::bindings);

#[cfg(test)]
mod tests {
    use super::*;
    use bindings::Guest as _;
    use serin_guest::Value;

    fn answer(mode: &str) -> Result<bindings::Decision, bindings::Refusal> {
        Misbehave::decide(bindings::Context {
            decision_point: "misbehave".into(),
            time_ms: 0,
            utc_offset_minutes: 0,
            features: vec![Value::from(mode)],
            scores: Vec::new(),
            parameters: Vec::new(),
            extra: Vec::new(),
        })
    }

    #[test]
    fn an_unknown_mode_is_told_apart_from_an_answer() {
        assert_eq!(answer("ok").expect("decides").candidates.len(), 1);
        assert_eq!(answer("no_such_mode").expect_err("refuses").code, Reason::UnknownMode as u32);
    }

    #[test]
    fn the_doubles_stand_in_for_the_imports() {
        let fake = |model: &str, rows: &[Vec<Value>]| {
            assert_eq!((model, rows.len(), rows[0].len()), ("default-risk", 3, 13));
            Ok(vec![0.1, 0.2, 0.3])
        };
        let decision = serin_guest::testing::with_models(fake, || answer("call_model")).expect("decides");
        assert_eq!(decision, answers::one(answers::scores([0.1, 0.2, 0.3])));
        let (_, lines) = serin_guest::testing::with_log(|| answer("log_flood"));
        assert_eq!(lines.iter().map(|(_, line)| line.len()).sum::<usize>(), 100_000);
    }

    #[test]
    fn the_actions_by_name_are_those_of_the_manifest() {
        use serin_guest::boundary::Encode as _;
        assert_eq!(answers::say("x").action, Action::Say { text: "x".into() }.position());
        assert_eq!(answers::scores([0.0; 3]).action, Action::Scores { a: 0.0, b: 0.0, c: 0.0 }.position());
    }
}
