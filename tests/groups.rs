//! What an analysis knows of a unit at its entry: covariates, segments, and groups of people whose
//! fortunes are watched. No strategy sees any of it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::experiments::{heard, report, state};
use crate::support::{Deployment, Host, eventually, run, two_arms, wat};

const CONFIG: &str = r#"
[features.monitored]
entity = "borrower"
analysis_only = true
columns = { age_band = "text" }

[features.profile]
entity = "borrower"
columns = { before = "number", more = "number" }

[decision_points.p]
strategy = "p@1.0.0"
entities = ["borrower"]
actions = ["go", "none"]
context = { stage = "text?" }
deadline = "5s"
fallback = { action = "none" }
"#;

const SPEC: &str = two_arms!(
    r#"
coverage = 1.0
segments = ["context.stage"]
"#,
    r#"
[[metrics]]
name = "cured"
role = "goal"
outcome = "cured"
window = "12s"

[[metrics]]
name = "paid"
role = "secondary"
outcome = "paid"
aggregate = "sum"
cap = 100000.0
window = "12s"

[[metrics]]
name = "paid_adjusted"
role = "secondary"
outcome = "paid"
aggregate = "sum"
cap = 100000.0
window = "12s"
cuped = ["features.profile.before"]

[[metrics]]
name = "paid_by_two"
role = "secondary"
outcome = "paid"
aggregate = "sum"
cap = 100000.0
window = "12s"
cuped = ["features.profile.before", "features.profile.more"]

[[metrics]]
name = "cured_exposed"
role = "secondary"
outcome = "cured"
window = "12s"
population = "exposed"

[[fairness]]
attribute = "features.monitored.age_band"
reference = "under_62"
adverse_actions = ["none"]
min_ratio = 0.8
min_group_units = 100
"#
);

fn guest(name: &str, action: &str, more: &str) -> Vec<u8> {
    let manifest = wat::manifest(name, "1.0.0", "p", action) + more;
    wat::guest(&manifest, &format!("{} {}", wat::PRELUDE, wat::decide("(i32.const 1024)")))
}

fn deployment(spec: &str) -> Deployment {
    let deployment = Deployment::new(CONFIG);
    for name in ["p", "q"] {
        deployment.write(&format!("plugins/{name}-1.0.0.wasm"), guest(name, "go", ""));
    }
    deployment.write("experiments/e.toml", spec);
    deployment
}

const UNITS: u64 = 2400;

fn is_old(i: u64) -> bool {
    i.is_multiple_of(3)
}

/// What a borrower paid before, which foretells most of what is paid next.
fn before(i: u64) -> f64 {
    ((i * 7919) % 101) as f64
}

/// Rows for everybody but every fiftieth, of whom nothing is known.
fn push(host: &Host) {
    let time = jiff::Timestamp::now().to_string();
    let row = |i: u64, values: Value| json!({ "entity": format!("b-{i}"), "event_time": time, "values": values });
    let known = || (0..UNITS).filter(|i| i % 50 != 49);
    let bands = known().map(|i| row(i, json!({ "age_band": if is_old(i) { "62_and_over" } else { "under_62" } })));
    let numbers = known().map(|i| row(i, json!({ "before": before(i), "more": (i % 17) as f64 })));
    for (view, rows) in [("monitored", bands.collect::<Vec<_>>()), ("profile", numbers.collect())] {
        let answer = host.public.post(&format!("/v1/features/{view}"), &json!({ "rows": rows }));
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
}

/// Everybody enters; each unit's arm and decision.
fn enter(host: &Host) -> Vec<(u64, bool, String)> {
    let request = |i: u64| {
        let stage = if i.is_multiple_of(2) { "early" } else { "late" };
        json!({ "decision_point": "p", "entities": { "borrower": format!("b-{i}") }, "context": { "stage": stage } })
    };
    let all: Vec<u64> = (0..UNITS).collect();
    let mut entered = Vec::new();
    for some in all.chunks(100) {
        let requests: Vec<Value> = some.iter().map(|i| request(*i)).collect();
        let answer = host.public.post("/v1/decisions/batch", &json!({ "requests": requests })).json();
        for (i, item) in some.iter().zip(answer["results"].as_array().expect("results")) {
            let decision = &item["decision"];
            let id = decision["decision_id"].as_str().expect("an id").to_owned();
            entered.push((*i, decision["experiment"]["arm"] == "next", id));
        }
    }
    entered
}

fn post(host: &Host, outcomes: &[Value]) {
    for some in outcomes.chunks(10_000) {
        assert_eq!(host.public.post("/v1/outcomes", &json!({ "outcomes": some })).status, 200);
    }
}

/// In the new arm the old are cured far less often than the young; in control, all alike.
fn happen(host: &Host, entered: &[(u64, bool, String)]) {
    let outcome = |i: u64, name: &str, value: f64| json!({ "id": format!("{name}-{i}"), "name": name, "value": value, "entity": { "borrower": format!("b-{i}") } });
    let cured = |i: u64, next: bool| {
        let of_ten = if next && is_old(i) { 2 } else { 7 };
        (i * 31) % 10 < of_ten
    };
    let mut outcomes: Vec<Value> =
        entered.iter().filter(|(i, next, _)| cured(*i, *next)).map(|(i, ..)| outcome(*i, "cured", 1.0)).collect();
    outcomes.extend(entered.iter().map(|(i, next, _)| {
        outcome(*i, "paid", before(*i) + 3.0 * (i % 17) as f64 + (i % 5) as f64 + f64::from(u8::from(*next)))
    }));
    post(host, &outcomes);
    let exposures: Vec<Value> =
        entered.iter().filter(|(i, ..)| i % 4 == 0).map(|(.., id)| json!({ "decision_id": id })).collect();
    assert_eq!(host.public.post("/v1/exposures", &json!({ "exposures": exposures })).status, 200);
}

fn metric<'r>(report: &'r Value, name: &str) -> &'r Value {
    report["metrics"].as_array().and_then(|all| all.iter().find(|m| m["name"] == name)).expect("a metric")
}

