//! Routing: which arm takes a unit, who is left out and why, and who serves where an arm fails.

use serde_json::{Value, json};
use serin_core::allocation::{Place, Purpose, admitted, is_held_back, pick, place};

use crate::support::{Deployment, Host, collections, root, wat};

/// Vectors of a program that shares no code with this one: `tests/data/allocation-vectors.py`.
fn vectors() -> Value {
    let path = root().join("tests/data/allocation-vectors.json");
    serde_json::from_slice(&std::fs::read(path).expect("the vectors")).expect("JSON")
}

fn text<'v>(vector: &'v Value, key: &str) -> &'v str {
    vector[key].as_str().unwrap_or_else(|| panic!("no {key}: {vector}"))
}

fn place_of(vector: &Value) -> Place {
    Place(u64::from_str_radix(text(vector, "place"), 16).expect("hexadecimal"))
}

#[test]
fn places_and_arms_are_those_of_an_independent_program() {
    let vectors = vectors();
    for vector in vectors["places"].as_array().expect("places") {
        let purpose = match text(vector, "purpose") {
            "layer" => Purpose::Layer,
            "holdout" => Purpose::Holdout,
            "shadow" => Purpose::Shadow,
            _ => Purpose::Arm,
        };
        let found = place(purpose, text(vector, "salt"), text(vector, "kind"), text(vector, "unit"));
        assert_eq!(found, place_of(vector), "{vector}");
    }
    for vector in vectors["arms"].as_array().expect("arms") {
        let weights = vector["weights"].as_array().expect("weights").iter().filter_map(Value::as_f64);
        assert_eq!(pick(place_of(vector), weights).map(|arm| json!(arm)), Some(vector["arm"].clone()), "{vector}");
    }
}

#[test]
fn batches_and_holdbacks_are_those_of_an_independent_program() {
    let vectors = vectors();
    let weights = |vector: &Value| {
        vector["weights"].as_array().expect("weights").iter().filter_map(Value::as_f64).collect::<Vec<_>>()
    };
    for vector in vectors["batches"].as_array().expect("batches") {
        let salt = serin::decide::batch_salt(text(vector, "salt"), vector["batch"].as_u64().map(|batch| batch as u32));
        let drawn = place(Purpose::Arm, &salt, "borrower", text(vector, "unit"));
        let arm = pick(drawn, weights(vector).into_iter()).map(|arm| json!(arm));
        assert_eq!(arm, Some(vector["arm"].clone()), "{vector}");
    }
    let mut held = 0;
    for vector in vectors["shipped"].as_array().expect("shipped") {
        let drawn = place(Purpose::Arm, text(vector, "salt"), "borrower", text(vector, "unit"));
        let control = vector["control"].as_u64().expect("a position") as usize;
        let holdback = vector["holdback"].as_f64().expect("a share");
        let is_held_back = is_held_back(drawn, weights(vector).into_iter(), control, holdback);
        assert_eq!(json!(is_held_back), vector["held_back"], "{vector}");
        assert!(!is_held_back || pick(drawn, weights(vector).into_iter()) == Some(control), "nobody leaves the winner");
        held += u32::from(is_held_back);
    }
    assert!(held > 0);
}

/// What is drawn for a unit: a place for each purpose, under salts that differ and one that all
/// share.
fn draws(unit: &str) -> Vec<f64> {
    let purposes = [Purpose::Layer, Purpose::Holdout, Purpose::Arm, Purpose::Shadow];
    let of = |salt: &'static str| purposes.map(|purpose| place(purpose, salt, "borrower", unit).as_f64());
    ["same", "outreach-1", "outreach-2", "s/batch/1", "s/batch/2"].into_iter().flat_map(of).collect()
}

