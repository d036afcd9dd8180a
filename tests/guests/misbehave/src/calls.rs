//! Calls of the host's imports, in good measure and beyond.

use serin_guest::bindings::{Decision, Refusal, ScoreError};
use serin_guest::{Value, log};

use crate::{Reason, answers, models};

/// Rows of `default-risk`: a safe loan, a middling one and a risky one, out of the model's golden rows.
const ROWS: [[f64; 13]; 3] = [
    [72_520.0, 24_000.0, 6.49, 36.0, 2.0, 7.0, 0.0, 0.0, 38.9, 39.0, 0.0, 0.0, 33_516.0],
    [62_000.0, 9_000.0, 11.47, 36.0, 10.0, 2.0, 0.0, 1.0, 60.0, 84.0, 1.0, 3.0, 31_879.0],
    [72_000.0, 15_850.0, 28.67, 60.0, 34.0, 6.0, 0.0, 0.0, 81.7, 89.0, 2.0, 2.0, 58_667.0],
];

type Answer = Result<Decision, Refusal>;

fn failed(error: &ScoreError) -> Refusal {
    let text = match error {
        ScoreError::UnknownModel => "unknown-model",
        ScoreError::InvalidRow(why) => why,
        ScoreError::Timeout => "timeout",
        ScoreError::Unavailable => "unavailable",
        ScoreError::LimitReached => "limit-reached",
    };
    answers::refusal(Reason::ModelFailed as u32, text)
}

/// 100 kB of log lines.
pub fn log_flood() -> Answer {
    let line = "x".repeat(1_000);
    for _ in 0..100 {
        log::info(&line);
    }
    Ok(answers::one(answers::none()))
}

/// Three rows in one call.
pub fn three_rows() -> Answer {
    let scores = models::default_risk().score(ROWS).map_err(|e| failed(&e))?;
    match scores[..] {
        [a, b, c] => Ok(answers::one(answers::scores([a, b, c]))),
        _ => Err(answers::refusal(Reason::ModelFailed as u32, "not one score a row")),
    }
}

/// A thousand calls, whatever they are answered.
pub fn too_often() -> Answer {
    let answered = (0..1_000).filter(|_| models::default_risk().score([ROWS[0]]).is_ok()).count();
    Ok(answers::one(answers::scores([answered as f64, (1_000 - answered) as f64, 0.0])))
}

/// Sixteen calls, each with a row of half a megabyte of text that JSON writes six times as long.
pub fn long_rows() -> Answer {
    let text = "\u{1}".repeat(500_000);
    let answered = (0..16).filter(|_| models::default_risk().score([[text.as_str()]]).is_ok()).count();
    Ok(answers::one(answers::scores([answered as f64, 0.0, 0.0])))
}

/// A row that fits no model.
pub fn bad_row() -> Answer {
    score_is_refused(models::default_risk(), [["not a number"]])
}

/// A row with a number that is beyond a float32.
pub fn too_large() -> Answer {
    let mut row = ROWS[0];
    row[0] = 1e39;
    score_is_refused(models::default_risk(), [row])
}

/// A position at which the manifest has no model.
pub fn unknown_model() -> Answer {
    score_is_refused(serin_guest::Model::at(99, "none"), [ROWS[0]])
}

fn score_is_refused<const N: usize, T: Into<Value>>(model: serin_guest::Model, rows: [[T; N]; 1]) -> Answer {
    match model.score(rows) {
        Ok(_) => Ok(answers::one(answers::say("it was answered"))),
        Err(e) => Err(failed(&e)),
    }
}
