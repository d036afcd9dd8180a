//! What an experiment is measured by, where it cannot be believed: names that nobody posts, clocks
//! that differ, and units that are nobody.

use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::course::{arm, cure_alone, is, now, post, won};
use crate::experiments::{RUNNING, command, decide, deployment, heard, report, state, why};
use crate::support::{Deployment, Host, eventually, run};

const IN_TIME: Duration = Duration::from_secs(20);

/// The report in all its forms, as one text each.
fn forms(host: &Host) -> [String; 3] {
    ["json", "text", "html"].map(|form| host.admin.get(&format!("/v1/experiments/e/report?format={form}")).text)
}

fn ledger(deployment: &Deployment) -> Connection {
    Connection::open(deployment.path().join("data/serin.db")).expect("the ledger")
}

/// The verdict on the arm that is tried, once it is better at the goal.
fn won_arm(host: &Host) -> String {
    eventually("it has won", IN_TIME, || {
        heard(host, &["cured"]);
        let why = report(host)["arms"][0]["why"].as_str().unwrap_or_default().to_owned();
        why.contains("is better in arm 'next'").then_some(why)
    })
}

#[test]
fn a_guardrail_on_a_name_that_nobody_posts_does_not_hold_and_nothing_ships() {
    // The guardrail asks for another name than the one that is posted.
    let spec = won("ship", "").replace("outcome = \"complaint\"", "outcome = \"complaints\"");
    let deployment = deployment(&spec, false);
    let host = Host::start(&deployment).ready();
    post(&host, "complaint", &[100_000], &now());
    cure_alone(&host);
    let why = won_arm(&host);
    let never = "no outcome 'complaints' was ever posted; 'complaint' was: did you mean that?";
    assert!(why.contains("guardrail 'complaints' is inconclusive") && why.contains(never), "{why}");
    let looks = || host.metric("serin_experiment_looks_total");
    let before = looks();
    eventually("it is looked at again", IN_TIME, || (looks() >= before + 2.0).then_some(()));
    assert_eq!(state(&host), "running", "nothing is shipped");
    let found = report(&host);
    assert_eq!(found["guardrails"][0]["state"], "inconclusive", "{found}");
    assert_eq!(found["guardrails"][0]["why"], never, "{found}");
    for form in forms(&host) {
        assert!(form.replace("&#39;", "'").contains(&format!("metric 'complaints': {never}")), "{form}");
    }
    for path in ["/v1/experiments/e", "/v1/experiments"] {
        let shown = host.admin.get(path).text;
        assert!(shown.contains("no outcome 'complaints' was ever posted"), "{shown}");
    }
    let shown = run(["experiment", "show", "e", "--admin", &format!("http://{}", host.admin.address)]).stdout;
    assert!(shown.contains(&format!("warning          metric 'complaints': {never}")), "{shown}");

    // What never happens is declared.
    deployment.edit("experiments/e.toml", "outcome = \"complaints\"", "outcome = \"complaints\"\nexpects_none = true");
    eventually("a person is asked", IN_TIME, || {
        (command(&host, "amend", crate::experiments::why()).0 == 200).then_some(())
    });
    is(&host, "shipped");
    assert_eq!(report(&host)["warnings"], json!([]));
}

#[test]
fn a_name_that_was_in_use_before_and_is_posted_under_another_now_is_no_protection() {
    let spec = won("ship", "").replace("outcome = \"complaint\"", "outcome = \"complaints\"");
    let deployment = deployment(&spec.replace("id = \"e\"", "id = \"e\"\nstart = \"manual\""), false);
    let host = Host::start(&deployment).ready();
    let old =
        json!({ "id": "old", "name": "complaints", "value": 1.0, "at": now(), "entity": { "borrower": "b-999" } });
    assert_eq!(host.public.post("/v1/outcomes", &json!({ "outcomes": [old] })).json()["stored"], 1);
    // The name's last use lies clearly before the start.
    assert_eq!(host.stop(), Some(0));
    ledger(&deployment).execute("UPDATE outcome_names SET last_ms = last_ms - 3600000", []).expect("ages");
    let host = Host::start(&deployment).ready();
    assert_eq!(command(&host, "start", why()).0, 200);
    post(&host, "complaint", &[100_000], &now());
    cure_alone(&host);
    let why = won_arm(&host);
    let renamed = "no outcome 'complaints' was posted since the start; 'complaint' was: did you mean that?";
    assert!(why.contains("guardrail 'complaints' is inconclusive") && why.contains(renamed), "{why}");
    assert_eq!(state(&host), "running", "nothing is shipped");
}