#[test]
fn every_draw_is_uniform_and_independent_of_every_other_one() {
    const UNITS: usize = 40_000;
    const CELLS: usize = 10;
    let all: Vec<Vec<f64>> = (0..UNITS).map(|i| draws(&format!("b-{i}"))).collect();
    let cell = |x: f64| ((x * CELLS as f64) as usize).min(CELLS - 1);
    // Chi-squared beyond its mean by six standard deviations: a fair hash is there once in millions.
    let is_fair = |counts: &[u32]| {
        let expected = UNITS as f64 / counts.len() as f64;
        let chi: f64 = counts.iter().map(|n| (f64::from(*n) - expected).powi(2) / expected).sum();
        let df = (counts.len() - 1) as f64;
        chi < df + 6.0 * (2.0 * df).sqrt()
    };
    let draws = all[0].len();
    for first in 0..draws {
        let mut counts = vec![0; CELLS];
        all.iter().for_each(|unit| counts[cell(unit[first])] += 1);
        assert!(is_fair(&counts), "draw {first}: {counts:?}");
        for second in first + 1..draws {
            let mut pairs = vec![0; CELLS * CELLS];
            all.iter().for_each(|unit| pairs[cell(unit[first]) * CELLS + cell(unit[second])] += 1);
            assert!(is_fair(&pairs), "draws {first} and {second}");
        }
    }
    // The mutant: one hash used twice fills the diagonal alone.
    let mut tied = vec![0; CELLS * CELLS];
    all.iter().for_each(|unit| tied[cell(unit[0]) * CELLS + cell(unit[0])] += 1);
    assert!(!is_fair(&tied));
}

#[test]
fn slots_and_ramps_never_share_a_unit_and_never_let_one_go() {
    let slots = [[0.0, 0.1], [0.1, 0.35], [0.35, 0.351], [0.4, 1.0]];
    for unit in (0..20_000).map(|i| format!("borrower-{i}")) {
        let place = place(Purpose::Layer, "layer", "borrower", &unit);
        let mut holders = 0;
        for slot in slots {
            let mut was_in = false;
            for coverage in [0.0, 0.02, 0.1, 0.5, 0.99, 1.0] {
                let [from, to] = admitted(slot, coverage);
                let is_in = place.is_within(from, to);
                assert!(is_in || !was_in, "{unit} was let go at {coverage} of {slot:?}");
                was_in = is_in;
            }
            holders += u32::from(was_in);
        }
        assert!(holders <= 1, "{unit} is in {holders} experiments");
    }
}

fn request(unit: &str) -> Value {
    json!({
        "decision_point": "collections-outreach",
        "entities": { "borrower": unit, "loan": "l-1" },
        "context": { "days_past_due": 12 },
    })
}

#[test]
fn a_host_assigns_as_the_vectors_say_and_a_ramp_moves_nobody() {
    let demo = &vectors()["demo"];
    let units = demo["units"].as_object().expect("units");
    let deployment = collections();
    let spec = deployment.read("experiments/outreach-score.toml");
    let mut enrolled: Vec<(&String, Value)> = Vec::new();
    for (step, coverage) in demo["coverages"].as_array().expect("coverages").iter().enumerate() {
        deployment.write(
            "experiments/outreach-score.toml",
            spec.replace("coverage = 1.0", &format!("coverage = {coverage}")),
        );
        // A process of its own each time: nothing but ids, salts and the spec is known to both.
        let host = Host::start(&deployment).ready();
        let requests: Vec<Value> = units.keys().map(|unit| request(unit)).collect();
        let answers = host.public.post("/v1/decisions/batch", &json!({ "requests": requests })).json();
        let arm_of = |answer: &Value| answer["experiment"].get("arm").cloned().unwrap_or_default();
        let arms: Vec<(&String, Value)> = units
            .keys()
            .zip(answers["results"].as_array().expect("results").iter().map(|r| arm_of(&r["decision"])))
            .collect();
        for (unit, arm) in &arms {
            let expected = match units[*unit][step].as_u64() {
                Some(0) => json!("control"),
                Some(_) => json!("score"),
                None => Value::Null,
            };
            assert_eq!(*arm, expected, "{unit} at coverage {coverage}");
        }
        assert!(enrolled.iter().all(|known| arms.contains(known)), "a unit moved");
        enrolled = arms.into_iter().filter(|(_, arm)| !arm.is_null()).collect();
        for (unit, taken) in units.iter().filter(|(_, taken)| !taken[step].is_u64()).take(40) {
            let routing = host.record(&host.decide(&request(unit)))["routing"].clone();
            assert_eq!(routing["held_out"] == true, taken[step] == "held_out", "{unit}: {routing}");
            assert_eq!(routing["assignment"], Value::Null);
        }
        assert_eq!(host.stop(), Some(0));
    }
    assert!(enrolled.len() > 150, "{}", enrolled.len());
}

