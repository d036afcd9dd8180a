//! An experiment's life: it starts, ramps, stops and ends as its file and people say, and as the
//! evidence allows.

use std::time::Duration;

use rusqlite::{Connection, named_params};
use serde_json::{Value, json};

use crate::support::{Deployment, Host, eventually, root, run, two_arms, wat};

pub(crate) const RAMP: &str = two_arms!(
    r#"
start = "manual"
ramp = [{ coverage = 0.2, hold = "1d" }, { coverage = 1.0 }]
"#,
    ""
);

/// A decision point `p`, pinned to `p`, and `q`, which is tried in an experiment. `q` answers
/// the same, or traps.
pub(crate) fn deployment(experiment: &str, q_traps: bool) -> Deployment {
    let deployment = wat::points(&[("p", wat::go("p", "", "(i32.const 1024)"))]);
    let body = if q_traps { "unreachable" } else { "(i32.const 1024)" };
    let q = wat::guest(&wat::manifest("q", "1.0.0", "p", "go"), &format!("{} {}", wat::PRELUDE, wat::decide(body)));
    deployment.write("plugins/q-1.0.0.wasm", q);
    deployment.write("experiments/e.toml", experiment);
    deployment
}

pub(crate) fn decide(host: &Host, unit: &str) -> Value {
    host.decide(&json!({ "decision_point": "p", "entities": { "borrower": unit } }))
}

/// The units, of a hundred, that the experiment takes, and their arms.
pub(crate) fn taken(host: &Host) -> Vec<(u32, String)> {
    let arm = |i: u32| Some((i, decide(host, &format!("b-{i}"))["experiment"]["arm"].as_str()?.to_owned()));
    (0..100).filter_map(arm).collect()
}

pub(crate) fn command(host: &Host, command: &str, body: Value) -> (u16, Value) {
    let answer = host.admin.post(&format!("/v1/experiments/e/{command}"), &body);
    (answer.status, answer.json())
}

pub(crate) fn why() -> Value {
    json!({ "by": "ann", "reason": "a test" })
}

#[test]
fn a_person_leads_an_experiment_through_its_life() {
    let deployment = deployment(RAMP, false);
    let host = Host::start(&deployment).ready();
    assert_eq!(taken(&host), [], "it waits for somebody to start it");
    let (status, refused) = command(&host, "promote", why());
    assert_eq!((status, &refused["type"]), (409, &json!("urn:serin:problem:not-possible")));
    assert!(refused["detail"].as_str().is_some_and(|d| d.contains("possible: start, abort")), "{refused}");
    assert_eq!(command(&host, "start", json!({ "by": "ann", "reason": " " })).0, 422);

    let (status, started) = command(&host, "start", why());
    assert_eq!((status, &started["state"], &started["coverage"]), (200, &json!("running"), &json!(0.2)));
    let first = taken(&host);
    assert!((8..35).contains(&first.len()), "a fifth of a hundred: {}", first.len());
    assert_eq!(decide(&host, &format!("b-{}", first[0].0))["experiment"]["phase"], 1);

    // The command line does the same, and what it is told is recorded.
    let admin = format!("http://{}", host.admin.address);
    let promoted = run(["experiment", "promote", "e", "--by", "bob", "--reason", "looks well", "--admin", &admin]);
    assert_eq!(promoted.code, Some(0), "{}", promoted.stderr);
    assert!(promoted.stdout.contains("by bob: looks well"), "{}", promoted.stdout);
    let all = taken(&host);
    assert_eq!(all.len(), 100);
    assert!(first.iter().all(|unit| all.contains(unit)), "who was in stays in, in the same arm");
    assert_eq!(decide(&host, "b-1")["experiment"]["phase"], 2);
    assert!(run(["experiment", "promote", "e", "--reason", "more", "--admin", &admin]).stderr.contains("last step"));

    // A restart goes on where it was, whatever `start` says.
    host.kill();
    let host = Host::start(&deployment).ready();
    assert_eq!(taken(&host), all);
    assert_eq!(command(&host, "pause", why()).1["state"], "paused");
    assert_eq!(taken(&host), all, "its ramp stands still, and who is in stays in");
    assert_eq!(command(&host, "resume", why()).0, 200);

    assert_eq!(command(&host, "abort", why()).1["state"], "aborted");
    assert_eq!(taken(&host), [], "the command has returned: it is in force");
    assert_eq!(decide(&host, "b-1")["served_by"], "strategy");
    host.kill();
    let host = Host::start(&deployment).ready();
    assert_eq!(taken(&host), [], "ended stays ended");
    assert_eq!(command(&host, "start", why()).0, 409);
    let shown = host.admin.get("/v1/experiments/e").json();
    let history: Vec<String> = shown["history"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|c| format!("{} {} {}", c["command"].as_str().unwrap_or("?"), c["to"].as_str().unwrap_or("?"), c["by"]))
        .collect();
    let expected = [
        "start running \"ann\"",
        "promote running \"bob\"",
        "pause paused \"ann\"",
        "resume running \"ann\"",
        "abort aborted \"ann\"",
    ];
    assert_eq!(history, expected);
    assert_eq!(shown["history"][0]["spec_digest"], shown["spec"]["digest"]);
}

