//! Experiment files, one mistake at a time.

use serde_json::Value;

use super::{blamed, findings, forced, shown};
use crate::support::{Client, Host, collections};

/// From, to, and what has to be said.
type Case = (&'static str, &'static str, &'static [&'static str]);

const FILE: &str = "outreach-score.toml";
const ELIGIBLE: &str = "\"context.days_past_due >= 5\"";

const CASES: &[Case] = &[
    ("coverage = 1.0", "coverge = 1.0", &["unknown field `coverge`", "`coverage`"]),
    ("weight = 0.5\n\n", "wieght = 0.5\n\n", &["unknown field `wieght`", "`weight`"]),
    ("slot = [0.0, 0.5]", "slot = [0.0, 0.5", &["TOML parse error at line"]),
    (
        "id = \"outreach-score\"",
        "id = \"outreach score\"",
        &["id = \"outreach score\" is not a name", "valid: a letter"],
    ),
    ("weight = 0.5\n\n", "weight = 0.6\n\n", &["the arms' weights sum to 1.1", "valid: 1"]),
    ("weight = 0.5\n\n", "weight = nan\n\n", &["arms[0] 'control'", "a weight from 0 to 1"]),
    ("weight = 0.5\n\n", "weight = -0.5\n\n", &["arms[0] 'control'", "a weight from 0 to 1"]),
    ("weight = 0.5\n\n", "\n\n", &["arms[0] 'control'", "a weight from 0 to 1"]),
    ("coverage = 1.0", "coverage = nan", &["coverage = NaN", "from 0 to 1"]),
    ("coverage = 1.0", "coverage = inf", &["coverage = inf", "from 0 to 1"]),
    ("coverage = 1.0", "coverage = 0.5\nramp = [{ coverage = 0.1 }]", &["coverage and ramp exclude each other"]),
    (
        "coverage = 1.0",
        "ramp = [{ coverage = 0.2 }, { coverage = nan }]",
        &["ramp[1].coverage = NaN", "that never fall"],
    ),
    (
        "coverage = 1.0",
        "ramp = [{ coverage = 0.2 }, { coverage = 0.1 }]",
        &["ramp[1].coverage = 0.1", "that never fall"],
    ),
    ("[0.0, 0.5]", "[0.5, 0.0]", &["slot = [0.5, 0.0]", "0 <= from < to <= 1"]),
    ("[0.0, 0.5]", "[0.0, nan]", &["slot = [0.0, NaN]", "0 <= from < to <= 1"]),
    ("control = \"control\"", "control = \"contrl\"", &["control = \"contrl\" is not an arm", "arms: control, score"]),
    ("name = \"score\"", "name = \"control\"", &["arms[1].name = \"control\" is taken"]),
    ("outreach-score@1.1.0", "outreach-score@latest", &["arms[1].strategy", "an exact version"]),
    (
        "outreach-score@1.1.0",
        "outreach-score@3.0.0",
        &[
            "arm 'score': strategy outreach-score@3.0.0 is not there",
            "loaded: outreach-rules@1.0.0, outreach-score@1.1.0",
        ],
    ),
    (
        "\"collections-outreach\"",
        "\"collections\"",
        &["decision_point = \"collections\" is not known", "known: collections-outreach"],
    ),
    ("unit = \"borrower\"", "unit = \"loan\"", &["unit = \"loan\"", "layer 'outreach' randomizes by borrower"]),
    (
        "{ threshold = 0.6 }",
        "{ treshold = 0.6 }",
        &["arm 'score'", "'treshold' is not declared", "declared: contact_cap, threshold"],
    ),
    ("{ threshold = 0.6 }", "{ threshold = 1.6 }", &["arm 'score'", "'threshold' = 1.6 is out of its range [0, 1]"]),
    ("{ threshold = 0.6 }", "{ threshold = \"high\" }", &["arm 'score'", "'threshold' is text", "declared as number"]),
    ("{ threshold = 0.6 }", "{ threshold = nan }", &["NaN", "a finite number"]),
    (ELIGIBLE, "\"context.days_past_due >=\"", &["eligible: ", "does not parse"]),
    (ELIGIBLE, "\"context.days_past_due >= '5'\"", &["eligible: ", "does not take (integer, text)"]),
    (ELIGIBLE, "\"context.days_past_due\"", &["eligible: ", "yields integer, not boolean", "valid: a condition"]),
    (
        ELIGIBLE,
        "\"context.days >= 5\"",
        &["eligible: ", "'context.days' is not declared", "declared: context.days_past_due"],
    ),
    (ELIGIBLE, "\"features.borrower-profile.state == 'CA'\"", &["eligible: ", "features[\"the-view\"].name"]),
    (ELIGIBLE, "\"now() > 5\"", &["eligible: ", "function 'now' is not known", "valid: size"]),
    (
        "[[arms]]\nname = \"score\"",
        "[[metrics]]\nname = \"m\"\nrole = \"gaol\"\n[[arms]]\nname = \"score\"",
        &["metric 'm': role = \"gaol\"", "valid: goal, guardrail, secondary"],
    ),
    (
        "[[arms]]\nname = \"score\"",
        "[[metrics]]\nname = \"m\"\nrole = \"goal\"\nsource = \"decisions\"\noutcome = \"cal\"\nwindow = \"1d\"\n[[arms]]\nname = \"score\"",
        &[
            "metric 'm': outcome = \"cal\" is no action of 'collections-outreach'",
            "its actions: no_contact, email, sms",
        ],
    ),
    (
        "[[arms]]\nname = \"score\"",
        "[[metrics]]\nname = \"m\"\nrole = \"goal\"\naggregate = \"ratio\"\nwindow = \"1d\"\nnumerator = { source = \"decisions\", outcome = \"call\" }\ndenominator = { source = \"decisions\", outcome = \"text\" }\n[[arms]]\nname = \"score\"",
        &["metric 'm': outcome = \"text\" is no action", "its actions: no_contact, email, sms"],
    ),
    (
        "[[arms]]\nname = \"score\"",
        "[[metrics]]\nname = \"m\"\nrole = \"goal\"\nalpha = nan\n[[arms]]\nname = \"score\"",
        &["metric 'm'", "alpha"],
    ),
    (
        "[[arms]]\nname = \"score\"",
        "[[guardrails]]\nmetric = \"failures\"\nmax_increase = nan\n[[arms]]\nname = \"score\"",
        &["guardrail on 'failures'", "max_increase = NaN", "a finite number"],
    ),
    (
        "[[arms]]\nname = \"score\"",
        "[[guardrails]]\nmetric = \"m\"\n[[arms]]\nname = \"score\"",
        &["guardrail on 'm'", "no such metric", "valid: failures"],
    ),
    (
        "[[arms]]\nname = \"score\"",
        "[[arms]]\nname = \"next\"\nstrategy = \"outreach-score@1.1.0\"\nmode = \"shadow\"\nsample = nan\n[[arms]]\nname = \"score\"",
        &["arms[1].sample = NaN", "from 0 to 1"],
    ),
];

