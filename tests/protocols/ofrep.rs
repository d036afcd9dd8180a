//! OFREP: OpenFeature's own SDKs are clients of a host, and whatever they send is answered as OFREP has it.

use serde_json::{Value, json};

use super::{answered, node, python};
use crate::support::{Answer, Client, Deployment, Host, collections, misbehave, run, wat};

const FLAG: &str = "/ofrep/v1/evaluate/flags/collections-outreach";
const FLAGS: &str = "/ofrep/v1/evaluate/flags";

/// The demo's decision point, and one that logs `best_effort`.
fn deployment() -> Deployment {
    let deployment = collections();
    deployment.write("plugins/misbehave-1.0.0.wasm", misbehave());
    let beside = r#"
[decision_points.misbehave]
strategy = "misbehave@1.0.0"
entities = ["borrower"]
context = { mode = "text?" }
actions = ["none", "say", "scores"]
deadline = "5s"
fallback = { action = "none" }
logging = "best_effort"
flag = "object"
"#;
    deployment.write("serin.toml", deployment.read("serin.toml") + beside);
    deployment
}

fn context(borrower: &str) -> Value {
    json!({ "targetingKey": borrower, "loan": "l-88", "days_past_due": 12, "channel": "batch" })
}

fn evaluate(client: &Client, context: &Value) -> Answer {
    client.post(FLAG, &json!({ "context": context }))
}

/// Makes the strategy offer 3 months to whoever has this loan.
fn in_hardship(host: &Host, loan: &str) {
    let now = jiff::Timestamp::now().to_string();
    let rows = json!({ "rows": [{ "entity": loan, "event_time": now, "values": { "hardship_flag": true, "promises_broken": 0, "contacts_7d": 0, "balance_due": 450.0 } }] });
    assert_eq!(host.public.post("/v1/features/servicing", &rows).status, 200);
}

fn asked(kind: &str, default: Value) -> Value {
    let attributes = json!({ "loan": "l-88", "days_past_due": 12.0, "channel": "batch", "user": { "agent": ["x"] } });
    json!({ "kind": kind, "key": "collections-outreach", "default": default, "targetingKey": "b-17", "attributes": attributes })
}

/// What both SDKs say, which has to be the same.
fn by_both(host: &Host, asked: &Value) -> Vec<Value> {
    let url = format!("http://{}", host.public.address);
    let by_python = answered(python("openfeature_client.py").args([&*url, ""]), asked);
    let by_node = answered(node("openfeature_client.mjs").args([&*url, ""]), asked);
    let (by_python, by_node) = (by_python.as_array().expect("a list"), by_node.as_array().expect("a list"));
    for (one, other) in by_python.iter().zip(by_node) {
        let same = |key: &str| assert_eq!(one[key], other[key], "{key}: {one} and {other}");
        ["value", "reason", "variant", "errorCode"].into_iter().for_each(same);
    }
    by_python.clone()
}

#[test]
fn a_flag_is_a_recorded_decision_to_the_sdks_of_two_languages() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    let direct = host.decide(&json!({
        "decision_point": "collections-outreach",
        "entities": { "borrower": "b-17", "loan": "l-88" },
        "context": { "days_past_due": 12, "channel": "batch" },
    }));
    let flag = &by_both(&host, &json!([asked("string", json!("wait"))]))[0];
    assert_eq!(flag["value"], direct["action"], "{flag}");
    assert_eq!(flag["errorCode"], Value::Null, "{flag}");
    let metadata = &flag["metadata"];
    assert!(metadata.as_object().expect("metadata").values().all(|value| value.is_string() || value.is_number()));
    let record = host.record(&json!({ "decision_id": metadata["decision_id"] }));
    assert_eq!(record["answer"]["action"], flag["value"]);
    assert_eq!(record["entities"], json!({ "borrower": "b-17", "loan": "l-88" }));
    assert_eq!(record["context"]["days_past_due"], json!(12), "12.0 is a whole number");
    for key in ["propensity", "served_by"] {
        assert_eq!(metadata[key], direct[key], "{key}");
    }
    let replayed = host
        .admin
        .post(&format!("/v1/decisions/{}/replay", metadata["decision_id"].as_str().expect("an id")), &json!({}));
    assert_eq!(replayed.json()["identical"], json!(true), "{}", replayed.text);
    // In an experiment the variant is the arm; else it is the strategy's version.
    let (mut split, mut matched) = (0, 0);
    for i in 0..60 {
        let flag = evaluate(&host.public, &context(&format!("b-{i}"))).json();
        let metadata = &flag["metadata"];
        match flag["reason"].as_str() {
            Some("SPLIT") => {
                split += 1;
                let arm = metadata["arm"].as_str().expect("an arm");
                assert_eq!(flag["variant"], format!("outreach-score/{arm}"), "{flag}");
                assert_eq!((&metadata["experiment"], &metadata["phase"]), (&json!("outreach-score"), &json!(1)));
            }
            Some("TARGETING_MATCH") => {
                matched += 1;
                assert_eq!(flag["variant"], "outreach-rules@1.0.0", "{flag}");
                assert_eq!(metadata["strategy"], flag["variant"]);
                assert!(metadata["digest"].as_str().is_some_and(|d| d.starts_with("sha256:")), "{flag}");
                assert_eq!(metadata.get("arm"), None);
            }
            other => panic!("{other:?}: {flag}"),
        }
    }
    assert!(split > 0 && matched > 0, "{split} and {matched}");
}