#[test]
fn a_gate_is_not_passed_while_a_guardrail_watches_what_was_never_posted() {
    let ramp = "ramp = [{ coverage = 0.5, gate = \"fast\" }, { coverage = 1.0 }]";
    let metric = "\n[[metrics]]\nname = \"c\"\nrole = \"guardrail\"\noutcome = \"complaint\"\nwindow = \"1h\"\n\
                  [[guardrails]]\nmetric = \"c\"\nmax_count = 0\n";
    let deployment = deployment(&format!("{}{metric}", RUNNING.replace("coverage = 1.0", ramp)), false);
    let host = Host::start(&deployment).ready();
    // By another kind of entity it is another outcome.
    let other = json!({ "id": "o", "name": "complaint", "value": 1.0, "entity": { "loan": "l-1" } });
    assert_eq!(host.public.post("/v1/outcomes", &json!({ "outcomes": [other] })).json()["stored"], 1);
    let looks = || host.metric("serin_experiment_looks_total");
    let before = looks();
    eventually("it is looked at", IN_TIME, || (looks() >= before + 3.0).then_some(()));
    assert_eq!(host.admin.get("/v1/experiments/e").json()["coverage"], 0.5);
    post(&host, "complaint", &[100_000], &now());
    eventually("it is promoted", IN_TIME, || {
        (host.admin.get("/v1/experiments/e").json()["coverage"] == 1.0).then_some(())
    });
}

#[test]
fn an_outcome_that_names_its_decision_does_not_precede_it() {
    let deployment = deployment(&won("hold", ""), false);
    let host = Host::start(&deployment).ready();
    let decided = decide(&host, "b-1");
    let id = decided["decision_id"].as_str().expect("an id");
    let made_ms = ledger(&deployment)
        .query_row("SELECT time_ms FROM decisions WHERE decision_id = ?1", [id], |row| row.get::<_, i64>(0))
        .expect("a row");
    let at = |ms: i64| jiff::Timestamp::from_millisecond(made_ms + ms).expect("a time").to_string();
    let outcome =
        |key: &str, ms: i64| json!({ "id": key, "name": "cured", "value": 1.0, "at": at(ms), "decision_id": id });
    let sent = json!({ "outcomes": [outcome("o-1", -300), outcome("o-2", -400_000), outcome("o-3", 0)] });
    let answer = host.public.post("/v1/outcomes", &sent).json();
    assert_eq!(answer["stored"], 2, "{answer}");
    let refused = answer["refused"][0]["why"].as_str().unwrap_or_default();
    assert_eq!(answer["refused"][0]["index"], 1, "{answer}");
    let both = refused.contains(&at(-400_000)) && refused.contains(&at(0));
    assert!(both && refused.contains("more than 5m before the decision that it names"), "{refused}");
    let exposed = |ms: i64| json!({ "exposures": [{ "decision_id": id, "at": at(ms) }] });
    assert_eq!(host.public.post("/v1/exposures", &exposed(-400_000)).json()["stored"], 0);
    assert_eq!(host.public.post("/v1/exposures", &exposed(-300)).json()["stored"], 1);
    let stored = |sql: &str| -> (i64, Option<i64>) {
        ledger(&deployment).query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).expect("a row")
    };
    let early = (made_ms, Some(made_ms - 300));
    assert_eq!(stored("SELECT at_ms, sent_ms FROM outcomes WHERE id = 'o-1'"), early, "as sent, and as it counts");
    assert_eq!(stored("SELECT at_ms, sent_ms FROM exposures"), early);
    assert_eq!(stored("SELECT at_ms, sent_ms FROM outcomes WHERE id = 'o-3'"), (made_ms, None));
    assert_eq!(report(&host)["before_entry"], json!({ "control": 0, "next": 0 }));
    drop(host);

    deployment.edit("serin.toml", "[limits]\n", "[ledger]\nclock_tolerance = \"10ms\"\n\n[limits]\n");
    let host = Host::start(&deployment).ready();
    let answer = host.public.post("/v1/outcomes", &json!({ "outcomes": [outcome("o-4", -300)] })).json();
    let why = answer["refused"][0]["why"].as_str().unwrap_or_default();
    assert!(why.contains("more than 10ms before the decision"), "{answer}");
}