#[test]
fn an_ended_experiment_keeps_its_slot_and_names_its_winner() {
    let metric = "[[metrics]]\nname = \"m\"\nrole = \"goal\"\noutcome = \"cured\"\nwindow = \"14d\"\n";
    let deployment = deployment(&format!("{}\n{metric}", RAMP.replace("start = \"manual\"", "")), false);
    let host = Host::start(&deployment).ready();
    assert!(!taken(&host).is_empty(), "it starts when it is applied");
    let (status, refused) = command(&host, "conclude", json!({ "by": "ann", "reason": "won", "winner": "nobody" }));
    assert!(
        status == 409 && refused["detail"].as_str().is_some_and(|d| d.contains("arms: control, next")),
        "{refused}"
    );
    let (_, concluded) = command(&host, "conclude", json!({ "by": "ann", "reason": "won", "winner": "next" }));
    assert_eq!((&concluded["state"], &concluded["winner"]), (&json!("concluded"), &json!("next")));
    assert_eq!(decide(&host, "b-1")["strategy"]["name"], "p", "what is pinned changes in serin.toml alone");
    deployment.write("experiments/f.toml", RAMP.replace("id = \"e\"", "id = \"f\"").replace("start = \"manual\"", ""));
    let error = eventually("the overlap is told of", Duration::from_secs(10), || {
        host.admin.get("/v1/experiments/f").json()["error"].as_str().map(str::to_owned)
    });
    assert!(error.contains("overlaps that of 'e'") && error.contains("its effects last until"), "{error}");
    // The pin may follow. That its file is gone ends no effects; whoever knows better says so.
    deployment.edit("serin.toml", "strategy = \"p@1.0.0\"", "strategy = \"q@1.0.0\"");
    let why = |words: &str| {
        eventually(words, Duration::from_secs(10), || {
            let shown = host.admin.get("/v1/experiments/e").json();
            assert_eq!(shown["state"], "concluded");
            shown["why"].as_str().filter(|why| why.contains(words)).map(drop)
        });
    };
    why("arm 'next' won, and serin.toml pins it, q@1.0.0");
    deployment.remove("experiments/e.toml");
    why("ended; its file is gone, and is not needed any more");
    assert!(host.admin.get("/v1/experiments/f").json()["error"].is_string());
    deployment.edit("experiments/f.toml", "id = \"f\"", "id = \"f\"\nreuse_slot = true");
    eventually("the slot is free", Duration::from_secs(10), || (!taken(&host).is_empty()).then_some(()));
}