#[test]
fn a_split_is_close_to_its_weights_and_coverage_to_its_share() {
    const UNITS: u32 = 20_000;
    let weights = [0.5, 0.3, 0.2];
    let [from, to] = admitted([0.2, 0.6], 0.25);
    let (mut arms, mut inside) = ([0.0; 3], 0.0);
    for unit in (0..UNITS).map(|i| format!("borrower/{i}")) {
        inside += f64::from(u8::from(place(Purpose::Layer, "layer", "borrower", &unit).is_within(from, to)));
        let arm = pick(place(Purpose::Arm, "experiment", "borrower", &unit), weights.into_iter()).expect("an arm");
        arms[arm] += 1.0;
    }
    // Four standard errors: a fair hash is outside once in some four thousand salts.
    let is_close = |count: f64, share: f64| {
        (count / f64::from(UNITS) - share).abs() < 4.0 * (share * (1.0 - share) / f64::from(UNITS)).sqrt()
    };
    assert!(is_close(inside, 0.1), "{inside}");
    assert!(arms.iter().zip(weights).all(|(count, weight)| is_close(*count, weight)), "{arms:?}");
}

/// A unit that the demo's experiment takes into an arm.
fn unit_in(arm: u64) -> String {
    let vectors = vectors();
    let units = vectors["demo"]["units"].as_object().expect("units");
    units.iter().find(|(_, taken)| taken[1].as_u64() == Some(arm)).expect("some unit").0.clone()
}

#[test]
fn who_is_not_eligible_is_recorded_and_counted() {
    const SPEC: &str = "experiments/outreach-score.toml";
    let unit = unit_in(1);
    for (eligible, why) in [
        ("context.days_past_due >= 30", "not_eligible"),
        ("features.servicing.contacts_7d < 3", "missing: features.servicing.contacts_7d"),
    ] {
        let deployment = collections();
        deployment.edit(SPEC, "context.days_past_due >= 5", eligible);
        let host = Host::start(&deployment).ready();
        let answer = host.decide(&request(&unit));
        assert_eq!((&answer["experiment"], &answer["served_by"]), (&Value::Null, &json!("strategy")));
        let routing = host.record(&answer)["routing"].clone();
        assert_eq!(routing["not_enrolled"], json!({ "experiment": "outreach-score", "why": why }));
        let counted = host.metric(&format!("serin_not_enrolled_total{{reason=\"outreach-score: {why}\"}}"));
        assert_eq!(counted, 1.0, "{why}");
    }
}