/// All in one deployment: one broken file holds up only itself.
#[test]
fn check_refuses_each_mistake_with_its_key_and_what_is_valid() {
    let deployment = collections();
    let good = deployment.read("experiments/outreach-score.toml");
    deployment.remove("experiments/outreach-score.toml");
    for (i, (from, to, _)) in CASES.iter().enumerate() {
        assert!(good.contains(from), "{from}");
        let text = good.replacen(from, to, 1).replace("id = \"outreach-score\"", &format!("id = \"case-{i}\""));
        deployment.write(&format!("experiments/case-{i}.toml"), text);
    }
    let findings = findings(&deployment);
    for (i, (_, _, needles)) in CASES.iter().enumerate() {
        blamed(&findings, &format!("/case-{i}.toml"), needles);
    }
    assert_eq!(findings.len(), CASES.len(), "{findings:#?}");
}

fn experiment(admin: &Client, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    shown(admin, "/v1/experiments", what, |all| {
        all["experiments"].as_array()?.iter().find(|experiment| fits(experiment)).cloned()
    })
}

fn error(experiment: &Value) -> &str {
    experiment["error"].as_str().unwrap_or_default()
}

#[test]
fn a_running_experiment_goes_on_as_it_was_applied() {
    let deployment = collections();
    let path = "experiments/outreach-score.toml";
    let good = deployment.read(path);
    let host = Host::start(&deployment).ready();
    let before = experiment(&host.admin, "the experiment", |e| e["state"] == "running");
    for (from, to, needles) in CASES {
        assert!(good.contains(from), "{from}");
        deployment.write(path, good.replacen(from, to, 1));
        let now = experiment(&host.admin, to, |e| needles.iter().all(|needle| error(e).contains(needle)));
        assert_eq!((&now["state"], &now["spec"]), (&before["state"], &before["spec"]), "{to}");
        let decision = host.admin.post("/v1/decisions", &forced()).json();
        assert_eq!((&decision["served_by"], &decision["experiment"]["arm"]), (&"arm".into(), &"score".into()), "{to}");
    }
    assert_eq!(host.public.get("/readyz").status, 200);
    deployment.write(path, &good);
    experiment(&host.admin, "the good file again", |e| e["error"].is_null() && e["state"] == "running");
    assert_eq!(host.stop(), Some(0));
}

