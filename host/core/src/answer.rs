//! From a strategy's answer to the served action: every candidate is checked, then the host draws
//! one.

use std::collections::HashSet;

use crate::NameMap;
use crate::limits::Limits;
use crate::manifest::Manifest;
use crate::record::{
    Answer, AnswerReason, Candidate, Entropy, FailureKind, Outcome, ReasonWeight, ServedBy, StrategyId,
};
use crate::value::{Value, escaped_bytes};

/// How far the sum of probabilities may be from 1 and still count as 1.
pub const PROBABILITY_TOLERANCE: f64 = 1e-9;
/// How far the sum may be from 1 by rounding, as in a 32-bit softmax. The probabilities are then
/// normalized.
pub const ROUNDING_TOLERANCE: f64 = 1e-6;

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

/// The result of checking an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The checked candidates, a refusal, or what is wrong.
    pub outcome: Outcome,
    /// The sum of the probabilities before they were normalized; none if they were not.
    pub normalized_from: Option<f64>,
}

/// Checks an answer against the manifest and the limits. It checks all candidates, not only the one
/// that is drawn.
pub fn check(raw: RawAnswer, manifest: &Manifest, limits: &Limits) -> Checked {
    let checked = match raw {
        Ok(candidates) => check_candidates(candidates, manifest, limits),
        Err((code, message)) => check_refusal(code, message, manifest, limits).map(|outcome| (outcome, None)),
    };
    match checked {
        Ok((outcome, normalized_from)) => Checked { outcome, normalized_from },
        Err((kind, detail)) => Checked { outcome: Outcome::Failure { kind, detail }, normalized_from: None },
    }
}

type Breach = (FailureKind, String);

fn invalid<T>(detail: String) -> Result<T, Breach> {
    Err((FailureKind::OutputInvalid, detail))
}

fn check_refusal(code: u32, message: String, manifest: &Manifest, limits: &Limits) -> Result<Outcome, Breach> {
    within_output(escaped_bytes(&message), limits)?;
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

/// The size of a candidate in the record, in bytes.
fn recorded_bytes(candidate: &Candidate) -> u64 {
    let parameters = candidate.parameters.iter().map(|(name, value)| name.len() as u64 + value.recorded_bytes());
    let reasons = candidate.reasons.iter().map(|reason| reason.code.len() as u64 + 16);
    candidate.action.len() as u64 + 16 + parameters.sum::<u64>() + reasons.sum::<u64>()
}

/// The candidates, and the sum of their probabilities if they were normalized.
fn check_candidates(
    raw: Vec<RawCandidate>,
    manifest: &Manifest,
    limits: &Limits,
) -> Result<(Outcome, Option<f64>), Breach> {
    if raw.is_empty() {
        return invalid("no candidate".to_owned());
    }
    if raw.len() as u64 > limits.candidates {
        return Err((FailureKind::OutputTooLarge, format!("{} candidates, {} granted", raw.len(), limits.candidates)));
    }
    let (mut total, mut recorded, mut texts) = (0.0, 0, 0);
    let mut seen = HashSet::new();
    let mut candidates = Vec::with_capacity(raw.len());
    for (index, candidate) in raw.into_iter().enumerate() {
        let (candidate, text_bytes) = check_candidate(candidate, manifest)
            .map_err(|detail| (FailureKind::OutputInvalid, format!("candidate {index}: {detail}")))?;
        // All candidates are recorded, and the answer also has the texts of one candidate's
        // reasons.
        recorded += recorded_bytes(&candidate);
        texts = text_bytes.max(texts);
        within_output(recorded + texts, limits)?;
        total += candidate.probability;
        candidates.push(candidate);
    }
    if candidates.len() > 1 {
        for candidate in &candidates {
            // Text is quoted, so equal keys mean equal candidates.
            let mut key = candidate.action.to_string();
            candidate.parameters.values().for_each(|value| {
                key.push(' ');
                // 0.0 and -0.0 are the same value to an application.
                match value {
                    Value::Number(x) if *x == 0.0 => key.push('0'),
                    value => key.push_str(&value.to_string()),
                }
            });
            if !seen.insert(key) {
                return invalid(format!("action '{}' twice with equal parameters", candidate.action));
            }
        }
    }
    let normalized_from = normalize(&mut candidates, total)?;
    Ok((Outcome::Candidates(candidates), normalized_from))
}

/// Normalizes the probabilities if their sum differs from 1 only by rounding.
fn normalize(candidates: &mut [Candidate], total: f64) -> Result<Option<f64>, Breach> {
    let deviation = (total - 1.0).abs();
    if deviation <= PROBABILITY_TOLERANCE {
        return Ok(None);
    }
    if deviation > ROUNDING_TOLERANCE {
        return invalid(not_one(total));
    }
    candidates.iter_mut().for_each(|candidate| candidate.probability /= total);
    Ok(Some(total))
}

fn not_one(total: f64) -> String {
    format!("probabilities sum to {total}, not 1")
}

/// The outcome for such a sum in records that were written before sums were normalized.
pub fn before_normalizing(total: f64) -> Outcome {
    Outcome::Failure { kind: FailureKind::OutputInvalid, detail: not_one(total) }
}

/// Advice to an author about an outcome. It is printed when cases are run and is not recorded.
pub fn advice(outcome: &Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Failure { kind: FailureKind::OutputInvalid, detail } if detail.starts_with("probabilities sum to") => {
            Some(
                "they have to sum to 1, to a millionth: divide them by their sum, or give weights to the SDK's \
                 Decision::normalized (Rust) or normalized (Python, JavaScript)",
            )
        }
        _ => None,
    }
}

