//! What is broken, missing or not yet there changes nothing but its own status: the last good
//! keeps serving, across restarts too.

use std::time::Duration;

use serde_json::{Value, json};
use serin_core::allocation::{Purpose, place};

use crate::support::{
    Deployment, Host, artifact, collections, eventually, outreach_rules, outreach_score, run, wat, with_nonce,
};

const RULES: &str = "plugins/outreach-rules-1.0.0.wasm";
const SCORE: &str = "plugins/outreach-score-1.1.0.wasm";
const SPEC: &str = "experiments/outreach-score.toml";
const BOUND: Duration = Duration::from_secs(60);

fn request() -> Value {
    json!({
        "decision_point": "collections-outreach",
        "entities": { "borrower": "b-17", "loan": "l-88" },
        "context": { "days_past_due": 12 },
    })
}

/// A decision by the experiment's arm `score`, which needs the model and the spec.
fn forced(host: &Host) -> Value {
    let mut request = request();
    request["force"] = json!({ "experiment": "outreach-score", "arm": "score" });
    host.admin.post("/v1/decisions", &request).json()
}

/// The one plugin in this state, once there is one.
fn plugin(host: &Host, file: &str, state: &str) -> Value {
    eventually(&format!("{file} is {state}"), BOUND, || {
        let plugins = host.admin.get("/v1/plugins").json();
        let found = plugins["plugins"].as_array()?.iter().find(|p| p["file"] == file && p["state"] == state);
        found.cloned()
    })
}

/// Waits until the deployment's standing satisfies a condition.
fn standing(host: &Host, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
    eventually(what, BOUND, || Some(host.admin.get("/v1/deployment").json()).filter(&condition))
}

fn experiment(host: &Host, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
    eventually(what, BOUND, || Some(host.admin.get("/v1/experiments/outreach-score").json()).filter(&condition))
}

#[test]
fn a_broken_artifact_says_so_and_the_last_good_serves_on() {
    let deployment = collections();
    let host = Host::start_with(&deployment.config(), &["--dev"]).ready();
    let before = host.decide(&request())["strategy"]["digest"].clone();
    let whole = outreach_rules();
    deployment.write(RULES, &whole[..whole.len() / 2]);
    let failed = plugin(&host, "outreach-rules-1.0.0.wasm", "failed");
    assert!(failed["error"].as_str().is_some_and(|e| e.contains("not a WebAssembly component")), "{failed}");
    assert_eq!(host.decide(&request())["strategy"]["digest"], before);
    assert_eq!(host.public.get("/readyz").status, 200);
    deployment.write(RULES, with_nonce(&whole, 1));
    let active = plugin(&host, "outreach-rules-1.0.0.wasm", "active");
    assert_eq!(host.decide(&request())["strategy"]["digest"], active["digest"]);
}

#[test]
fn a_published_version_does_not_change_without_dev() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let published = host.decide(&request())["strategy"]["digest"].as_str().expect("a digest").to_owned();
    let other = with_nonce(&outreach_rules(), 1);
    deployment.write(RULES, &other);
    let failed = plugin(&host, "outreach-rules-1.0.0.wasm", "failed");
    let error = failed["error"].as_str().expect("an error");
    let words = [published.as_str(), &serin_core::digest(&other), "outreach-rules@1.0.0", "raise the version"];
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
    assert_eq!(host.decide(&request())["strategy"]["digest"], *published);
    assert_eq!(host.stop(), Some(0));

    let checked = run(["check", "--config", deployment.config().to_str().expect("text")]);
    assert_eq!(checked.code, Some(1), "{}", checked.stdout);
    assert!(checked.stderr.contains("was published as"), "{}{}", checked.stdout, checked.stderr);

    // Not after a restart either, though nothing of the old file is in the folder any more.
    let host = Host::start(&deployment).ready();
    plugin(&host, "outreach-rules-1.0.0.wasm", "failed");
    assert_eq!(host.decide(&request())["strategy"]["digest"], *published);
}