#[test]
fn a_constraint_comes_before_any_strategy_and_protects_in_doubt() {
    let deployment = collections();
    deployment.edit(
        "serin.toml",
        "exclude = \"has(features.servicing.cease_contact) && features.servicing.cease_contact\"",
        "exclude = \"features.servicing.cease_contact\"",
    );
    let host = Host::start(&deployment).ready();
    let now = jiff::Timestamp::now().to_string();
    let row =
        |loan: &str, cease: bool| json!({ "entity": loan, "event_time": now, "values": { "cease_contact": cease } });
    let rows = json!({ "rows": [row("l-yes", true), row("l-no", false)] });
    assert_eq!(host.public.post("/v1/features/servicing", &rows).status, 200);
    let unit = unit_in(0);
    for (loan, excluded, degraded) in [
        ("l-yes", json!("excluded"), json!([])),
        (
            "l-unknown",
            json!("missing: features.servicing.cease_contact"),
            json!(["exclude:missing: features.servicing.cease_contact"]),
        ),
    ] {
        let mut request = request(&unit);
        request["entities"]["loan"] = json!(loan);
        let answer = host.decide(&request);
        assert_eq!((&answer["served_by"], &answer["action"]), (&json!("constraint"), &json!("no_contact")));
        assert_eq!(
            (&answer["experiment"], &answer["strategy"], &answer["degraded"]),
            (&Value::Null, &Value::Null, &degraded)
        );
        let record = host.record(&answer);
        assert_eq!((&record["routing"]["excluded"], &record["attempts"]), (&excluded, &json!([])));
    }
    let mut request = request(&unit);
    request["entities"]["loan"] = json!("l-no");
    assert_eq!(host.decide(&request)["experiment"]["arm"], "control");
    // By hand, everything is outranked but the constraint, and the record says so.
    request["force"] = json!({ "experiment": "outreach-score", "arm": "score" });
    for (loan, excluded) in [("l-yes", "excluded"), ("l-unknown", "missing: features.servicing.cease_contact")] {
        request["entities"]["loan"] = json!(loan);
        let answer = host.admin.post("/v1/decisions", &request).json();
        assert_eq!((&answer["served_by"], &answer["action"]), (&json!("constraint"), &json!("no_contact")), "{answer}");
        let record = host.record(&answer);
        assert_eq!((&record["routing"]["excluded"], &record["attempts"]), (&json!(excluded), &json!([])));
        assert_eq!((&answer["experiment"], &record["routing"]["assignment"]), (&Value::Null, &Value::Null));
    }
    request["entities"]["loan"] = json!("l-no");
    let forced = host.admin.post("/v1/decisions", &request).json();
    assert_eq!((&forced["served_by"], &forced["experiment"]["arm"]), (&json!("arm"), &json!("score")));
    assert_eq!(host.record(&forced)["routing"]["assignment"]["forced"], true);
    request["force"] = json!({ "experiment": "outreach-score", "arm": "no-such" });
    let unknown = host.admin.post("/v1/decisions", &request);
    assert!(unknown.status == 422 && unknown.text.contains("arms: control, score"), "{}", unknown.text);
}

/// Two decision points whose experiments have one arm that traps; at `worse`, the pinned
/// strategy traps, too.
fn failing_arms() -> Deployment {
    let mut config = String::new();
    let point = |point: &str, pinned: &str| {
        format!(
            "[decision_points.{point}]\nstrategy = \"{pinned}@1.0.0\"\nentities = [\"borrower\"]\nactions = [\"go\", \"none\"]\n\
             deadline = \"5s\"\nfallback = {{ action = \"none\" }}\n\n"
        )
    };
    for (name, pinned) in [("better", "fine"), ("worse", "broken")] {
        config.push_str(&point(name, &format!("{name}-{pinned}")));
    }
    let deployment = Deployment::new(&config);
    for name in ["better", "worse"] {
        for (kind, body) in [("fine", "(i32.const 1024)"), ("broken", "unreachable"), ("arm", "unreachable")] {
            let strategy = format!("{name}-{kind}");
            let fields = format!("{} {}", wat::PRELUDE, wat::decide(body));
            let artifact = wat::guest(&wat::manifest(&strategy, "1.0.0", name, "go"), &fields);
            deployment.write(&format!("plugins/{strategy}-1.0.0.wasm"), artifact);
        }
        let spec = format!(
            "id = \"{name}-test\"\ndecision_point = \"{name}\"\n\n[[arms]]\nname = \"new\"\nstrategy = \"{name}-arm@1.0.0\"\nweight = 1.0\n"
        );
        deployment.write(&format!("experiments/{name}-test.toml"), spec);
    }
    deployment
}