/// Twenty decisions a batch: as many units.
pub(crate) fn enter(host: &Host, units: std::ops::Range<u32>) {
    let request = |i: u32| json!({ "decision_point": "p", "entities": { "borrower": format!("b-{i}") } });
    let requests: Vec<Value> = units.map(request).collect();
    for some in requests.chunks(100) {
        let answer = host.public.post("/v1/decisions/batch", &json!({ "requests": some }));
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
}

/// A sign of life of outcomes' feeds: one of each name, of somebody who is in no experiment.
pub(crate) fn heard(host: &Host, names: &[&str]) {
    let at = jiff::Timestamp::now();
    let sign = |name: &&str| json!({ "id": format!("{name}-{}", at.as_nanosecond()), "name": name, "value": 1.0, "at": at.to_string(), "entity": { "borrower": "nobody" } });
    let signs: Vec<Value> = names.iter().map(sign).collect();
    assert_eq!(host.public.post("/v1/outcomes", &json!({ "outcomes": signs })).status, 200);
}

pub(crate) fn report(host: &Host) -> Value {
    let answer = host.admin.get("/v1/experiments/e/report");
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

pub(crate) fn state(host: &Host) -> String {
    host.admin.get("/v1/experiments/e").json()["state"].as_str().unwrap_or_default().to_owned()
}

pub(crate) const RUNNING: &str = two_arms!(
    r#"
coverage = 1.0
"#,
    ""
);

#[test]
fn an_arm_that_fails_is_taken_out_by_the_host_itself() {
    let guardrail = "\n[[guardrails]]\nmetric = \"failures\"\nmax_increase = 0.01\nmin_units = 50\n";
    let deployment = deployment(&format!("{RUNNING}{guardrail}"), true);
    let host = Host::start(&deployment).ready();
    // Too few to hold, and too few to be harm: whoever is quick to judge would judge here.
    enter(&host, 0..8);
    let before = report(&host);
    assert_eq!(before["guardrails"][0]["state"], "inconclusive", "{before}");
    assert!(before["guardrails"][0]["why"].as_str().is_some_and(|why| why.contains("50 are needed")), "{before}");
    enter(&host, 8..400);
    eventually("it is aborted", Duration::from_secs(20), || (state(&host) == "aborted").then_some(()));
    assert_eq!(decide(&host, "b-1")["served_by"], "strategy");
    let after = report(&host);
    assert_eq!((&after["stopped_by"], &after["verdict"]["decision"]), (&json!("failures"), &json!("stop")), "{after}");
    let evidence = &host.admin.get("/v1/experiments/e").json()["history"][1];
    assert_eq!((&evidence["command"], &evidence["by"]), (&json!("abort"), &json!("serin")));
    let evidence = &evidence["evidence"];
    assert_eq!((&evidence["arm_mean"], &evidence["control_mean"]), (&json!(1.0), &json!(0.0)), "{evidence}");
    assert!(evidence["increase_above"].as_f64().is_some_and(|bound| bound > 0.0), "{evidence}");
    assert_eq!((&evidence["kind"], &evidence["alarm"]), (&json!("increase"), &json!(0.0)), "{evidence}");
    let text = run(["report", "e", "--admin", &format!("http://{}", host.admin.address)]);
    // What happened comes first, and then how it stands.
    let said = text.stdout.find("\nAborted 20").zip(text.stdout.find("STOP: guardrail 'failures' shows harm"));
    assert!(said.is_some_and(|(happened, verdict)| happened < verdict), "{}", text.stdout);
    let page = run(["report", "e", "--format", "html", "--admin", &format!("http://{}", host.admin.address)]).stdout;
    assert!(
        page.starts_with("<!doctype html>") && page.contains("<b>STOP</b>") && page.contains("<b>harm</b>"),
        "{page}"
    );
    assert!(page.contains("<title>e: ABORTED - Serin report</title>"), "{page}");
    assert!(!page.contains("http"), "it needs nothing else: {page}");
    // What a stopped host's ledger says is the same.
    assert_eq!(host.stop(), Some(0));
    let config = deployment.config();
    let stopped = run(["report", "e", "--format", "json", "--config", config.to_str().expect("a path")]);
    let stopped: Value = serde_json::from_str(&stopped.stdout).expect("JSON");
    assert_eq!((&stopped["guardrails"], &stopped["units"]), (&after["guardrails"], &after["units"]));
}

#[test]
fn a_ramp_goes_on_when_its_step_has_shown_what_it_must() {
    let ramp = "ramp = [{ coverage = 0.2, min_units = 40, gate = \"fast\" }, { coverage = 1.0 }]";
    let guardrail = "\n[[guardrails]]\nmetric = \"failures\"\nmax_increase = 0.01\n";
    let spec = format!("{}{guardrail}", RUNNING.replace("coverage = 1.0", ramp));
    let deployment = deployment(&spec, false);
    let host = Host::start(&deployment).ready();
    enter(&host, 0..100);
    assert!(report(&host)["units"]["entered"].as_u64().is_some_and(|n| (8..40).contains(&n)), "{}", report(&host));
    enter(&host, 100..400);
    eventually("it is promoted", Duration::from_secs(20), || {
        (host.admin.get("/v1/experiments/e").json()["phase"] == 2).then_some(())
    });
    assert_eq!(taken(&host).len(), 100);
}

#[test]
fn outcomes_count_by_unit_when_they_are_mature_and_the_counts_reconcile() {
    let metric = "\n[[metrics]]\nname = \"cured\"\nrole = \"goal\"\noutcome = \"cured\"\nwindow = \"5s\"\nlag = \"5s\"\nplanned_units = 5000\n\
                  [[metrics]]\nname = \"paid\"\nrole = \"secondary\"\noutcome = \"paid\"\naggregate = \"sum\"\nwindow = \"30d\"\n";
    let deployment = deployment(&format!("{RUNNING}{metric}"), false);
    let host = Host::start(&deployment).ready();
    enter(&host, 0..200);
    // Soon after the entry of those to whom it happens, however long the rest takes.
    let at = jiff::Timestamp::now().to_string();
    enter(&host, 200..1000);
    enter(&host, 0..100);
    let arm: Vec<(u32, String)> = taken(&host);
    let forced = json!({ "decision_point": "p", "entities": { "borrower": "by-hand" }, "force": { "experiment": "e", "arm": "next" } });
    assert_eq!(host.admin.post("/v1/decisions", &forced).status, 200);
    let outcome = |i: u32, name: &str| json!({ "id": format!("{name}-{i}"), "name": name, "value": 1.0, "at": at, "entity": { "borrower": format!("b-{i}") } });
    // A cure counts once a unit, however often it is posted; one of somebody else, never.
    let mut outcomes: Vec<Value> = (0..200).map(|i| outcome(i, "cured")).collect();
    outcomes.extend([outcome(0, "again"), outcome(5000, "cured"), outcome(0, "paid")]);
    outcomes[200]["name"] = json!("cured");
    assert_eq!(host.public.post("/v1/outcomes", &json!({ "outcomes": outcomes })).status, 200);
    let found = eventually("the short window has passed", Duration::from_secs(20), || {
        heard(&host, &["cured"]);
        let found = report(&host);
        (found["metrics"][0]["left_out"]["not_mature"] == 0).then_some(found)
    });
    let units = &found["units"];
    let (entered, mature) = (units["entered"].as_u64(), units["mature"].as_u64());
    assert_eq!(
        (entered, mature, &units["left_out"]),
        (Some(1001), Some(0), &json!({ "not_mature": 1000, "forced": 1, "moved": 0, "dropped": 0 }))
    );
    assert_eq!(found["metrics"][1]["left_out"]["not_mature"], 1000, "nobody is a zero before the time");
    let arms = &found["metrics"][0]["arms"];
    let cured =
        |name: &str| arms[name]["mean"].as_f64().zip(arms[name]["units"].as_f64()).map(|(mean, n)| (mean * n).round());
    let in_arm = |name: &str| arm.iter().filter(|(_, arm)| arm == name).count() as f64;
    assert_eq!(cured("control").zip(cured("next")).map(|(c, n)| c + n), Some(200.0), "{arms}");
    assert!(cured("control") >= Some(in_arm("control")), "{arms}");
    let comparison = &found["metrics"][0]["comparisons"][0];
    assert_eq!((&comparison["arm"], &comparison["against"]), (&json!("next"), &json!("control")));
    assert!(comparison["interval"][0].as_f64() < comparison["difference"].as_f64(), "{comparison}");
    assert_eq!(found["verdict"]["decision"], "hold");
    let found = reversed(&host, &at);
    assert_eq!(host.stop(), Some(0));
    sql_agrees(&deployment, &found["metrics"][0]);
    let config = deployment.config();
    let stopped = run(["report", "e", "--format", "json", "--config", config.to_str().expect("a path")]);
    let stopped: Value = serde_json::from_str(&stopped.stdout).expect("JSON");
    assert_eq!(stopped["metrics"], found["metrics"], "read at once, it is the same as bit by bit");
}

/// Takes one cure back after it was counted, and another one before it comes.
fn reversed(host: &Host, at: &str) -> Value {
    let post = |outcomes: Value| host.public.post("/v1/outcomes", &json!({ "outcomes": outcomes })).json();
    let taken_back = post(json!([
        { "id": "r-1", "reverses": "cured-3" },
        { "id": "r-2", "reverses": "late" },
        { "id": "r-1", "reverses": "cured-3" },
        { "id": "r-1", "reverses": "cured-4" },
        { "id": "r-3", "reverses": "cured-5", "value": 1.0 },
        { "id": "r-4", "reverses": "cured-150" },
    ]));
    assert_eq!((&taken_back["stored"], &taken_back["duplicates"]), (&json!(3), &json!(1)), "{taken_back}");
    let refused: Vec<&Value> = taken_back["refused"].as_array().expect("a list").iter().map(|r| &r["index"]).collect();
    assert_eq!(refused, [&json!(3), &json!(4)], "{taken_back}");
    report(host);
    post(json!([{ "id": "late", "name": "cured", "value": 1.0, "at": at, "entity": { "borrower": "b-150" } },
                { "id": "of-nobody", "name": "cured", "value": 1.0, "at": at, "decision_id": "nothing" }]));
    let found = report(host);
    let arms = found["metrics"][0]["arms"].as_object().expect("arms");
    let cured: f64 =
        arms.values().filter_map(|arm| Some(arm["mean"].as_f64()? * arm["units"].as_f64()?)).map(f64::round).sum();
    assert_eq!(cured, 198.0, "neither b-3 nor b-150, whose second cure was taken back before it came");
    found
}

/// What a statement of its own finds in the ledger's rows is what the report says.
fn sql_agrees(deployment: &Deployment, metric: &Value) {
    let ledger = Connection::open(deployment.path().join("data/serin.db")).expect("opens");
    let sql = std::fs::read_to_string(root().join("tests/data/report.sql")).expect("the statement");
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let parameters = named_params! { ":experiment": "e", ":outcome": "cured", ":window_ms": 5000, ":lag_ms": 5000, ":now_ms": now_ms };
    let mut statement = ledger.prepare(&sql).expect("a statement");
    let rows: Vec<(String, u64, f64)> = statement
        .query_map(parameters, |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64, row.get(2)?)))
        .and_then(Iterator::collect)
        .expect("runs");
    assert_eq!(rows.len(), 2);
    for (arm, units, mean) in &rows {
        assert_eq!(metric["arms"][arm]["units"], *units, "{arm}");
        let said = metric["arms"][arm]["mean"].as_f64().expect("a mean");
        assert!((said - mean).abs() < 1e-12, "{arm}: {said} and {mean}");
    }
    let said = metric["comparisons"][0]["difference"].as_f64().expect("a difference");
    assert!((said - (rows[1].2 - rows[0].2)).abs() < 1e-12, "{said}: {rows:?}");
}