#[test]
fn what_the_folder_lost_is_served_from_the_archive_after_a_restart() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let published = host.decide(&request())["strategy"]["digest"].clone();
    assert_eq!(host.stop(), Some(0));
    let whole = outreach_rules();
    let break_it: [(&str, &dyn Fn()); 2] =
        [("truncated", &|| deployment.write(RULES, &whole[..1000])), ("deleted", &|| deployment.remove(RULES))];
    for (how, break_it) in break_it {
        break_it();
        let host = Host::start(&deployment).ready();
        let plugins = host.admin.get("/v1/plugins").json();
        let archived = plugins["plugins"].as_array().expect("plugins").iter().find(|p| p["digest"] == published);
        let archived = archived.unwrap_or_else(|| panic!("{how}: {plugins}"));
        assert_eq!(
            (&archived["state"], &archived["stale"], &archived["file"]),
            (&json!("active"), &json!(true), &Value::Null)
        );
        assert_eq!(host.decide(&request())["strategy"]["digest"], published, "{how}");
        assert_eq!(host.stop(), Some(0));
    }
    deployment.write(RULES, &whole);
    let host = Host::start(&deployment).ready();
    assert_eq!(plugin(&host, "outreach-rules-1.0.0.wasm", "active")["stale"], false);
}

#[test]
fn a_folder_that_cannot_be_read_is_no_reason_not_to_serve() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let published = host.decide(&request())["strategy"]["digest"].clone();
    assert_eq!(host.stop(), Some(0));
    // A link to a release that is gone.
    let plugins = deployment.path().join("plugins");
    std::fs::rename(&plugins, deployment.path().join("elsewhere")).expect("moves");
    std::os::unix::fs::symlink(deployment.path().join("gone"), &plugins).expect("links");
    let host = Host::start(&deployment).ready();
    assert_eq!(host.decide(&request())["strategy"]["digest"], published);
    let standing = standing(&host, "it says so", |standing| standing["plugins_error"].is_string());
    assert!(standing["plugins_error"].as_str().is_some_and(|e| e.contains("cannot be read")), "{standing}");
    std::fs::rename(deployment.path().join("elsewhere"), deployment.path().join("gone")).expect("moves");
    assert_eq!(plugin(&host, "outreach-rules-1.0.0.wasm", "active")["stale"], false);
}

#[test]
fn an_experiment_waits_for_its_artifact_and_then_runs() {
    let deployment = collections();
    deployment.remove(SCORE);
    let host = Host::start(&deployment).ready();
    let waiting = experiment(&host, "it waits", |e| e["state"] == "waiting");
    let why = waiting["why"].as_str().expect("a reason");
    assert!(why.contains("arm 'score': strategy outreach-score@1.1.0 is not there"), "{why}");
    assert_eq!(host.decide(&request())["experiment"], Value::Null);
    deployment.write(SCORE, outreach_score());
    experiment(&host, "it runs", |e| e["state"] == "running");
    assert_eq!(forced(&host)["served_by"], "arm");
}

#[test]
fn a_broken_edit_of_the_configuration_is_shown_and_not_applied() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let good = deployment.read("serin.toml");
    assert_eq!(standing(&host, "it stands", |_| true)["config_error"], Value::Null);
    deployment.edit("serin.toml", "fallback = {", "fallbak = {");
    let broken = standing(&host, "the mistake is shown", |d| d["config_error"].is_string());
    assert!(broken["config_error"].as_str().is_some_and(|e| e.contains("fallbak")), "{broken}");
    assert_eq!(host.decide(&request())["strategy"]["name"], "outreach-rules");
    // The rest of the deployment is not held up by it.
    deployment.remove(SPEC);
    experiment(&host, "the missing spec is noticed", |e| e["state"] == "spec_missing");
    deployment.write(
        "serin.toml",
        good.replace("days_past_due = \"integer\"", "days_past_due = \"integer\", campaign = \"text?\""),
    );
    standing(&host, "the mistake is gone", |d| d["config_error"].is_null());
    let mut with_campaign = request();
    with_campaign["context"]["campaign"] = json!("winter");
    host.decide(&with_campaign);
}

#[test]
fn what_needs_a_restart_says_so_and_the_rest_applies() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    assert_eq!(standing(&host, "it stands", |_| true)["restart_required"], json!([]), "nothing was edited yet");
    deployment.edit("serin.toml", "listen = \"127.0.0.1:8080\"", "listen = \"127.0.0.1:1\"");
    deployment.edit("serin.toml", "url = \"sqlite:data/serin.db\"", "url = \"sqlite:data/other.db\"");
    deployment.edit("serin.toml", "fallback = { action = \"no_contact\" }", "fallback = { action = \"call\" }");
    standing(&host, "both are shown", |d| d["restart_required"] == json!(["server.listen", "ledger.url"]));
    let mut refused = request();
    refused["context"]["days_past_due"] = json!(-1);
    assert_eq!(host.decide(&refused)["action"], "call", "the rest of the file is in force");
    assert!(!deployment.path().join("data/other.db").exists());
}

