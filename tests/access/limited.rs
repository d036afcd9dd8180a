//! What a credential of one decision point learns of the others: nothing, and that by no difference between two answers.

use serde_json::{Value, json};

use super::{admit, audit, problem, request, text};
use crate::support::{Answer, Host, collections, misbehave, run};

const POINT: &str = "
[decision_points.misbehave]
strategy = \"misbehave@1.0.0\"
entities = [\"payer\"]
context = { mode = \"text?\" }
actions = [\"none\", \"say\", \"scores\"]
deadline = \"5s\"
fallback = { action = \"none\" }

[features.payers]
entity = \"payer\"
columns = { age = \"integer\" }
";

/// Two answers that differ by the name that was asked for alone.
#[track_caller]
fn same(one: &Answer, other: &Answer) {
    let [one, other] = [one, other].map(|answer| (answer.status, answer.json()));
    assert_eq!(one, other);
    assert_eq!(one.0, 403, "{}", one.1);
}

#[test]
fn what_is_another_points_is_answered_as_what_is_not_there() {
    let deployment = collections();
    deployment.write("plugins/misbehave-1.0.0.wasm", misbehave());
    deployment.write("serin.toml", deployment.read("serin.toml") + POINT);
    let only = admit(&deployment, "only", "decide,audit,read,ingest,operate", &["--point", "misbehave"]);
    let all = admit(&deployment, "all", "decide,audit,read,ingest", &[]);
    let host = Host::start(&deployment).ready();
    let (limited, whole) = (host.admin.bearing(&only), host.admin.bearing(&all));
    let decided = host.public.bearing(&all).post("/v1/decisions", &request("collections-outreach")).json();
    let others = text(&decided["decision_id"]).to_owned();

    for rest in ["", "/report", "/affected"] {
        let of = |id: &str| limited.get(&format!("/v1/experiments/{id}{rest}"));
        same(&of("outreach-score"), &of("nope"));
        assert!(!of("nope").text.contains("outreach-score"), "{}", of("nope").text);
    }
    let pause = |id: &str| limited.post(&format!("/v1/experiments/{id}/pause"), &json!({ "reason": "r" }));
    same(&pause("outreach-score"), &pause("nope"));
    for rest in ["", "/outcomes", "/summary"] {
        let of = |id: &str| limited.get(&format!("/v1/decisions/{id}{rest}"));
        same(&of(&others), &of("nope"));
    }
    let replay = |id: &str| limited.post(&format!("/v1/decisions/{id}/replay"), &json!({}));
    same(&replay(&others), &replay("nope"));

    let row = |view: &str| limited.get(&format!("/v1/features/{view}/l-88"));
    same(&row("servicing"), &row("nope"));
    let rows = json!({ "rows": [] });
    let push = |view: &str| host.public.bearing(&only).post(&format!("/v1/features/{view}"), &rows);
    same(&push("servicing"), &push("nope"));
    let told = push("nope").text;
    assert!(told.contains("known: payers") && !told.contains("servicing"), "its own are named: {told}");
    let outcome = json!({ "outcomes": [{ "id": "o", "name": "curd", "value": 1, "entity": { "payer": "p" } }] });
    let told = host.public.bearing(&only).post("/v1/outcomes", &outcome).json();
    assert_eq!((&told["stored"], told["warnings"].as_array().map(Vec::len)), (&json!(1), Some(0)), "{told}");

    // Whoever may see all is told what there is.
    let known = whole.get("/v1/experiments/nope");
    assert_eq!(problem(&known), (404, "unknown-experiment".to_owned()));
    assert!(known.text.contains("known: outreach-score"), "{}", known.text);
    assert_eq!(problem(&whole.get("/v1/decisions/nope")), (404, "unknown-decision".to_owned()));
    assert!(whole.get("/v1/features/nope/x").text.contains("payers, servicing"));
}

#[test]
fn answers_say_whose_credential_asked_and_posted() {
    let deployment = collections();
    let app = admit(&deployment, "app", "decide", &[]);
    let books = admit(&deployment, "books", "ingest", &[]);
    let auditor = admit(&deployment, "auditor", "audit,read", &[]);
    let host = Host::start(&deployment).ready();
    let decided = host.public.bearing(&app).post("/v1/decisions", &request("collections-outreach")).json();
    let id = text(&decided["decision_id"]).to_owned();
    let outcome = json!({ "outcomes": [{ "id": "o", "name": "cured", "value": 1, "decision_id": id }] });
    assert_eq!(host.public.bearing(&books).post("/v1/outcomes", &outcome).json()["stored"], 1);

    let reading = host.admin.bearing(&auditor);
    assert_eq!(reading.get(&format!("/v1/decisions/{id}")).json()["identity"], "app");
    assert_eq!(reading.get("/v1/decisions").json()["decisions"][0]["identity"], "app");
    let outcomes = reading.get(&format!("/v1/decisions/{id}/outcomes")).json();
    assert_eq!(outcomes["outcomes"][0]["identity"], "books", "{outcomes}");
    assert_eq!(reading.post(&format!("/v1/decisions/{id}/replay"), &json!({})).json()["identical"], true);
    assert!(audit(&reading, "limit=10").len() > 3);

    let open = collections();
    let host = Host::start(&open).ready();
    let decided = host.decide(&request("collections-outreach"));
    assert_eq!(host.record(&decided)["identity"], Value::Null);
    let config = open.config();
    let replayed = run(["replay", "--verify", "--config", config.to_str().expect("a path")]);
    assert_eq!(replayed.code, Some(0), "{}{}", replayed.stdout, replayed.stderr);
}