#[test]
fn groups_covariates_and_segments_are_those_of_the_entry_and_harm_to_a_group_pauses() {
    let deployment = deployment(SPEC);
    let host = Host::start(&deployment).ready();
    push(&host);
    let entered = enter(&host);
    happen(&host, &entered);
    eventually("a group's harm is seen", Duration::from_secs(40), || {
        heard(&host, &["cured", "paid"]);
        (state(&host) == "paused").then_some(())
    });
    let found = eventually("all are mature", Duration::from_secs(40), || {
        heard(&host, &["cured", "paid"]);
        let found = report(&host);
        (metric(&found, "cured")["left_out"]["not_mature"] == 0).then_some(found)
    });
    assert_eq!(found["stopped_by"], "features.monitored.age_band");
    assert!(found["verdict"]["why"].as_str().is_some_and(|why| why.contains("'62_and_over' in arm 'next'")), "{found}");
    let row = |arm: &str, rate: &str| {
        let rows = found["fairness"].as_array().expect("rows");
        rows.iter().find(|row| row["arm"] == arm && row["rate"] == rate).cloned().expect("a row")
    };
    assert_eq!(row("next", "cured")["state"], "harm");
    let of_control = row("control", "cured");
    let ratio = of_control["ratio"].as_f64().expect("a ratio");
    assert!(of_control["state"] != "harm" && (0.9..1.1).contains(&ratio), "all fare alike there: {of_control}");
    assert_eq!(row("next", "selection")["state"], "holds", "nobody had an adverse action");
    let units = row("next", "selection")["units"].clone();
    let known = units[0].as_u64().zip(units[1].as_u64()).map_or(0, |(a, b)| a + b);
    let in_next = entered.iter().filter(|(i, next, _)| *next && i % 50 != 49).count() as u64;
    assert_eq!(known, in_next, "those of whom it is not known are in no group");
    // A covariate that foretells what is paid narrows the interval, and two do more.
    let width = |name: &str| {
        let interval = &metric(&found, name)["comparisons"][0]["interval"];
        interval[1].as_f64().zip(interval[0].as_f64()).map(|(high, low)| high - low).expect("an interval")
    };
    let (plain, one, two) = (width("paid"), width("paid_adjusted"), width("paid_by_two"));
    assert!(one < 0.7 * plain && two < 0.6 * one, "{plain} {one} {two}");
    assert_eq!(metric(&found, "paid_adjusted")["adjustment"], "CUPED by features.profile.before");
    let difference = metric(&found, "paid_by_two")["comparisons"][0]["difference"].as_f64().expect("one");
    assert!((difference - 1.0).abs() < 0.3, "the truth is 1: {difference}");
    // Segments are there, with p-values that know of each other.
    let segments = found["segments"].as_array().expect("segments");
    let values: Vec<&Value> = segments.iter().map(|segment| &segment["value"]).collect();
    assert!(values.contains(&&json!("early")) && values.contains(&&json!("late")), "{values:?}");
    assert!(segments.iter().all(|s| s["adjusted_p"].as_f64() >= s["p"].as_f64()), "{segments:?}");
    // Who was not exposed is left out where only the exposed count, and the counts reconcile.
    let exposed = metric(&found, "cured_exposed");
    assert_eq!(exposed["left_out"]["not_exposed"], UNITS - UNITS / 4);
    // The page shows it all, and how it came about.
    let admin = format!("http://{}", host.admin.address);
    let page = run(["report", "e", "--format", "html", "--admin", &admin]).stdout;
    for needle in [
        "<h2>Fairness</h2>",
        "not a finding of law",
        "<h2>Segments</h2>",
        "stage = early",
        "<svg class=\"plot\" viewBox",
    ] {
        assert!(page.contains(needle), "{needle}");
    }
    // What matters most comes first; and whom a row is about is beside its numbers.
    let titles = ["Scorecard", "Progress", "Units", "Fairness", "Segments", "Decisions by action", "What happened"];
    let at = titles.map(|title| page.find(&format!("<h2>{title}</h2>")).unwrap_or(usize::MAX));
    assert!(at.is_sorted() && at[6] < usize::MAX, "{at:?}");
    let units = row("next", "cured")["units"].clone();
    assert!(page.contains(&format!(">{} / {}</td>", units[0], units[1])), "{units}: {page}");
    for needle in [
        "Reference group: \u{2018}under_62\u{2019}",
        "<span class=\"small\">stops nothing</span>",
        "significantly worse",
    ] {
        assert!(page.contains(needle), "{needle}: {page}");
    }
    let served = host.admin.get("/v1/experiments/e/report?format=html");
    assert!(served.status == 200 && served.text.contains("<h2>Fairness</h2>"), "{}", served.text);
    assert_eq!(host.admin.get("/v1/experiments/e/report?format=pdf").status, 422);
    assert!(found["history"].as_array().is_some_and(|moments| moments.len() > 1), "{}", found["history"]);
    // No strategy was shown any of it, and the record has it.
    let record = host.admin.get(&format!("/v1/decisions/{}", entered[0].2)).json();
    assert_eq!(record["features"]["monitored"]["values"]["age_band"], "62_and_over");
}