#[test]
fn a_broken_edit_of_a_spec_leaves_the_applied_one_in_force() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let applied = experiment(&host, "it runs", |e| e["state"] == "running")["spec"]["digest"].clone();
    let edits = [
        ("weight = 0.5\nparameters", "weight = 0.7\nparameters", "sum to 1.2"),
        ("[0.0, 0.5]", "[0.5, 0.2]", "from < to"),
        ("context.days_past_due", "context.days_late", "days_late"),
    ];
    for (from, to, words) in edits {
        let good = deployment.read(SPEC);
        deployment.edit(SPEC, from, to);
        let broken =
            experiment(&host, "the mistake is shown", |e| e["error"].as_str().is_some_and(|e| e.contains(words)));
        assert_eq!((&broken["state"], &broken["spec"]["digest"]), (&json!("running"), &applied));
        assert_eq!(forced(&host)["served_by"], "arm");
        deployment.write(SPEC, good);
        experiment(&host, "the mistake is gone", |e| e["error"].is_null());
    }
    deployment.edit(SPEC, "[0.0, 0.5]", "[0.5, 0.2]");
    assert_eq!(host.stop(), Some(0));
    let host = Host::start(&deployment).ready();
    let stale = experiment(&host, "it is known from before", |e| e["stale"] == true);
    assert_eq!((&stale["state"], &stale["spec"]["digest"]), (&json!("running"), &applied));
    assert_eq!(forced(&host)["served_by"], "arm");
}

#[test]
fn a_deleted_spec_puts_its_units_back_on_the_pinned_strategy() {
    let deployment = collections();
    let of_layer = |purpose, unit: &str| place(purpose, "outreach-1", "borrower", unit);
    let enrolled = (0..)
        .map(|i| format!("b-{i}"))
        .find(|unit| of_layer(Purpose::Layer, unit).is_below(0.5) && !of_layer(Purpose::Holdout, unit).is_below(0.02));
    let mut request = request();
    request["entities"]["borrower"] = json!(enrolled);
    let host = Host::start(&deployment).ready();
    assert_eq!(host.decide(&request)["experiment"]["id"], "outreach-score");
    let spec = deployment.read(SPEC);
    deployment.remove(SPEC);
    let missing = experiment(&host, "it is missed", |e| e["state"] == "spec_missing");
    assert!(missing["why"].as_str().is_some_and(|why| why.contains("its file is gone")), "{missing}");
    let answer = host.decide(&request);
    assert_eq!((&answer["experiment"], &answer["served_by"]), (&Value::Null, &json!("strategy")));
    assert_eq!(answer["strategy"]["name"], "outreach-rules");
    // Under another name it is the same experiment, and not a missing one besides.
    deployment.write("experiments/renamed.toml", spec);
    experiment(&host, "it runs again", |e| e["state"] == "running" && e["file"] == "renamed.toml");
    assert_eq!(host.decide(&request)["experiment"]["id"], "outreach-score");
    let experiments = host.admin.get("/v1/experiments").json();
    assert_eq!(experiments["experiments"].as_array().map(Vec::len), Some(1), "{experiments}");
}

#[test]
fn a_restart_serves_what_was_in_force_until_an_edited_pin_can_be() {
    let deployment = collections();
    deployment.remove("experiments/outreach-score.toml");
    let host = Host::start(&deployment).ready();
    assert_eq!(host.decide(&request())["strategy"]["version"], "1.0.0");
    assert_eq!(host.stop(), Some(0));
    deployment.edit("serin.toml", "outreach-rules@1.0.0", "outreach-rules@1.1.0");
    let host = Host::start(&deployment).ready();
    assert_eq!(host.decide(&request())["strategy"]["version"], "1.0.0");
    let shown = standing(&host, "the edit waits", |shown| shown["config_error"].is_string());
    let why = shown["config_error"].as_str().expect("a text");
    assert!(why.contains("the edit is not applied") && why.contains("outreach-rules@1.1.0"), "{why}");
    let next = artifact("plugins/outreach-rules-next", "outreach-rules-1.1.0.wasm");
    deployment.write("plugins/outreach-rules-1.1.0.wasm", next);
    eventually("the new version serves", BOUND, || {
        (host.decide(&request())["strategy"]["version"] == "1.1.0").then_some(())
    });
    assert_eq!(standing(&host, "it is applied", |shown| shown["config_error"].is_null())["config_error"], Value::Null);
}