/// The candidate with names instead of positions, and the bytes of its reasons' texts.
fn check_candidate(raw: RawCandidate, manifest: &Manifest) -> Result<(Candidate, u64), String> {
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
    if raw.reasons.len() > manifest.reasons.len() {
        return Err(format!("{} reasons of {}; each counts once", raw.reasons.len(), manifest.reasons.len()));
    }
    let (mut reasons, mut texts) = (Vec::with_capacity(raw.reasons.len()), 0);
    for (position, &(code, weight)) in raw.reasons.iter().enumerate() {
        let Some(reason) = manifest.reasons.get(code as usize) else {
            return Err(format!("reason {code} of {}", manifest.reasons.len()));
        };
        if !weight.is_finite() {
            return Err(format!("weight {weight} of reason '{}' is not finite", reason.code));
        }
        if raw.reasons[..position].iter().any(|(earlier, _)| *earlier == code) {
            return Err(format!("reason '{}' twice", reason.code));
        }
        texts += reason.text.len() as u64;
        reasons.push(ReasonWeight { code: reason.code.clone(), weight });
    }
    Ok((Candidate { action: action.name.clone(), probability: raw.probability, parameters, reasons }, texts))
}

/// The candidate selected by the host's random bits; never one of probability 0.
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

/// The answer for the drawn `candidate`.
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
        match check(Ok(raw), &manifest(), &Limits::default()).outcome {
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
        assert!(matches!(fine.outcome, Outcome::Candidates(_)));
    }

    #[test]
    fn a_sum_that_rounding_explains_is_divided_away_and_told() {
        let answer = |probabilities: &[f64]| {
            let candidate = |(i, probability): (usize, &f64)| RawCandidate {
                parameters: vec![Value::Text(i.to_string())],
                ..plain(1, *probability)
            };
            check(Ok(probabilities.iter().enumerate().map(candidate).collect()), &manifest(), &Limits::default())
        };
        // A softmax over 40 candidates in 32 bits.
        let weights: Vec<f32> = (0..40u8).map(|i| (f32::from(i) / 7.0).exp()).collect();
        let softmax: Vec<f64> = weights.iter().map(|w| f64::from(w / weights.iter().sum::<f32>())).collect();
        let sum: f64 = softmax.iter().sum();
        assert!((sum - 1.0).abs() > PROBABILITY_TOLERANCE, "{sum}");
        for probabilities in [softmax, vec![0.5, 0.500_000_9], vec![0.5, 0.499_999_1]] {
            let sum: f64 = probabilities.iter().sum();
            let checked = answer(&probabilities);
            assert_eq!(checked.normalized_from, Some(sum));
            let Outcome::Candidates(candidates) = &checked.outcome else { panic!("{checked:?}") };
            let total: f64 = candidates.iter().map(|c| c.probability).sum();
            assert!((total - 1.0).abs() < 1e-14, "{total}");
            assert_eq!(candidates[1].probability.to_bits(), (probabilities[1] / sum).to_bits());
            assert_eq!(answer(&probabilities), checked, "the same again in a replay");
        }
        let exact = answer(&[0.25, 0.75 + 5e-10]);
        assert_eq!(exact.normalized_from, None, "what counted as 1 before is left as it came");
        let off = check(Ok(vec![plain(0, 1.0 - 2e-6)]), &manifest(), &Limits::default()).outcome;
        assert_eq!(off, before_normalizing(1.0 - 2e-6));
        assert!(advice(&off).is_some_and(|advice| advice.contains("Decision::normalized")));
        assert_eq!(advice(&exact.outcome), None);
    }

    #[test]
    fn what_nobody_could_tell_apart_is_the_same_candidate() {
        let manifest = Manifest::parse(
            "name = \"p\"\nversion = \"1.0.0\"\ndecision_point = \"d\"\n[actions.a]\nparameters = { x = \"number\" }\n",
        )
        .expect("valid");
        let of = |x: f64| RawCandidate {
            action: 0,
            probability: 0.5,
            parameters: vec![Value::Number(x)],
            reasons: Vec::new(),
        };
        let checked = |a, b| check(Ok(vec![of(a), of(b)]), &manifest, &Limits::default());
        assert!(matches!(checked(0.0, 1.0).outcome, Outcome::Candidates(_)));
        let Outcome::Failure { kind, detail } = checked(0.0, -0.0).outcome else { panic!("accepted") };
        assert!(kind == FailureKind::OutputInvalid && detail.contains("twice"), "{detail}");
    }

    #[test]
    fn all_that_is_recorded_or_answered_counts() {
        let many = |limits: &Limits| {
            let text = Value::Text("\u{1}".repeat(100));
            let one = RawCandidate { parameters: vec![text], ..plain(1, 1.0) };
            check(Ok(vec![one]), &manifest(), limits)
        };
        // 600 bytes of text as JSON has it, the names, and "because".
        let within = |output_bytes| {
            matches!(many(&Limits { output_bytes, ..Limits::default() }).outcome, Outcome::Candidates(_))
        };
        assert!(within(700) && !within(600));
        let twice = RawCandidate { reasons: vec![(0, 1.0), (0, 2.0)], ..plain(0, 1.0) };
        assert!(detail(vec![twice]).contains("2 reasons of 1"));
        let refusal = check(Err((0, "\u{1}".repeat(20_000))), &manifest(), &Limits::default());
        assert!(matches!(refusal.outcome, Outcome::Failure { kind: FailureKind::OutputTooLarge, .. }), "{refusal:?}");
    }

    #[test]
    fn the_draw_follows_the_probabilities_and_never_takes_zero() {
        let Outcome::Candidates(candidates) = check(
            Ok(vec![plain(0, 0.0), RawCandidate { parameters: vec![Value::Text("t".into())], ..plain(1, 1.0) }]),
            &manifest(),
            &Limits::default(),
        )
        .outcome
        else {
            panic!("valid")
        };
        assert_eq!(draw(&candidates, Entropy(0)), 1);
        assert_eq!(draw(&candidates, Entropy(u64::MAX)), 1);
    }
}