#[test]
fn whom_an_arm_touched_is_listed_and_all_ramps_can_be_stopped_at_once() {
    let ramp = RUNNING.replace("coverage = 1.0", "ramp = [{ coverage = 1.0, hold = \"1d\" }, { coverage = 1.0 }]");
    let deployment = deployment(&ramp, false);
    let host = Host::start(&deployment).ready();
    enter(&host, 0..1500);
    let again = decide(&host, "b-7");
    let outcomes = json!([
        { "id": "o-1", "name": "complaint", "value": 1.0, "entity": { "borrower": "b-7" } },
        { "id": "o-2", "name": "paid", "value": 20.5, "decision_id": again["decision_id"] },
        { "id": "o-3", "name": "paid", "value": 1.0, "entity": { "loan": "b-7" } },
    ]);
    assert_eq!(host.public.post("/v1/outcomes", &json!({ "outcomes": outcomes })).status, 200);
    let admin = format!("http://{}", host.admin.address);
    let listed = run(["experiment", "affected", "e", "--format", "json", "--admin", &admin]);
    let units: Vec<Value> = listed.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(units.len(), 1500, "more than one page holds: {}", listed.stderr);
    let b7 = units.iter().find(|unit| unit["unit"] == "b-7").expect("b-7");
    assert_eq!(b7["arm"], again["experiment"]["arm"]);
    assert_eq!(b7["decisions"].as_array().map(Vec::len), Some(2));
    assert_eq!(b7["decisions"][1], again["decision_id"], "oldest first");
    let happened: Vec<&Value> = b7["outcomes"].as_array().expect("a list").iter().map(|o| &o["name"]).collect();
    assert!(
        happened.len() == 2 && happened.contains(&&json!("complaint")) && happened.contains(&&json!("paid")),
        "{b7}"
    );
    // Whom two arms touched is there with both of them, also at the end of a page.
    let other = if b7["arm"] == "next" { "control" } else { "next" };
    let request = json!({
        "decision_point": "p", "entities": { "borrower": "b-7" }, "force": { "experiment": "e", "arm": other },
    });
    assert_eq!(host.admin.post("/v1/decisions", &request).status, 200);
    let page = host.admin.get("/v1/experiments/e/affected?limit=1&after=b-699").json();
    let both: Vec<(&Value, &Value)> =
        page["units"].as_array().expect("a list").iter().map(|unit| (&unit["unit"], &unit["arm"])).collect();
    assert_eq!(both, [(&json!("b-7"), &json!("control")), (&json!("b-7"), &json!("next"))], "{page}");
    assert_eq!(page["next"], "b-7");
    let units: Vec<Value> = run(["experiment", "affected", "e", "--format", "json", "--admin", &admin])
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let one = run(["experiment", "affected", "e", "--arm", "next", "--admin", &admin]);
    let in_next = units.iter().filter(|unit| unit["arm"] == "next").count();
    assert_eq!(one.stdout.lines().count(), in_next);
    let wrong = run(["experiment", "affected", "e", "--arm", "nobody", "--admin", &admin]);
    assert!(wrong.code == Some(1) && wrong.stderr.contains("arms: control, next"), "{}", wrong.stderr);

    let frozen = run(["freeze", "--reason", "an incident", "--by", "ann", "--admin", &admin]);
    assert_eq!((frozen.code, frozen.stdout.trim()), (Some(0), "paused: e"), "{}", frozen.stderr);
    assert_eq!(state(&host), "paused");
    let again = run(["freeze", "--reason", "an incident", "--admin", &admin]);
    assert_eq!(again.stdout.trim(), "paused: none was running");
}