#[test]
fn a_new_point_that_cannot_be_served_takes_no_readiness_from_the_others() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let point = "\n[decision_points.other]\nstrategy = \"other@1.0.0\"\nentities = [\"borrower\"]\n\
                 actions = [\"go\", \"none\"]\nfallback = { action = \"none\" }\n";
    deployment.write("serin.toml", deployment.read("serin.toml") + point);
    let shown = standing(&host, "the edit waits", |shown| shown["config_error"].is_string());
    let why = shown["config_error"].as_str().expect("a text");
    assert!(why.contains("decision_points.other.strategy = \"other@1.0.0\""), "{why}");
    assert_eq!(host.public.get("/readyz").status, 200);
    assert!(host.decide(&request())["strategy"].is_object());
    let other = wat::guest(
        &wat::manifest("other", "1.0.0", "other", "go"),
        &format!("{} {}", wat::PRELUDE, wat::decide("(i32.const 1024)")),
    );
    deployment.write("plugins/other-1.0.0.wasm", other);
    let asked = json!({ "decision_point": "other", "entities": { "borrower": "b-1" } });
    eventually("it is applied", BOUND, || {
        let answer = host.public.post("/v1/decisions", &asked);
        (answer.status == 200 && answer.json()["action"] == "go").then_some(())
    });
}

#[test]
fn why_a_point_is_not_ready_is_what_is_wrong_now() {
    let deployment = collections();
    deployment.remove(RULES);
    let host = Host::start(&deployment);
    let not_ready = |words: &str| {
        eventually(words, BOUND, || {
            // Readiness names the point; why it is not ready is for operators.
            let ready = host.public.get("/readyz");
            assert!(!ready.text.contains(words), "{}", ready.text);
            let shown = host.admin.get("/v1/deployment").json();
            let why = shown["decision_points"][0]["unready"].as_str().unwrap_or_default();
            (ready.status == 503 && why.contains(words)).then_some(())
        });
    };
    not_ready("is not there");
    assert_eq!(host.decide(&request())["served_by"], "fallback_action");
    let generation = || host.admin.get("/v1/deployment").json()["generation"].clone();
    let before = generation();
    deployment.edit("serin.toml", "\"hardship_offer\"]", "\"offer\"]");
    // An edit that takes away what serves would not be applied.
    eventually("the edit is in force", BOUND, || (generation() != before).then_some(()));
    deployment.write(RULES, outreach_rules());
    not_ready("action 'hardship_offer' is not of 'collections-outreach'");
    deployment.edit("serin.toml", "\"offer\"]", "\"hardship_offer\"]");
    let host = host.ready();
    assert_eq!(host.decide(&request())["strategy"]["name"], "outreach-rules");
}

/// A strategy whose cases take a host many seconds: they compute roots until their fuel is used up.
fn slow_to_load() -> Vec<u8> {
    let roots = |inner: String| format!("(f64.sqrt {inner})");
    let roots = (0..50).fold("(f64.add (global.get $x) (f64.const 2))".to_owned(), |inner, _| roots(inner));
    let body = format!("(loop $again (global.set $x {roots}) (br $again)) (unreachable)");
    let slow = wat::go("slow", "(global $x (mut f64) (f64.const 2))", &body);
    let cases: Vec<Value> =
        (0..200).map(|i| json!({ "name": format!("{i}"), "expect": { "failure": "fuel_exhausted" } })).collect();
    wat::with_cases(slow, &json!(cases))
}

#[test]
fn how_long_an_artifact_has_been_compiled_is_told_while_it_is() {
    let deployment = wat::points(&[("slow", slow_to_load())]);
    deployment.remove("plugins/slow-1.0.0.wasm");
    let told = |host: &Host| {
        eventually("it is told", BOUND, || {
            let ready = host.public.get("/readyz");
            let status = run(["status", "--admin", &host.admin.address]).stdout;
            let is_told = ready.text.contains("without their pinned strategy: slow (has been compiling for ")
                && status.contains("NOT READY: ")
                && status.lines().any(|line| line.contains("the fallback action: ") && line.contains("compiling for "));
            (ready.status == 503 && is_told).then_some(())
        });
    };
    // Copied into the folder of a running host.
    let host = Host::start(&deployment);
    assert!(!host.public.get("/readyz").text.contains("compiled"));
    deployment.write("plugins/slow-1.0.0.wasm", slow_to_load());
    told(&host);
    host.kill();
    // There at the start, which waits ten seconds for it.
    told(&Host::start(&deployment));
}

