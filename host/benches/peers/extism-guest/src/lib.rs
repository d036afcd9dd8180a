//! The mean of the numbers against a threshold, as an Extism plug-in: JSON in, JSON out.

use std::collections::BTreeMap;

use extism_pdk::{FnResult, Json, plugin_fn};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Input {
    context: BTreeMap<String, f64>,
}

#[derive(Serialize)]
struct Answer {
    action: &'static str,
    reason: &'static str,
}

#[plugin_fn]
pub fn decide(Json(input): Json<Input>) -> FnResult<Json<Answer>> {
    let mean = input.context.values().sum::<f64>() / input.context.len() as f64;
    Ok(Json(if mean > 0.5 {
        Answer { action: "call", reason: "HIGH" }
    } else {
        Answer { action: "no_contact", reason: "LOW" }
    }))
}