#[test]
fn a_flag_is_a_boolean_a_number_or_an_object_as_the_point_says() {
    let deployment = deployment();
    let line = "logging = \"must_log\"";
    deployment.remove("experiments/outreach-score.toml");
    deployment.edit("serin.toml", line, &format!("{line}\nflag = \"boolean\""));
    let host = Host::start(&deployment).ready();
    in_hardship(&host, "l-88");
    let kinds = json!([asked("boolean", json!(false)), asked("string", json!("wait"))]);
    let flags = by_both(&host, &kinds);
    assert_eq!(flags[0]["value"], json!(true), "{flags:?}");
    assert_eq!((&flags[1]["value"], &flags[1]["errorCode"]), (&json!("wait"), &json!("TYPE_MISMATCH")), "{flags:?}");
    let reloaded = |from: &str, to: &str| {
        let applied = host.metric("serin_reloads_total{reason=\"applied\"}");
        deployment.edit("serin.toml", from, to);
        let is_applied = || (host.metric("serin_reloads_total{reason=\"applied\"}") > applied).then_some(());
        crate::support::eventually("the edit applies", std::time::Duration::from_secs(20), is_applied);
    };
    reloaded("must_log\"\nflag = \"boolean\"", "must_log\"\nflag = \"number\"\nflag_parameter = \"months\"");
    let flags = by_both(&host, &json!([asked("integer", json!(0))]));
    assert_eq!(flags[0]["value"], json!(3), "{flags:?}");
    // Without the parameter the client's own default applies.
    let other = json!({ "targetingKey": "b-17", "loan": "l-1", "days_past_due": 12 });
    let flag = evaluate(&host.public, &other).json();
    assert_eq!((flag.get("value"), &flag["reason"]), (None, &json!("TARGETING_MATCH")), "{flag}");
    // Node's provider 0.1.3 takes an answer without a value for none: the default is the same, and the rest is lost.
    let url = format!("http://{}", host.public.address);
    let mut without = asked("integer", json!(7));
    without["attributes"]["loan"] = json!("l-1");
    let without = json!([without]);
    let by_python = answered(python("openfeature_client.py").args([&*url, ""]), &without);
    let by_node = answered(node("openfeature_client.mjs").args([&*url, ""]), &without);
    let said = |by: &Value| (by[0]["value"].clone(), by[0]["reason"].clone(), by[0]["errorCode"].clone());
    assert_eq!(said(&by_python), (json!(7), json!("TARGETING_MATCH"), Value::Null), "{by_python}");
    assert_eq!(said(&by_node), (json!(7), json!("ERROR"), json!("GENERAL")), "{by_node}");
    // Python's floats are no integers.
    let float = answered(python("openfeature_client.py").args([&*url, ""]), &json!([asked("number", json!(0.5))]));
    assert_eq!((&float[0]["value"], &float[0]["errorCode"]), (&json!(0.5), &json!("TYPE_MISMATCH")), "{float}");
    reloaded("\nflag = \"number\"\nflag_parameter = \"months\"", "\nflag = \"object\"");
    let flags = by_both(&host, &json!([asked("object", json!({}))]));
    assert_eq!(flags[0]["value"], json!({ "action": "hardship_offer", "parameters": { "months": 3 } }), "{flags:?}");
}

