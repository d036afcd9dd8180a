//! From what a strategy returned to what is served: every candidate is checked, then the
//! host draws one.

use std::collections::HashSet;

use crate::NameMap;
use crate::limits::Limits;
use crate::manifest::Manifest;
use crate::record::{
    Answer, AnswerReason, Candidate, Entropy, FailureKind, Outcome, ReasonWeight, ServedBy, StrategyId,
};
use crate::value::Value;

/// How far the probabilities' sum may be from 1.
pub const PROBABILITY_TOLERANCE: f64 = 1e-9;

/// A candidate as it crossed the boundary, by position.
#[derive(Debug, Clone)]
pub struct RawCandidate {
    /// Position of the action.
    pub action: u32,
    /// Its probability.
    pub probability: f64,
    /// Its parameters.
    pub parameters: Vec<Value>,
    /// Positions of the reasons and their weights.
    pub reasons: Vec<(u32, f64)>,
}

/// A strategy's answer as it crossed the boundary.
pub type RawAnswer = Result<Vec<RawCandidate>, (u32, String)>;

/// Checks an answer against the manifest and the limits. All candidates are checked, not
/// only the one that is going to be drawn.
pub fn check(raw: RawAnswer, manifest: &Manifest, limits: &Limits) -> Outcome {
    let outcome = match raw {
        Ok(candidates) => check_candidates(candidates, manifest, limits),
        Err((code, message)) => check_refusal(code, message, manifest, limits),
    };
    outcome.unwrap_or_else(|(kind, detail)| Outcome::Failure { kind, detail })
}

type Breach = (FailureKind, String);

fn invalid<T>(detail: String) -> Result<T, Breach> {
    Err((FailureKind::OutputInvalid, detail))
}

fn check_refusal(code: u32, message: String, manifest: &Manifest, limits: &Limits) -> Result<Outcome, Breach> {
    within_output(message.len() as u64, limits)?;
    match manifest.reasons.get(code as usize) {
        Some(reason) => Ok(Outcome::Refusal { code: reason.code.clone(), message }),
        None => invalid(format!("refusal: reason {code} of {}", manifest.reasons.len())),
    }
}

fn within_output(bytes: u64, limits: &Limits) -> Result<(), Breach> {
    if bytes > limits.output_bytes {
        return Err((FailureKind::OutputTooLarge, format!("{bytes} bytes, {} granted", limits.output_bytes)));
    }
    Ok(())
}

fn size_of(candidate: &RawCandidate) -> u64 {
    let text = |value: &Value| if let Value::Text(t) = value { t.len() } else { 0 };
    let parameters: usize = candidate.parameters.iter().map(|p| 16 + text(p)).sum();
    (16 + parameters + 16 * candidate.reasons.len()) as u64
}

fn check_candidates(raw: Vec<RawCandidate>, manifest: &Manifest, limits: &Limits) -> Result<Outcome, Breach> {
    if raw.is_empty() {
        return invalid("no candidate".to_owned());
    }
    if raw.len() as u64 > limits.candidates {
        return Err((FailureKind::OutputTooLarge, format!("{} candidates, {} granted", raw.len(), limits.candidates)));
    }
    within_output(raw.iter().map(size_of).sum(), limits)?;
    let mut total = 0.0;
    let mut seen = HashSet::new();
    let mut candidates = Vec::with_capacity(raw.len());
    for (index, candidate) in raw.into_iter().enumerate() {
        let candidate = check_candidate(candidate, manifest)
            .map_err(|detail| (FailureKind::OutputInvalid, format!("candidate {index}: {detail}")))?;
        total += candidate.probability;
        candidates.push(candidate);
    }
    if candidates.len() > 1 {
        for candidate in &candidates {
            // Text is quoted, so that equal keys mean equal candidates.
            let mut key = candidate.action.to_string();
            candidate.parameters.values().for_each(|value| {
                key.push(' ');
                key.push_str(&value.to_string());
            });
            if !seen.insert(key) {
                return invalid(format!("action '{}' twice with equal parameters", candidate.action));
            }
        }
    }
    if (total - 1.0).abs() > PROBABILITY_TOLERANCE {
        return invalid(format!("probabilities sum to {total}, not 1"));
    }
    Ok(Outcome::Candidates(candidates))
}