#[test]
fn outcomes_before_their_units_entry_are_counted_and_told() {
    let deployment = deployment(&won("hold", ""), false);
    let host = Host::start(&deployment).ready();
    for i in 0..20 {
        decide(&host, &format!("b-{i}"));
    }
    let early = jiff::Timestamp::now() - Duration::from_secs(600);
    let units: Vec<u32> = (0..20).collect();
    post(&host, "cured", &units, &early.to_string());
    post(&host, "unmeasured", &units, &early.to_string());
    let of_arm = |wanted: &str| (0..20).filter(|i| arm(&host, *i) == wanted).count();
    let before = report(&host)["before_entry"].clone();
    assert_eq!(before, json!({ "control": of_arm("control"), "next": of_arm("next") }));
    let [_, text, html] = forms(&host);
    let line = format!(
        "outcomes before their unit's entry, which count for nothing: control {}, next {}",
        before["control"], before["next"]
    );
    assert!(text.contains(&line) && html.replace("&#39;", "'").contains(&line), "{text} {html}");
    // One that is taken back is none.
    let reversal = json!({ "outcomes": [{ "id": "r", "reverses": "cured-3" }] });
    assert_eq!(host.public.post("/v1/outcomes", &reversal).json()["stored"], 1);
    let total = |before: &Value| before["control"].as_u64().zip(before["next"].as_u64()).map(|(a, b)| a + b);
    assert_eq!(total(&report(&host)["before_entry"]), Some(19));
    // A stopped host's ledger says the same.
    let live = report(&host);
    host.kill();
    let config = deployment.config();
    let offline = run(["report", "e", "--format", "json", "--config", config.to_str().expect("a path")]).stdout;
    let offline: Value = serde_json::from_str(&offline).expect("JSON");
    assert_eq!((&offline["before_entry"], &offline["warnings"]), (&live["before_entry"], &live["warnings"]));
}

#[test]
fn units_that_are_nobody_are_named() {
    let deployment = deployment(RUNNING, false);
    let host = Host::start(&deployment).ready();
    let requests = |ids: Vec<String>| {
        let one = |id: &String| json!({ "decision_point": "p", "entities": { "borrower": id } });
        let batch = json!({ "requests": ids.iter().map(one).collect::<Vec<_>>() });
        assert_eq!(host.public.post("/v1/decisions/batch", &batch).status, 200);
    };
    for round in 0..11 {
        let ids = (0..100).map(|i| match i % 10 {
            0 => "0".to_owned(),
            1 if round < 2 => "[object Object]".to_owned(),
            _ => format!("b-{round}-{i}"),
        });
        requests(ids.collect());
    }
    let placeholder = "units whose id is what a program writes where it has none: '[object Object]'";
    let absurd = "of the 1,100 decisions than the others: '0' 110 (10.0 %)";
    for form in forms(&host) {
        assert!(
            form.replace("&#39;", "'").contains(placeholder) && form.replace("&#39;", "'").contains(absurd),
            "{form}"
        );
    }
    let warnings = report(&host)["warnings"].as_array().map(Vec::len);
    assert_eq!(warnings, Some(2));
}