#[test]
fn who_may_not_be_contacted_and_what_fails_have_reasons_of_their_own() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    let now = jiff::Timestamp::now().to_string();
    let rows = json!({ "rows": [{ "entity": "l-9", "event_time": now, "values": { "cease_contact": true } }] });
    assert_eq!(host.public.post("/v1/features/servicing", &rows).status, 200);
    let mut left_alone = context("b-17");
    left_alone["loan"] = json!("l-9");
    let flag = evaluate(&host.public, &left_alone).json();
    let said = (&flag["value"], &flag["reason"], &flag["variant"]);
    assert_eq!(said, (&json!("no_contact"), &json!("DISABLED"), &json!("constraint")), "{flag}");
    let failing = json!({ "context": { "targetingKey": "b-1", "mode": "trap" } });
    let flag = host.public.post("/ofrep/v1/evaluate/flags/misbehave", &failing).json();
    let said = (&flag["value"]["action"], &flag["reason"], &flag["variant"]);
    assert_eq!(said, (&json!("none"), &json!("STATIC"), &json!("fallback_action")), "{flag}");
    assert_eq!(flag["metadata"].get("strategy"), None, "{flag}");
}

#[test]
fn what_does_not_fit_has_a_status_and_a_code_that_clients_know() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    let with = |key: &str, value: Value| {
        let mut context = context("b-17");
        context[key] = value;
        json!({ "context": context })
    };
    let mut many = context("b-17");
    (0..10_000).for_each(|i| many[format!("k{i}")] = json!(i));
    let without = |key: &str| {
        let mut context = context("b-17");
        context.as_object_mut().expect("an object").remove(key);
        json!({ "context": context })
    };
    for (body, code, says) in [
        (without("targetingKey"), "TARGETING_KEY_MISSING", "targetingKey: the unit's id is needed"),
        (json!({}), "TARGETING_KEY_MISSING", "targetingKey"),
        (with("targetingKey", json!("")), "TARGETING_KEY_MISSING", "targetingKey"),
        (with("targetingKey", json!(17)), "INVALID_CONTEXT", "targetingKey: is integer, not text"),
        (with("targetingKey", json!(" b")), "INVALID_CONTEXT", "blank"),
        (with("borrower", json!("b-18")), "INVALID_CONTEXT", "borrower: is another id than targetingKey"),
        (without("loan"), "INVALID_CONTEXT", "loan: is missing; 'collections-outreach' needs the ids of: borrower"),
        (with("loan", json!(88)), "INVALID_CONTEXT", "loan: is integer, not text"),
        (without("days_past_due"), "INVALID_CONTEXT", "context.days_past_due: is missing"),
        (with("days_past_due", json!({ "n": 12 })), "INVALID_CONTEXT", "days_past_due: is an object, not integer"),
        (with("days_past_due", json!([12])), "INVALID_CONTEXT", "days_past_due: is a list, not integer"),
        (with("days_past_due", json!("12")), "INVALID_CONTEXT", "context.days_past_due: is text, not integer"),
        (with("days_past_due", json!(12.5)), "INVALID_CONTEXT", "context.days_past_due: is number, not integer"),
        (with("channel", json!(true)), "INVALID_CONTEXT", "context.channel: is boolean, not text"),
        (json!({ "context": many }), "INVALID_CONTEXT", "10004 attributes; valid: at most 1000"),
        (json!({ "context": [1] }), "INVALID_CONTEXT", "expected an object"),
    ] {
        let answer = host.public.post(FLAG, &body);
        let said = answer.json();
        assert_eq!((answer.status, said["errorCode"].as_str()), (400, Some(code)), "{body}: {}", answer.text);
        assert_eq!(said["key"], "collections-outreach");
        assert!(said["errorDetails"].as_str().is_some_and(|why| why.contains(says)), "{says}: {said}");
        assert_eq!(answer.headers["content-type"], "application/json");
    }
    let deep = format!("{{\"context\":{{\"targetingKey\":\"b\",\"x\":{}1{}}}}}", "[".repeat(200), "]".repeat(200));
    let twice = "{\"context\":{\"targetingKey\":\"b\",\"targetingKey\":\"c\"}}";
    for (body, headers, code) in [
        ("{", &[][..], "PARSE_ERROR"),
        ("", &[], "PARSE_ERROR"),
        (&*deep, &[], "INVALID_CONTEXT"),
        ("{}", &[("content-type", "text/plain")], "PARSE_ERROR"),
        (twice, &[], "INVALID_CONTEXT"),
        ("{}", &[("serin-deadline-ms", "soon")], "INVALID_CONTEXT"),
    ] {
        let answer = host.public.post_text(FLAG, body, headers).expect("answers");
        assert_eq!((answer.status, answer.json()["errorCode"].as_str()), (400, Some(code)), "{}", answer.text);
    }
    let large = format!("{{\"context\":{{\"targetingKey\":\"{}\"}}}}", "b".repeat(5 << 20));
    let answer = host.public.post_text(FLAG, &large, &[]).expect("answers");
    assert_eq!((answer.status, answer.json()["errorCode"].as_str()), (400, Some("PARSE_ERROR")), "{}", answer.text);
    let answer = host.public.post("/ofrep/v1/evaluate/flags/no-such-flag", &json!({ "context": context("b") }));
    let said = answer.json();
    assert_eq!(
        (answer.status, &said["errorCode"], &said["key"]),
        (404, &json!("FLAG_NOT_FOUND"), &json!("no-such-flag"))
    );
    for (path, key) in [("a/b", "a/b"), ("a%20b/c", "a b/c"), ("", "")] {
        let answer = host.public.post(&format!("{FLAGS}/{path}"), &json!({ "context": context("b") }));
        let said = answer.json();
        assert_eq!(
            (answer.status, &said["errorCode"], &said["key"]),
            (404, &json!("FLAG_NOT_FOUND"), &json!(key)),
            "{said}"
        );
    }
    // What is declared for no flag is other flags', whatever it is.
    let more = with("user", json!({ "name": "Ann", "groups": [1, { "a": null }] }));
    assert_eq!(host.public.post(FLAG, &more).status, 200);
    let unknown = json!([
        { "kind": "string", "key": "no-such-flag", "default": "x", "targetingKey": "b", "attributes": {} },
        { "kind": "string", "key": "no/such/flag", "default": "x", "targetingKey": "b", "attributes": {} },
        { "kind": "string", "key": "collections-outreach", "default": "x", "attributes": { "loan": "l" } },
        { "kind": "string", "key": "collections-outreach", "default": "x", "targetingKey": "b", "attributes": {} },
    ]);
    let told: Vec<_> = by_both(&host, &unknown).into_iter().map(|flag| flag["errorCode"].clone()).collect();
    assert_eq!(told, ["FLAG_NOT_FOUND", "FLAG_NOT_FOUND", "TARGETING_KEY_MISSING", "INVALID_CONTEXT"]);
}