/// The body of the next request to a listener, which is answered.
fn received(listener: &std::net::TcpListener) -> Value {
    use std::io::{Read as _, Write as _};
    let (mut stream, _) = listener.accept().expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("sets");
    let mut request = Vec::new();
    let body = loop {
        let mut some = [0; 4096];
        let n = stream.read(&mut some).expect("a request");
        request.extend_from_slice(&some[..n]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let whole = text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok());
        if let Some(body) = whole {
            break body;
        }
        assert!(n > 0, "cut off: {text}");
    };
    stream.write_all(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n").expect("answers");
    body
}

#[test]
fn whoever_asked_to_is_told_and_a_hook_that_hangs_holds_up_nobody() {
    let listen = || std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let (hook, hangs) = (listen(), listen());
    let url = |listener: &std::net::TcpListener| format!("http://{}/hook", listener.local_addr().expect("bound"));
    let spec = format!(
        "{RUNNING}\n[[guardrails]]\nmetric = \"failures\"\nmax_increase = 0.01\nmin_units = 20\n\
         [[notify]]\nurl = \"{}\"\nevents = [\"breach\", \"phase\", \"verdict\"]\n\
         [[notify]]\nurl = \"{}\"\nevents = [\"breach\", \"phase\"]\n",
        url(&hangs),
        url(&hook)
    );
    let deployment = deployment(&spec, true);
    let host = Host::start(&deployment).ready();
    let told = received(&hook);
    assert_eq!(
        (&told["event"], &told["command"], &told["experiment"]),
        (&json!("phase"), &json!("start"), &json!("e"))
    );
    enter(&host, 0..200);
    let told = received(&hook);
    assert_eq!((&told["event"], &told["state"], &told["by"]), (&json!("breach"), &json!("aborted"), &json!("serin")));
    assert_eq!(told["evidence"]["guardrail"], "failures");
    let delivered = || host.metric("serin_notifications_total{reason=\"delivered\"}") == 2.0;
    eventually("both are known to be delivered", Duration::from_secs(10), || delivered().then_some(()));
    eventually("it is in force", Duration::from_secs(10), || (state(&host) == "aborted").then_some(()));
    // Its messages are still under way; that keeps the host from nothing.
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn a_file_of_outcomes_is_stored_but_for_its_bad_line() {
    let deployment = deployment(RUNNING, false);
    let host = Host::start(&deployment).ready();
    let mut lines: Vec<String> = (0..25_000).map(|i| format!("o-{i},paid,1.5,borrower,b-{i}")).collect();
    lines[12_344] = "o-12344,paid,much,borrower,b-1".to_owned();
    lines[20_000] = "o-20000,paid,1.5,borrower".to_owned();
    lines[24_999] = "o-7,somebody else's,1.5,borrower,b-7".to_owned();
    let path = deployment.path().join("outcomes.csv");
    std::fs::write(&path, format!("id,name,value,entity_kind,entity\n{}\n", lines.join("\n"))).expect("writes");
    let url = format!("http://{}", host.public.address);
    let load = || run(["outcomes", "load", path.to_str().expect("a path"), "--url", &url]);
    let first = load();
    assert_eq!(
        first.stdout.trim(),
        "24997 stored, 0 there already, 0 of unknown decisions, 3 refused",
        "{}",
        first.stderr
    );
    assert_eq!(first.code, Some(1));
    for needle in ["line 12346: value: 'much' is not a finite number", "line 20002: 4 values", "line 25001: id: taken"]
    {
        assert!(first.stderr.contains(needle), "{needle}: {}", first.stderr);
    }
    assert!(load().stdout.starts_with("0 stored, 24997 there already"), "sent twice, it counts once");
    std::fs::write(&path, "id,nmae\no-1,x\n").expect("writes");
    let wrong = load();
    assert!(
        wrong.code == Some(1) && wrong.stderr.contains("column 'nmae' is not known; valid: id, name"),
        "{}",
        wrong.stderr
    );
}

#[test]
fn another_coverage_in_the_file_begins_another_phase_and_moves_nobody() {
    let deployment = deployment(&RUNNING.replace("coverage = 1.0", "coverage = 0.3"), false);
    let host = Host::start(&deployment).ready();
    let first = taken(&host);
    deployment.edit("experiments/e.toml", "coverage = 0.3", "coverage = 0.8");
    eventually("it is applied", Duration::from_secs(10), || {
        (host.admin.get("/v1/experiments/e").json()["phase"] == 2).then_some(())
    });
    let all = taken(&host);
    assert!(all.len() > first.len() && first.iter().all(|unit| all.contains(unit)), "{} of {}", first.len(), all.len());
    assert_eq!(decide(&host, &format!("b-{}", first[0].0))["experiment"]["phase"], 2);
    let history = host.admin.get("/v1/experiments/e").json()["history"].clone();
    assert_eq!((&history[1]["command"], &history[1]["by"]), (&json!("edit"), &json!("serin")), "{history}");
}