/// The demo's experiment under another id, in another slot.
fn another(good: &str, id: &str, slot: &str) -> String {
    good.replace("id = \"outreach-score\"", &format!("id = \"{id}\""))
        .replace("slot = [0.0, 0.5]", &format!("slot = {slot}"))
}

#[test]
fn two_experiments_cannot_have_the_same_units() {
    let deployment = collections();
    let good = deployment.read("experiments/outreach-score.toml");
    let host = Host::start(&deployment).ready();
    deployment.write("experiments/second.toml", another(&good, "second", "[0.4, 0.9]"));
    let said = ["slot = [0.4, 0.9] overlaps that of 'outreach-score', [0.0, 0.5]", "slots of a layer are disjoint"];
    blamed(&findings(&deployment), "second.toml", &said);
    let second = experiment(&host.admin, "the overlap", |e| e["id"] == "second");
    assert_eq!(second["state"], "invalid");
    assert!(said.iter().all(|needle| error(&second).contains(needle)), "{second}");

    deployment.write("experiments/second.toml", another(&good, "second", "[0.5, 0.9]"));
    experiment(&host.admin, "a slot that is free", |e| e["id"] == "second" && e["state"] == "running");
    let first = experiment(&host.admin, "the first", |e| e["id"] == "outreach-score");
    assert_eq!((&first["state"], &first["error"]), (&"running".into(), &Value::Null));
}

#[test]
fn two_files_cannot_have_one_id() {
    let deployment = collections();
    let good = deployment.read("experiments/outreach-score.toml");
    let host = Host::start(&deployment).ready();
    deployment.write("experiments/second.toml", another(&good, "outreach-score", "[0.5, 0.9]"));
    let said = "id \"outreach-score\" is taken by outreach-score.toml";
    blamed(&findings(&deployment), "second.toml", &[said]);
    let second = experiment(&host.admin, "the clash", |e| e["file"] == "second.toml");
    assert_eq!(error(&second), said, "an answer holds no path of the host's");
    assert_eq!(second["state"], "invalid");
    let first = experiment(&host.admin, "the first", |e| e["file"] == FILE);
    assert_eq!((&first["state"], &first["error"]), (&"running".into(), &Value::Null));
}