#[test]
fn all_flags_are_evaluated_without_a_record_and_again_only_when_they_changed() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    let ask = |context: Value, tag: &str| {
        let headers: &[(&str, &str)] = if tag.is_empty() { &[] } else { &[("if-none-match", tag)] };
        host.public.post_text(FLAGS, &json!({ "context": context }).to_string(), headers).expect("answers")
    };
    let mut about = context("b-17");
    about["mode"] = json!("ok");
    let first = ask(about.clone(), "");
    assert_eq!(first.status, 200, "{}", first.text);
    let flags = first.json()["flags"].clone();
    assert_eq!((&flags[0]["key"], &flags[0]["errorCode"]), (&json!("collections-outreach"), &json!("GENERAL")));
    assert!(flags[0]["errorDetails"].as_str().is_some_and(|why| why.contains("evaluate it singly")), "{flags}");
    assert_eq!(flags[1]["value"], json!({ "action": "none", "parameters": {} }), "{flags}");
    assert_eq!(flags[1]["metadata"].get("decision_id"), None, "nobody could look it up");
    let tag = first.headers["etag"].clone();
    for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
        let again = ask(about.clone(), &known);
        assert_eq!((again.status, &*again.text, &again.headers["etag"]), (304, "", &tag), "{known}");
    }
    // Another context is another answer, even where all values are the same.
    let mut other = about.clone();
    other["targetingKey"] = json!("b-18");
    let answer = ask(other, &tag);
    assert_eq!((answer.status, &answer.json()["flags"]), (200, &flags));
    assert_ne!(answer.headers["etag"], tag);
    about["mode"] = json!("trap");
    assert_eq!(ask(about, &tag).json()["flags"][1]["reason"], "STATIC");
    let answer = ask(json!({ "loan": "l-1" }), "");
    assert_eq!((answer.status, &answer.json()["errorCode"]), (400, &json!("TARGETING_KEY_MISSING")), "{}", answer.text);
    // One flag's context does not fit, and the others have their values.
    let answer = ask(json!({ "targetingKey": "b-1", "mode": 7 }), "");
    assert_eq!(answer.json()["flags"][1]["errorCode"], "INVALID_CONTEXT", "{}", answer.text);
    let kept = host.admin.get("/v1/decisions?limit=10").json();
    assert_eq!(kept["decisions"].as_array().map(Vec::len), Some(0), "{kept}");
}