fn check_candidate(raw: RawCandidate, manifest: &Manifest) -> Result<Candidate, String> {
    let Some(action) = manifest.actions.get(raw.action as usize) else {
        return Err(format!("action {} of {}", raw.action, manifest.actions.len()));
    };
    if !(0.0..=1.0).contains(&raw.probability) {
        return Err(format!("probability {} of '{}' is not in [0, 1]", raw.probability, action.name));
    }
    if raw.parameters.len() != action.parameters.len() {
        return Err(format!(
            "{} parameters for '{}', which has {}",
            raw.parameters.len(),
            action.name,
            action.parameters.len()
        ));
    }
    let mut parameters = NameMap::with_capacity_and_hasher(raw.parameters.len(), Default::default());
    for ((name, value_type), value) in action.parameters.iter().zip(raw.parameters) {
        match value_type.admit(value) {
            Ok(Value::Missing) => return Err(format!("'{}' parameter '{name}' has no value", action.name)),
            Ok(value) => parameters.insert(name.clone(), value),
            Err(is) => return Err(format!("'{}' parameter '{name}' is {is}, not {value_type}", action.name)),
        };
    }
    let mut reasons = Vec::with_capacity(raw.reasons.len());
    for (code, weight) in raw.reasons {
        let Some(reason) = manifest.reasons.get(code as usize) else {
            return Err(format!("reason {code} of {}", manifest.reasons.len()));
        };
        if !weight.is_finite() {
            return Err(format!("weight {weight} of reason '{}' is not finite", reason.code));
        }
        reasons.push(ReasonWeight { code: reason.code.clone(), weight });
    }
    Ok(Candidate { action: action.name.clone(), probability: raw.probability, parameters, reasons })
}

/// The candidate that the host's random bits fall on; never one of probability 0.
pub fn draw(candidates: &[Candidate], entropy: Entropy) -> usize {
    let total: f64 = candidates.iter().map(|c| c.probability).sum();
    let point = entropy.unit() * total;
    let mut edge = 0.0;
    let mut last = 0;
    for (index, candidate) in candidates.iter().enumerate().filter(|(_, c)| c.probability > 0.0) {
        edge += candidate.probability;
        last = index;
        if point < edge {
            break;
        }
    }
    last
}

/// The answer that serves `candidate`.
pub fn serve(
    candidate: &Candidate,
    manifest: &Manifest,
    strategy: StrategyId,
    served_by: ServedBy,
    degraded: Vec<String>,
) -> Answer {
    let reasons = candidate
        .reasons
        .iter()
        .filter_map(|reason| {
            let declared = manifest.reasons.iter().find(|declared| declared.code == reason.code)?;
            Some(AnswerReason { code: reason.code.clone(), text: declared.text.clone(), weight: reason.weight })
        })
        .collect();
    Answer {
        action: candidate.action.clone(),
        parameters: candidate.parameters.clone(),
        reasons,
        strategy: Some(strategy),
        propensity: candidate.probability,
        served_by,
        degraded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest::parse(
            "name = \"p\"\nversion = \"1.0.0\"\ndecision_point = \"d\"\n[actions.a]\n[actions.b]\nparameters = { text = \"text\" }\n[reasons]\nR = \"because\"\n",
        )
        .expect("valid")
    }

    fn plain(action: u32, probability: f64) -> RawCandidate {
        RawCandidate { action, probability, parameters: vec![], reasons: vec![(0, 1.0)] }
    }

    fn detail(raw: Vec<RawCandidate>) -> String {
        match check(Ok(raw), &manifest(), &Limits::default()) {
            Outcome::Failure { detail, .. } => detail,
            other => panic!("accepted: {other:?}"),
        }
    }

    #[test]
    fn every_candidate_is_checked() {
        let with_text = |text: &str, probability| RawCandidate {
            parameters: vec![Value::Text(text.into())],
            ..plain(1, probability)
        };
        assert!(detail(vec![]).contains("no candidate"));
        assert!(detail(vec![plain(0, 0.7)]).contains("sum to 0.7"));
        assert!(detail(vec![plain(0, 1.0), plain(9, 0.0)]).contains("candidate 1: action 9 of 2"));
        assert!(detail(vec![plain(0, f64::NAN)]).contains("not in [0, 1]"));
        assert!(detail(vec![plain(0, 1.5), plain(0, -0.5)]).contains("not in [0, 1]"));
        assert!(detail(vec![plain(1, 1.0)]).contains("0 parameters for 'b'"));
        assert!(detail(vec![with_text("x", 0.5), with_text("x", 0.5)]).contains("twice"));
        assert!(
            detail(vec![RawCandidate { reasons: vec![(0, f64::INFINITY)], ..plain(0, 1.0) }]).contains("not finite")
        );
        let fine = check(Ok(vec![with_text("x", 0.5), with_text("y", 0.5)]), &manifest(), &Limits::default());
        assert!(matches!(fine, Outcome::Candidates(_)));
    }

    #[test]
    fn the_draw_follows_the_probabilities_and_never_takes_zero() {
        let Outcome::Candidates(candidates) = check(
            Ok(vec![plain(0, 0.0), RawCandidate { parameters: vec![Value::Text("t".into())], ..plain(1, 1.0) }]),
            &manifest(),
            &Limits::default(),
        ) else {
            panic!("valid")
        };
        assert_eq!(draw(&candidates, Entropy(0)), 1);
        assert_eq!(draw(&candidates, Entropy(u64::MAX)), 1);
    }
}
