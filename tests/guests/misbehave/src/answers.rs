//! Answers, most of which break one rule of the boundary.

use serin_guest::Value;
use serin_guest::bindings::{Attribute, Candidate, Decision, Reason, Refusal};

const NONE: u32 = 0;
const SAY: u32 = 1;
const SCORES: u32 = 2;

fn candidate(action: u32, parameters: Vec<Value>) -> Candidate {
    Candidate {
        action,
        probability: 1.0,
        parameters,
        reasons: vec![Reason { code: 0, weight: 1.0 }],
        extra: Vec::new(),
    }
}

/// The action without parameters.
pub fn none() -> Candidate {
    candidate(NONE, Vec::new())
}

/// The action with a text.
pub fn say(text: impl Into<String>) -> Candidate {
    candidate(SAY, vec![Value::Text(text.into())])
}

/// The action with three numbers.
pub fn scores(scores: [f64; 3]) -> Candidate {
    candidate(SCORES, scores.map(Value::Number).into())
}

/// A decision of one candidate.
pub fn one(candidate: Candidate) -> Decision {
    Decision { candidates: vec![candidate] }
}

/// A refusal by the position of its reason.
pub fn refusal(code: u32, message: &str) -> Refusal {
    Refusal { code, message: message.to_owned() }
}

fn likely(probability: f64, candidate: Candidate) -> Candidate {
    Candidate { probability, ..candidate }
}

fn because(code: u32, weight: f64) -> Candidate {
    Candidate { reasons: vec![Reason { code, weight }], ..none() }
}

/// The answer of a mode; none where there is no such mode.
pub fn broken(mode: &str) -> Option<Result<Decision, Refusal>> {
    let candidates = match mode {
        "explore" => vec![likely(0.5, none()), likely(0.3, say("explore")), likely(0.2, scores([1.0, 2.0, 3.0]))],
        "no_candidates" => Vec::new(),
        // Bare and all different, so that their number alone is wrong, and fuel lasts.
        "many_candidates" => (0..10_000)
            .map(|i| Candidate { reasons: Vec::new(), ..likely(1e-4, scores([f64::from(i), 0.0, 0.0])) })
            .collect(),
        "duplicate_candidates" => vec![likely(0.5, say("twice")), likely(0.5, say("twice"))],
        "long_text" => vec![say("x".repeat(1 << 20))],
        "long_refusal" => return Some(Err(refusal(0, &"x".repeat(1 << 20)))),
        "large_extra" => {
            let extra = vec![Attribute { name: "x".repeat(1 << 20), value: Value::Missing }];
            vec![Candidate { extra, ..none() }]
        }
        "unknown_extra" => {
            let extra = vec![Attribute { name: "of-a-later-version".to_owned(), value: Value::Boolean(true) }];
            vec![Candidate { extra, ..none() }]
        }
        "probabilities_off" => vec![likely(0.5, none()), likely(0.2, say("off"))],
        "negative_probability" => vec![likely(1.5, none()), likely(-0.5, say("negative"))],
        "nan_probability" => vec![likely(f64::NAN, none())],
        "unknown_action" => vec![candidate(99, Vec::new())],
        "wrong_parameter_type" => vec![candidate(SAY, vec![Value::Integer(7)])],
        "wrong_parameter_count" => vec![candidate(SAY, Vec::new())],
        "missing_parameter" => vec![candidate(SAY, vec![Value::Missing])],
        "nan_parameter" => vec![scores([f64::NAN, 0.0, 0.0])],
        "bad_reason" => vec![because(99, 1.0)],
        "bad_refusal" => return Some(Err(refusal(99, "no such reason"))),
        "nan_weight" => vec![because(0, f64::NAN)],
        _ => return None,
    };
    Some(Ok(Decision { candidates }))
}