#[test]
fn a_broken_model_leaves_the_one_before_in_force_and_the_archive_has_it_later() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    load_borrowers(&deployment);
    let score = |host: &Host| host.record(&forced(host))["attempts"][0]["scores"][0].clone();
    let before = score(&host);
    assert!(before["value"].is_number(), "{before}");
    let model = std::fs::read(deployment.path().join("models/default-risk.onnx")).expect("reads");
    deployment.write("models/default-risk.onnx", &model[..model.len() / 2]);
    let broken = standing(&host, "the mistake is shown", |d| d["models"][0]["error"].is_string());
    assert_eq!(broken["models"][0]["digest"], before["digest"], "{broken}");
    assert_eq!(score(&host), before);
    assert_eq!(host.stop(), Some(0));
    let host = Host::start(&deployment).ready();
    let archived = standing(&host, "it stands", |_| true);
    assert_eq!((&archived["models"][0]["stale"], &archived["models"][0]["digest"]), (&json!(true), &before["digest"]));
    assert_eq!(score(&host), before);
    deployment.write("models/default-risk.onnx", &model);
    let mended = standing(&host, "it is mended", |d| d["models"][0]["error"].is_null());
    assert_eq!(mended["models"][0]["stale"], false);
}

#[test]
fn what_could_not_be_archived_is_tried_again_until_it_can() {
    let deployment = collections();
    let host = Host::start_with(&deployment.config(), &["--dev"]).ready();
    let digest = |host: &Host| host.decide(&request())["strategy"]["digest"].clone();
    let (published, model) = (digest(&host), standing(&host, "it stands", |_| true)["models"][0]["digest"].clone());
    let blobs = deployment.path().join("data/archive/blobs");
    std::fs::rename(&blobs, blobs.with_extension("away")).expect("moves");
    // The same model, with a word about it: the field `doc_string` of ONNX.
    let onnx = std::fs::read(deployment.path().join("models/default-risk.onnx")).expect("reads");
    deployment.write("models/default-risk.onnx", [&onnx[..], &[0x32, 1, b'x']].concat());
    deployment.write(RULES, with_nonce(&outreach_rules(), 1));
    let failed = plugin(&host, "outreach-rules-1.0.0.wasm", "failed");
    assert!(failed["error"].as_str().is_some_and(|e| e.contains("archive")), "{failed}");
    let standing_by = standing(&host, "the model says so", |d| d["models"][0]["error"].is_string());
    let error = standing_by["models"][0]["error"].as_str().expect("an error");
    assert!(error.contains("could not be archived"), "{error}");
    assert_eq!(
        (digest(&host), &standing_by["models"][0]["digest"]),
        (published.clone(), &model),
        "the last good serve"
    );
    std::fs::rename(blobs.with_extension("away"), &blobs).expect("moves back");
    plugin(&host, "outreach-rules-1.0.0.wasm", "active");
    assert_ne!(digest(&host), published);
    let applied = standing(&host, "the model is applied", |d| d["models"][0]["error"].is_null());
    assert_ne!(applied["models"][0]["digest"], model);
}

fn load_borrowers(deployment: &Deployment) {
    let (file, config) = (crate::support::root().join("host/demo/borrowers.csv"), deployment.config());
    let args = [
        "features",
        "load",
        "borrower-profile",
        file.to_str().expect("a path"),
        "--config",
        config.to_str().expect("a path"),
    ];
    let loaded = run(args);
    assert_eq!(loaded.code, Some(0), "{}", loaded.stderr);
}

#[test]
fn compiled_code_is_kept_and_only_what_this_host_wrote_is_read_back() {
    let deployment = collections();
    let answer = |host: &Host| host.decide(&request())["action"].clone();
    let host = Host::start(&deployment).ready();
    let first = answer(&host);
    assert_eq!(host.stop(), Some(0));
    let kept = deployment.compiled();
    assert_eq!(kept.len(), 2, "one a strategy");
    // A start from the cache writes nothing anew.
    let host = Host::start(&deployment).ready();
    assert_eq!(answer(&host), first);
    assert_eq!(host.stop(), Some(0));
    assert_eq!(deployment.compiled(), kept);
    // Code that somebody changed, or that another key signed, is not run: it is compiled again.
    let (path, mut bytes) = kept[0].clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).expect("writes");
    let host = Host::start(&deployment).ready();
    assert_eq!(answer(&host), first);
    assert_eq!(host.stop(), Some(0));
    assert_eq!(deployment.compiled(), kept, "what was changed is written over");
    std::fs::write(deployment.path().join("data/compiled/key"), [7; 32]).expect("writes");
    let host = Host::start(&deployment).ready();
    assert_eq!(answer(&host), first);
    assert_eq!(host.stop(), Some(0));
    let signed = deployment.compiled();
    assert!(signed.iter().zip(&kept).all(|(now, before)| now.0 == before.0 && now.1 != before.1), "signed anew");
}