#[test]
fn what_is_for_analysis_alone_reaches_no_strategy_and_no_expression() {
    let deployment = deployment(SPEC);
    let check = || run(["check", "--config", deployment.config().to_str().expect("a path")]);
    assert_eq!(check().code, Some(0), "{}", check().stderr);
    let said = |needle: &str| {
        let checked = check();
        let all = format!("{}{}", checked.stdout, checked.stderr);
        assert!(checked.code == Some(1) && all.contains(needle), "{needle}: {all}");
    };
    let reads = |view: &str, name: &str| {
        guest("q", "go", &format!("\n[[features]]\nview = \"{view}\"\nname = \"{name}\"\ntype = \"text\"\n"))
    };
    deployment.write("plugins/q-1.0.0.wasm", reads("monitored", "age_band"));
    said("'monitored' is for analysis only");
    // Nor what a view that is open to strategies has, once somebody is watched by it.
    deployment.write("plugins/q-1.0.0.wasm", reads("context", "stage"));
    deployment.write("experiments/e.toml", SPEC.replace("features.monitored.age_band", "context.stage"));
    said("context.stage is read by arm 'next'");
    deployment.write("plugins/q-1.0.0.wasm", guest("q", "go", ""));
    deployment.write("experiments/e.toml", format!("eligible = \"features.monitored.age_band == 'x'\"\n{SPEC}"));
    said("'features.monitored.age_band' is not declared");
    deployment.write(
        "experiments/e.toml",
        SPEC.replace("cuped = [\"features.profile.before\"]", "cuped = [\"context.stage\"]"),
    );
    said("cuped: context.stage is text");
    deployment.write("experiments/e.toml", SPEC.replace("[\"context.stage\"]", "[\"context.nothing\"]"));
    said("context.nothing is not declared at 'p'; declared: context.stage");
    deployment
        .write("experiments/e.toml", SPEC.replace("adverse_actions = [\"none\"]", "adverse_actions = [\"call\"]"));
    said("adverse_actions: 'call'; valid: go, none");
}