#[test]
fn a_bulk_evaluation_ends_at_its_deadline_and_names_the_flags_that_it_left_out() {
    // Evaluated by name: the first one answers, the others never do.
    let endless = "(loop $again (br $again)) (i32.const 1024)";
    let endless = |name| (name, wat::go(name, "", endless));
    let deployment = wat::points(&[("a", wat::go("a", "", "(i32.const 1024)")), endless("b"), endless("c")]);
    let best_effort = "fallback = { action = \"none\" }";
    deployment.edit("serin.toml", best_effort, &format!("{best_effort}\nlogging = \"best_effort\""));
    deployment.edit("serin.toml", "wall_ms = 2000", "wall_ms = 60000\nfuel = 1000000000000");
    deployment.edit("serin.toml", "deadline = \"5s\"", "deadline = \"60s\"");
    let host = Host::start(&deployment).ready();
    let ask = |deadline: &str| {
        let body = json!({ "context": { "targetingKey": "b-17" } }).to_string();
        host.public.post_text(FLAGS, &body, &[("serin-deadline-ms", deadline)]).expect("answers")
    };
    let asked = std::time::Instant::now();
    let answer = ask("3000");
    let took = asked.elapsed();
    assert!(took < std::time::Duration::from_secs(15), "{took:?}");
    assert_eq!(answer.status, 200, "{}", answer.text);
    let flags = answer.json()["flags"].clone();
    assert_eq!((&flags[0]["key"], &flags[0]["value"]), (&json!("a"), &json!("go")), "{flags}");
    for left_out in [&flags[1], &flags[2]] {
        assert_eq!((&left_out["errorCode"], left_out.get("value")), (&json!("GENERAL"), None), "{flags}");
        let why = left_out["errorDetails"].as_str().expect("a sentence");
        assert!(why.contains("the deadline of this bulk evaluation passed"), "{why}");
    }
    let answer = ask("soon");
    assert_eq!((answer.status, &answer.json()["errorCode"]), (400, &json!("INVALID_CONTEXT")), "{}", answer.text);
}

#[test]
fn a_token_gets_the_flags_of_its_points_and_no_other() {
    let deployment = deployment();
    let made = run(["token", "new", "--name", "app", "--role", "decide", "--point", "misbehave"]);
    let entry = made.stderr.split_once("[[access.tokens]]").expect("an entry").1;
    deployment.write("serin.toml", format!("{}\n[[access.tokens]]{entry}", deployment.read("serin.toml")));
    let host = Host::start(&deployment).ready();
    let app = host.public.bearing(made.stdout.trim());
    let about = json!({ "context": context("b-17") });
    let flags = app.post(FLAGS, &about).json()["flags"].clone();
    assert_eq!(flags.as_array().map(Vec::len), Some(1), "{flags}");
    assert_eq!(flags[0]["key"], "misbehave");
    assert_eq!(app.post(FLAG, &about).status, 403);
    assert_eq!(host.public.post(FLAG, &about).status, 401);
    let url = format!("http://{}", host.public.address);
    let flag = json!([{ "kind": "object", "key": "misbehave", "default": {}, "targetingKey": "b", "attributes": {} }]);
    for (token, code) in [(made.stdout.trim(), Value::Null), ("", json!("GENERAL"))] {
        let said = answered(python("openfeature_client.py").args([&*url, token]), &flag);
        assert_eq!(said[0]["errorCode"], code, "{said}");
    }
}

#[test]
fn a_host_that_is_full_tells_clients_when_to_come_back() {
    let deployment = deployment();
    deployment.edit("serin.toml", "[server]\n", "[server]\nmax_concurrent = 1\nthreads = 1\n");
    deployment.edit("serin.toml", "wall_ms = 2000", "fuel = 1000000000000\nwall_ms = 15000");
    deployment.edit(
        "serin.toml",
        "deadline = \"5s\"\nfallback = { action = \"none\" }",
        "deadline = \"20s\"\nfallback = { action = \"none\" }",
    );
    let host = Host::start(&deployment).ready();
    let spin =
        json!({ "decision_point": "misbehave", "entities": { "borrower": "b-1" }, "context": { "mode": "spin" } });
    let client = host.public.clone();
    let long = std::thread::spawn(move || client.post("/v1/decisions", &spin));
    crate::support::eventually("the long one has its place", std::time::Duration::from_secs(10), || {
        (host.admin.get("/v1/deployment").json()["requests_in_flight"] == 1).then_some(())
    });
    for path in [FLAG, FLAGS] {
        let answer = host.public.post(path, &json!({ "context": context("b-1") }));
        assert_eq!((answer.status, &*answer.headers["retry-after"]), (429, "1"), "{path}: {}", answer.text);
    }
    let flag = &by_both(&host, &json!([asked("string", json!("wait"))]))[0];
    assert_eq!((&flag["value"], &flag["errorCode"]), (&json!("wait"), &json!("GENERAL")), "{flag}");
    assert_eq!(long.join().expect("ends").status, 200);
}