#[test]
fn where_an_arm_fails_the_pinned_strategy_serves_and_the_assignment_stays() {
    let deployment = failing_arms();
    let host = Host::start(&deployment).ready();
    let decide = |point: &str| host.decide(&json!({ "decision_point": point, "entities": { "borrower": "b-1" } }));
    let answer = decide("better");
    assert_eq!((&answer["served_by"], &answer["action"]), (&json!("fallback_strategy"), &json!("go")));
    assert_eq!((&answer["strategy"]["name"], &answer["experiment"]["arm"]), (&json!("better-fine"), &json!("new")));
    assert_eq!(answer["degraded"], json!(["strategy:better-arm@1.0.0:trap"]));
    let record = host.record(&answer);
    let roles: Vec<&Value> = record["attempts"].as_array().expect("attempts").iter().map(|a| &a["role"]).collect();
    assert_eq!(roles, ["arm", "fallback_strategy"]);
    assert_eq!(record["routing"]["assignment"]["arm"], "new");

    let answer = decide("worse");
    assert_eq!((&answer["served_by"], &answer["action"]), (&json!("fallback_action"), &json!("none")));
    assert_eq!((&answer["strategy"], &answer["experiment"]["arm"]), (&Value::Null, &json!("new")));
    assert_eq!(answer["degraded"], json!(["strategy:worse-arm@1.0.0:trap", "strategy:worse-broken@1.0.0:trap"]));
}

#[test]
fn a_stale_row_does_not_say_that_somebody_may_be_contacted() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let yesterday = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(25);
    let row = json!({ "entity": "l-1", "event_time": yesterday.to_string(), "values": { "cease_contact": true } });
    assert_eq!(host.public.post("/v1/features/servicing", &json!({ "rows": [row] })).status, 200);
    let about = |loan: &str| {
        host.decide(&json!({
            "decision_point": "collections-outreach",
            "entities": { "borrower": "b-1", "loan": loan },
            "context": { "days_past_due": 60 },
        }))
    };
    let stale = about("l-1");
    assert_eq!((&stale["served_by"], &stale["action"]), (&json!("constraint"), &json!("no_contact")), "{stale}");
    assert_eq!(stale["degraded"], json!(["exclude:missing: features.servicing.cease_contact"]));
    assert_ne!(about("l-2")["served_by"], "constraint", "a loan without a row is not excluded for it");
}

#[test]
fn a_point_that_names_no_layer_is_in_the_one_of_its_own_name() {
    let deployment = collections();
    deployment.edit("serin.toml", "layer = \"outreach\"\n", "");
    deployment.edit("serin.toml", "[layers.outreach]", "[layers.collections-outreach]");
    let host = Host::start(&deployment).ready();
    let routing = host.record(&host.decide(&request("b-1")))["routing"].clone();
    let expected = place(Purpose::Layer, "outreach-1", "borrower", "b-1").as_f64();
    assert_eq!((&routing["layer"], &routing["place"]), (&json!("collections-outreach"), &json!(expected)));
}

#[test]
fn the_global_holdout_is_kept_out_of_every_layer_by_a_hash_of_its_own() {
    let deployment = collections();
    let config = deployment.read("serin.toml");
    deployment.write("serin.toml", format!("{config}\n[global_holdout]\nunit = \"borrower\"\nshare = 0.5\n"));
    let host = Host::start(&deployment).ready();
    let demo = &vectors()["demo"];
    let units: Vec<&String> = demo["units"].as_object().expect("units").keys().collect();
    let requests: Vec<Value> = units.iter().map(|unit| request(unit)).collect();
    let answers = host.public.post("/v1/decisions/batch", &json!({ "requests": requests })).json();
    for (unit, answer) in units.iter().zip(answers["results"].as_array().expect("results")) {
        let is_out = place(Purpose::Holdout, "global", "borrower", unit).is_below(0.5);
        // At full coverage: its arm, "held_out", or nothing.
        let taken = demo["units"][unit.as_str()][1].is_u64();
        assert_eq!(answer["decision"]["experiment"].is_null(), is_out || !taken, "{unit}: {answer}");
    }
    let out = units.iter().find(|unit| {
        place(Purpose::Holdout, "global", "borrower", unit).is_below(0.5) && demo["units"][unit.as_str()][1].is_u64()
    });
    let routing = host.record(&host.decide(&request(out.expect("somebody"))))["routing"].clone();
    assert_eq!((&routing["held_out"], &routing["held_out_globally"]), (&json!(true), &json!(true)), "{routing}");
}
