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
fn a_credential_of_one_point_takes_back_what_it_has_sent_and_is_told_so() {
    let deployment = collections();
    deployment.write("plugins/misbehave-1.0.0.wasm", misbehave());
    deployment.write("serin.toml", deployment.read("serin.toml") + POINT);
    let only = admit(&deployment, "only", "ingest", &["--point", "misbehave"]);
    let all = admit(&deployment, "all", "ingest", &[]);
    let host = Host::start(&deployment).ready();
    let post =
        |token: &str, row: Value| host.public.bearing(token).post("/v1/outcomes", &json!({ "outcomes": [row] })).json();
    let outcome = |id: &str| json!({ "id": id, "name": "cured", "value": 1, "entity": { "payer": "p" } });
    let reversal = |of: &str| json!({ "id": format!("r-{of}"), "reverses": of });
    assert_eq!(post(&all, outcome("others"))["stored"], 1);
    // What is not there yet may become another's, and is answered as what is another's.
    let told = ["ahead", "others"].map(|id| post(&only, reversal(id))["refused"][0]["why"].clone());
    assert_eq!(told[0], told[1]);
    let why = told[0].as_str().unwrap_or_default();
    assert!(why.contains("has sent no outcome of that id") && why.contains("before its reversal"), "{why}");
    assert_eq!(post(&only, outcome("ahead"))["stored"], 1);
    assert_eq!(post(&only, reversal("ahead"))["stored"], 1);
    // Whose roles are for all points may send it ahead.
    assert_eq!(post(&all, reversal("later"))["stored"], 1);
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
