//! Who may do what: tokens, roles, points, and what the audit says of it.

mod doors;
mod limited;
mod masked;
mod written;

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, Deployment, Host, Raw, collections, eventually, misbehave, run};

const BOUND: Duration = Duration::from_secs(20);
const ROLES: [&str; 6] = ["decide", "ingest", "read", "audit", "operate", "approve"];

/// A token and the lines that accept it, as `serin token new` prints them.
fn token(args: &[&str]) -> (String, String) {
    let made = run([&["token", "new"], args].concat());
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let entry = made.stderr.split_once("[[access.tokens]]").expect("an entry").1;
    assert!(!made.stderr.contains(made.stdout.trim()), "the token is printed once, apart from the entry");
    (made.stdout.trim().to_owned(), format!("\n[[access.tokens]]{entry}"))
}

/// Adds a token to a deployment.
fn admit(deployment: &Deployment, name: &str, roles: &str, more: &[&str]) -> String {
    let (token, entry) = token(&[&["--name", name, "--role", roles], more].concat());
    deployment.write("serin.toml", deployment.read("serin.toml") + &entry);
    token
}

fn request(point: &str) -> Value {
    if point == "misbehave" {
        return json!({ "decision_point": point, "entities": { "borrower": "b-17" } });
    }
    json!({ "decision_point": point, "entities": { "borrower": "b-17", "loan": "l-88" }, "context": { "days_past_due": 12 } })
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn problem(answer: &crate::support::Answer) -> (u16, String) {
    let kind = answer.json()["type"].as_str().unwrap_or_default().rsplit(':').next().unwrap_or_default().to_owned();
    (answer.status, kind)
}

fn audit(admin: &Client, query: &str) -> Vec<Value> {
    let answer = admin.get(&format!("/v1/audit?{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["entries"].as_array().expect("entries").clone()
}

/// Every method and path of a listener's document, with something in place of each parameter.
fn routes(document: &[&str]) -> Vec<(String, String, String)> {
    let document: Value = serde_json::from_str(&run([&["openapi"], document].concat()).stdout).expect("JSON");
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in ["get", "post"].into_iter().filter(|method| item.get(method).is_some()) {
            let asked = path
                .replace("{view}", "servicing")
                .replace("{entity}", "l-88")
                .replace("{key}", "collections-outreach")
                .replace("{id}", "outreach-score")
                .replace("{command}", "pause");
            routes.push((method.to_uppercase(), path.clone(), asked));
        }
    }
    routes
}

/// The role that a route needs; none where nobody is asked.
fn role_of(method: &str, path: &str) -> Option<&'static str> {
    Some(match (method, path) {
        (_, "/healthz" | "/readyz") => return None,
        ("POST", "/v1/decisions" | "/v1/decisions/batch") => "decide",
        ("POST", "/ofrep/v1/evaluate/flags" | "/ofrep/v1/evaluate/flags/{key}") => "decide",
        ("POST", "/v1/outcomes" | "/v1/outcomes/watermarks" | "/v1/exposures" | "/v1/features/{view}") => "ingest",
        ("POST", "/v1/experiments/{id}/{command}" | "/v1/freeze" | "/v1/clock/confirm") => "operate",
        ("GET", "/v1/decisions" | "/v1/decisions/{id}" | "/v1/audit" | "/v1/experiments/{id}/affected") => "audit",
        ("GET", "/v1/features/{view}/{entity}" | "/v1/decisions/{id}/outcomes") => "audit",
        ("POST", "/v1/decisions/{id}/replay") => "audit",
        _ => "read",
    })
}

#[test]
fn every_route_asks_for_its_role_and_for_nothing_else() {
    let deployment = collections();
    let tokens = ROLES.map(|role| (role, admit(&deployment, role, role, &[])));
    let host = Host::start(&deployment).ready();
    for (client, document) in [(&host.public, &[][..]), (&host.admin, &["--admin"])] {
        let routes = routes(document);
        assert!(routes.len() >= 8, "{routes:?}");
        for (method, path, asked) in routes {
            let ask = |client: &Client| match method.as_str() {
                "GET" => client.get(&asked),
                _ => client.post(&asked, &json!({})),
            };
            let Some(needed) = role_of(&method, &path) else {
                assert!([200, 503].contains(&ask(client).status), "{path}");
                continue;
            };
            let refused = ask(client);
            assert_eq!(problem(&refused), (401, "no-credential".to_owned()), "{method} {path}");
            assert_eq!(refused.headers["www-authenticate"], "Bearer realm=\"serin\"");
            for (role, token) in &tokens {
                let answer = ask(&client.bearing(token));
                // The document itself is for everybody who is known.
                if *role == needed || path == "/openapi.json" {
                    assert!(![401, 403].contains(&answer.status), "{method} {path} as {role}: {}", answer.text);
                } else {
                    assert_eq!(problem(&answer), (403, "forbidden-role".to_owned()), "{method} {path} as {role}");
                    assert!(answer.text.contains(&format!("'{needed}'")), "{}", answer.text);
                }
            }
        }
    }
    let approve = |role: usize| {
        let body = json!({ "reason": "looks well" });
        problem(&host.admin.bearing(&tokens[role].1).post("/v1/experiments/outreach-score/approve", &body))
    };
    assert_eq!(approve(4), (403, "forbidden-role".to_owned()), "to operate is not to approve");
    // However the path is written.
    let body = json!({ "reason": "looks well" });
    let written = host.admin.bearing(&tokens[4].1).post("/v1/experiments/outreach-score/%61pprove", &body);
    assert_eq!(problem(&written), (403, "forbidden-role".to_owned()), "{}", written.text);
    assert_eq!(approve(5), (409, "nothing-to-approve".to_owned()));
    assert_eq!(problem(&host.admin.get("/nowhere")), (404, "not-found".to_owned()));
}

#[test]
fn what_is_no_credential_is_told_as_what_it_is_counted_and_audited() {
    let deployment = collections();
    let app = admit(&deployment, "app", "decide", &[]);
    let past = admit(&deployment, "past", "decide", &["--expires", "2026-01-01T00:00:00Z"]);
    let auditor = admit(&deployment, "auditor", "audit,read", &[]);
    let host = Host::start(&deployment).ready();
    let ask = |path: &str, headers: &[(&str, &str)]| {
        let answer = host.public.post_text(path, &request("collections-outreach").to_string(), headers);
        problem(&answer.expect("an answer"))
    };
    let bearer = |token: &str| format!("Bearer {token}");
    let at = "/v1/decisions";
    let other = bearer(&app.replace(&app[10..20], "0000000000"));
    for (headers, reason) in [
        (&[][..], "no-credential"),
        (&[("authorization", &*other)], "unknown-credential"),
        (&[("authorization", &*bearer(&past))], "expired-credential"),
        (&[("authorization", "Basic YXBwOmFwcA==")], "malformed-credential"),
        (&[("authorization", &*app)], "malformed-credential"),
        (&[("authorization", "Bearer ")], "malformed-credential"),
        (&[("authorization", &*bearer(&"a".repeat(8192)))], "malformed-credential"),
        (&[("authorization", &*bearer(&app)), ("authorization", &*bearer(&app))], "malformed-credential"),
    ] {
        assert_eq!(ask(at, headers), (401, reason.to_owned()));
    }
    // A URL is in the logs of every proxy.
    for query in ["token", "access_token", "Access%5FToken", "key"] {
        let path = format!("{at}?x=1&{query}={app}");
        assert_eq!(ask(&path, &[]), (401, "credential-in-url".to_owned()));
        assert_eq!(ask(&path, &[("authorization", &*bearer(&app))]), (401, "credential-in-url".to_owned()));
    }
    assert_eq!(ask(at, &[("authorization", &*bearer(&app))]).0, 200);
    assert_eq!(ask(at, &[("authorization", &*bearer(&app).replace("Bearer", "bEARER"))]).0, 200);

    let reading = host.admin.bearing(&auditor);
    let metrics = reading.get("/metrics").text;
    for line in ["{reason=\"credential-in-url\"} 8", "{reason=\"malformed-credential\"} 5"] {
        assert!(metrics.contains(&format!("serin_access_refused_total{line}")), "{line} in {metrics}");
    }
    assert_eq!(host.stop(), Some(0));
    let host = Host::start(&deployment).ready();
    let refused = audit(&host.admin.bearing(&auditor), "what=access.refused");
    let counts: Vec<_> =
        refused.iter().map(|entry| (entry["result"].as_str().expect("why"), &entry["count"])).collect();
    assert!(counts.contains(&("malformed-credential", &json!(5))), "{counts:?}");
    let of = |result: &str| refused.iter().find(|entry| entry["result"] == result).expect("an entry");
    let expired = of("expired-credential");
    assert_eq!((&expired["who"], &expired["target"]), (&json!("past"), &json!("POST /v1/decisions, needs decide")));
    assert_eq!(of("unknown-credential")["who"], Value::Null);
    for secret in [&app, &past, &auditor] {
        assert!(!json!(refused).to_string().contains(&**secret) && !host.log().contains(&**secret), "a secret is kept");
    }
}

#[test]
fn a_token_that_is_taken_away_is_of_no_use_on_an_open_connection_and_two_serve_while_one_is_rotated() {
    let deployment = collections();
    let reader = admit(&deployment, "reader", "read", &[]);
    let before = deployment.read("serin.toml");
    let old = admit(&deployment, "app", "decide", &[]);
    let host = Host::start(&deployment).ready();
    let mut open = Raw::connect(&host.public.address).expect("connects");
    let body = request("collections-outreach").to_string();
    let mut ask = |token: &str| {
        let text = format!(
            "POST /v1/decisions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        assert!(open.send(&text));
        open.answer().expect("the connection stays open").status
    };
    assert_eq!(ask(&old), 200);
    let new = admit(&deployment, "app", "decide", &[]);
    eventually("the next one is accepted", BOUND, || (ask(&new) == 200).then_some(()));
    assert_eq!(ask(&old), 200, "both are");
    let third = token(&["--name", "app", "--role", "decide"]).1;
    let two = deployment.read("serin.toml");
    deployment.write("serin.toml", format!("{two}{third}"));
    let told = eventually("a third is refused", BOUND, || {
        host.admin.bearing(&reader).get("/v1/deployment").json()["config_error"].as_str().map(str::to_owned)
    });
    assert!(told.contains("access.tokens[3]") && told.contains("at most 2 tokens"), "{told}");
    assert_eq!((ask(&old), ask(&new)), (200, 200), "what was in force stays");

    // A file that is still being written takes nobody's access, and gives nobody any.
    let path = deployment.config();
    let mut half = std::fs::File::create(&path).expect("opens");
    half.write_all(&two.as_bytes()[..two.len() - 40]).expect("writes");
    drop(half);
    eventually("it is told", BOUND, || {
        let told = host.admin.bearing(&reader).get("/v1/deployment").json();
        told["config_error"].as_str().filter(|why| !why.contains("at most")).map(drop)
    });
    assert_eq!((ask(&old), ask(&new)), (200, 200));

    // Taken away, although the rest of the edit cannot be applied.
    deployment.write(
        "serin.toml",
        before.replace("strategy = \"outreach-rules@1.0.0\"", "strategy = \"outreach-rules@9.9.9\""),
    );
    eventually("it is refused", BOUND, || (ask(&old) == 401).then_some(()));
    assert_eq!(ask(&new), 401);

    // A host that was closed is not opened by an edit.
    deployment.write("serin.toml", before.split("\n[[access.tokens]]").next().expect("a part"));
    eventually("a restart is asked for", BOUND, || {
        let told = host.admin.bearing(&reader).get("/v1/deployment").json();
        told["restart_required"].as_array()?.contains(&json!("access")).then_some(())
    });
    assert_eq!(host.public.post("/v1/decisions", &request("collections-outreach")).status, 401);
}

#[test]
fn whoever_acts_is_whom_the_credential_names_and_one_identity_is_one_pair_of_eyes() {
    let deployment = collections();
    deployment.edit(
        "experiments/outreach-score.toml",
        "id = \"outreach-score\"",
        "id = \"outreach-score\"\nstart = \"manual\"",
    );
    deployment.write(
        "serin.toml",
        deployment.read("serin.toml") + "\n[governance]\napprovals = 2\napprovers = [\"ann\", \"bob\"]\n",
    );
    let ann = admit(&deployment, "ann", "read,operate,approve", &[]);
    let again = admit(&deployment, "ann", "read,operate,approve", &[]);
    let bob = admit(&deployment, "bob", "read,approve", &[]);
    let auditor = admit(&deployment, "auditor", "audit", &[]);
    let host = Host::start(&deployment).ready();
    let send = |token: &str, command: &str| {
        let body = json!({ "reason": "agreed", "by": "carol" });
        host.admin.bearing(token).post(&format!("/v1/experiments/outreach-score/{command}"), &body)
    };
    for token in [&ann, &again, &ann] {
        assert_eq!(send(token, "approve").status, 200);
    }
    let shown = host.admin.bearing(&ann).get("/v1/experiments/outreach-score").json();
    let by: Vec<&str> =
        shown["approvals"].as_array().expect("a list").iter().filter_map(|a| a["by"].as_str()).collect();
    assert_eq!(by, ["ann"], "two tokens and another name are no second pair of eyes");
    assert!(text(&shown["why"]).contains("waits for approval: 1 of 2"), "{shown}");
    assert_eq!(problem(&send(&ann, "start")), (409, "not-approved".to_owned()));
    assert_eq!(send(&bob, "approve").status, 200);
    assert_eq!(send(&ann, "start").status, 200);
    let shown = host.admin.bearing(&ann).get("/v1/experiments/outreach-score").json();
    let last = shown["history"].as_array().and_then(|history| history.last()).expect("a change");
    assert_eq!((&last["command"], &last["by"]), (&json!("start"), &json!("ann")), "{last}");

    let entries = audit(&host.admin.bearing(&auditor), "who=ann");
    let did: Vec<_> =
        entries.iter().map(|e| (e["what"].as_str().expect("what"), e["result"].as_str().expect("result"))).collect();
    assert_eq!(
        did,
        [
            ("experiment.start", "done"),
            ("experiment.start", "not-approved"),
            ("experiment.approve", "unchanged"),
            ("experiment.approve", "unchanged"),
            ("experiment.approve", "done")
        ]
    );
    assert_eq!(entries[0]["address"], "127.0.0.1");
    assert_eq!(entries[0]["target"], "/v1/experiments/outreach-score/start");
    let approved = format!("/v1/experiments/outreach-score/approve {}", text(&shown["spec"]["digest"]));
    assert_eq!(entries[4]["target"], approved.as_str());
}

#[test]
fn roles_can_be_limited_to_decision_points() {
    let deployment = collections();
    deployment.write("plugins/misbehave-1.0.0.wasm", misbehave());
    let point = "
[decision_points.misbehave]
strategy = \"misbehave@1.0.0\"
entities = [\"borrower\"]
context = { mode = \"text?\" }
actions = [\"none\", \"say\", \"scores\"]
deadline = \"5s\"
fallback = { action = \"none\" }
";
    deployment.write("serin.toml", deployment.read("serin.toml") + point);
    let only = admit(&deployment, "only", "decide,audit,read,ingest", &["--point", "misbehave"]);
    let all = admit(&deployment, "all", "decide,audit,read,ingest", &[]);
    let host = Host::start(&deployment).ready();
    let decide = |token: &str, point: &str| host.public.bearing(token).post("/v1/decisions", &request(point));
    assert_eq!(problem(&decide(&only, "collections-outreach")), (403, "forbidden-point".to_owned()));
    let answer = decide(&only, "misbehave");
    assert_eq!(answer.status, 200, "{}", answer.text);
    let own = answer.json()["decision_id"].as_str().expect("an id").to_owned();
    let others = decide(&all, "collections-outreach").json()["decision_id"].as_str().expect("an id").to_owned();
    assert!(
        host.admin
            .bearing(&all)
            .get("/metrics")
            .text
            .contains("serin_access_refused_total{reason=\"forbidden-point\"} 1")
    );
    let batch = json!({ "requests": [request("misbehave"), request("collections-outreach")] });
    let batch = host.public.bearing(&only).post("/v1/decisions/batch", &batch).json();
    assert_eq!((&batch["results"][0]["status"], &batch["results"][1]["status"]), (&json!(200), &json!(403)), "{batch}");

    let limited = host.admin.bearing(&only);
    assert_eq!(limited.get(&format!("/v1/decisions/{own}")).status, 200);
    assert_eq!(problem(&limited.get(&format!("/v1/decisions/{others}"))), (403, "forbidden-point".to_owned()));
    assert_eq!(problem(&limited.get("/v1/decisions")), (403, "forbidden-point".to_owned()));
    assert_eq!(limited.get("/v1/decisions?point=misbehave").status, 200);
    assert_eq!(limited.get("/v1/experiments").json()["experiments"], json!([]), "those of other points are not listed");
    assert_eq!(problem(&limited.get("/v1/experiments/outreach-score")), (403, "forbidden-point".to_owned()));

    let outcomes = |token: &str, id: &str, decision: &str| {
        let body = json!({ "outcomes": [{ "id": id, "name": "cured", "value": 1, "decision_id": decision }] });
        host.public.bearing(token).post("/v1/outcomes", &body).json()
    };
    assert_eq!(outcomes(&only, "o-1", &own)["stored"], 1);
    let refused = outcomes(&only, "o-2", &others);
    assert_eq!((&refused["stored"], &refused["refused"][0]["index"]), (&json!(0), &json!(0)), "{refused}");
    assert_eq!(outcomes(&all, "o-3", &others)["stored"], 1);
    let reversal = json!({ "outcomes": [{ "id": "r-1", "reverses": "o-3" }] });
    let refused = host.public.bearing(&only).post("/v1/outcomes", &reversal).json();
    assert_eq!(refused["stored"], 0, "it takes back what it sent itself alone: {refused}");

    assert_eq!(host.stop(), Some(0));
    let ledger = rusqlite::Connection::open(deployment.path().join("data/serin.db")).expect("opens");
    let whose =
        |sql: &str, id: &str| ledger.query_row(sql, [id], |row| row.get::<_, Option<String>>(0)).expect("a row");
    assert_eq!(whose("SELECT identity FROM decisions WHERE decision_id = ?1", &own).as_deref(), Some("only"));
    assert_eq!(whose("SELECT identity FROM decisions WHERE decision_id = ?1", &others).as_deref(), Some("all"));
    assert_eq!(whose("SELECT identity FROM outcomes WHERE id = ?1", "o-1").as_deref(), Some("only"));
    let changed = ledger.execute("UPDATE audit SET who = 'nobody'", []);
    assert!(changed.expect_err("append-only").to_string().contains("never changed"));
}

#[test]
fn reading_a_record_is_audited_and_keys_belong_to_their_senders() {
    let deployment = collections();
    let app = admit(&deployment, "app", "decide", &[]);
    let spy = admit(&deployment, "spy", "decide", &[]);
    let auditor = admit(&deployment, "auditor", "audit,read", &[]);
    let host = Host::start(&deployment).ready();
    let ask = |token: &str| {
        let body = request("collections-outreach").to_string();
        let answer = host.public.bearing(token).post_text("/v1/decisions", &body, &[("idempotency-key", "k-1")]);
        answer.expect("an answer").json()["decision_id"].as_str().expect("an id").to_owned()
    };
    let id = ask(&app);
    assert_eq!(ask(&app), id);
    assert_ne!(ask(&spy), id, "nobody gets another's answer for a key");
    let reading = host.admin.bearing(&auditor);
    assert_eq!(reading.get(&format!("/v1/decisions/{id}")).status, 200);
    assert_eq!(reading.get("/v1/decisions?unit=b-17&limit=1").status, 200);
    assert_eq!(reading.get("/v1/decisions/nope").status, 404);
    let file = deployment.path().join("token");
    std::fs::write(&file, format!("{auditor}\n")).expect("writes");
    let args =
        ["audit", "--admin", &host.admin.address, "--token-file", file.to_str().expect("a path"), "--format", "json"];
    let told = run(args);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    let entries: Vec<Value> = told.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let line = |entry: &Value| {
        ["who", "what", "target", "result"].map(|key| entry[key].as_str().unwrap_or("-").to_owned()).join(" ")
    };
    let lines: Vec<String> = entries.iter().map(line).collect();
    for expected in [
        format!("auditor record.read /v1/decisions/{id} done"),
        "auditor records.list /v1/decisions?unit=b-17&limit=1 done".to_owned(),
        "auditor record.read /v1/decisions/nope unknown-decision".to_owned(),
    ] {
        assert!(lines.contains(&expected), "{expected} in {lines:#?}");
    }
    assert!(lines.iter().any(|line| line.starts_with("serin configuration.applied sha256:")), "{lines:#?}");
    // As it was meant, however it was written; and without what looks like a token.
    for path in ["/v1/decisions?unit=%62%2D17&limit=1".to_owned(), format!("/v1/decisions/{app}")] {
        reading.get(&path);
    }
    let entries = audit(&reading, "limit=4");
    let targets: Vec<&str> = entries.iter().filter_map(|entry| entry["target"].as_str()).collect();
    assert!(targets.contains(&"/v1/decisions?unit=b-17&limit=1"), "{targets:?}");
    assert!(targets.contains(&"/v1/decisions/serin_…"), "{targets:?}");
    let long = format!("/v1/decisions?{}unit=b-17", "&".repeat(1024));
    assert_eq!(problem(&reading.get(&long)), (414, "uri-too-long".to_owned()));
    // Without one, or with another's, the command says what the host says.
    let refused = run(["audit", "--admin", &host.admin.address]);
    assert!(refused.code == Some(1) && refused.stderr.contains("a credential is needed"), "{}", refused.stderr);
    std::fs::write(&file, "two words").expect("writes");
    let refused = run(["status", "--admin", &host.admin.address, "--token-file", file.to_str().expect("a path")]);
    assert!(refused.code == Some(1) && refused.stderr.contains("not a token"), "{}", refused.stderr);
}

#[test]
fn what_is_decided_past_an_experiment_or_without_a_record_is_audited() {
    let deployment = collections();
    let app = admit(&deployment, "app", "decide", &[]);
    let lead = admit(&deployment, "lead", "decide,operate", &[]);
    let auditor = admit(&deployment, "auditor", "audit", &[]);
    let host = Host::start(&deployment).ready();
    let ask = |token: &str, key: &str, value: Value| {
        let mut request = request("collections-outreach");
        request[key] = value;
        host.admin.bearing(token).post("/v1/decisions", &request).status
    };
    let arm = json!({ "experiment": "outreach-score", "arm": "score" });
    assert_eq!(ask(&app, "dry_run", json!(true)), 200);
    assert_eq!(ask(&lead, "force", arm.clone()), 200);
    assert_eq!(ask(&app, "force", arm), 403);
    assert!(ask(&lead, "force", json!({ "experiment": "outreach-score", "arm": "nothing" })) >= 400);
    assert_eq!(ask(&app, "dry_run", json!(false)), 200, "a decision as every other one");
    let of = |what: &str| {
        let entries = audit(&host.admin.bearing(&auditor), &format!("what={what}"));
        entries
            .iter()
            .map(|e| [&e["who"], &e["target"], &e["result"]].map(|v| v.as_str().unwrap_or("").to_owned()))
            .collect::<Vec<_>>()
    };
    let about = "collections-outreach borrower=b-17 loan=l-88";
    assert_eq!(of("decision.dry_run"), [["app", about, "done"]]);
    let forced = of("decision.forced");
    assert_eq!(forced.len(), 2, "{forced:?}");
    assert_eq!(forced[1], ["lead".to_owned(), format!("{about} outreach-score/score"), "done".to_owned()]);
    assert!(forced[0][1].ends_with("outreach-score/nothing") && forced[0][2] != "done", "{forced:?}");
}

#[test]
fn an_entry_of_the_audit_is_neither_changed_nor_deleted_by_sql_and_goes_when_its_time_is_over() {
    let deployment = collections();
    deployment.edit("serin.toml", "[ledger]", "[ledger]\naudit_retain = \"1d\"");
    let host = Host::start(&deployment).ready();
    let refused = |sql: &str| {
        let ledger = rusqlite::Connection::open(deployment.path().join("data/serin.db")).expect("opens");
        ledger.busy_timeout(BOUND).expect("sets");
        ledger.execute_batch(sql).expect_err("refused").to_string()
    };
    eventually("there is an entry", BOUND, || (!audit(&host.admin, "limit=9").is_empty()).then_some(()));
    let before = audit(&host.admin, "what=configuration.applied");
    assert!(refused("UPDATE audit SET who = 'nobody'").contains("is never changed"));
    assert!(refused("DELETE FROM audit").contains("goes when ledger.audit_retain is over"));
    let replace = "REPLACE INTO audit SELECT seq, time_ms, 'nobody', address, what, target, result, count FROM audit";
    assert!(refused(replace).contains("is never changed"));
    assert_eq!(audit(&host.admin, "what=configuration.applied"), before);
    assert_eq!(host.stop(), Some(0));
    // One that is older than it is kept.
    let ledger = rusqlite::Connection::open(deployment.path().join("data/serin.db")).expect("opens");
    ledger
        .execute_batch("INSERT INTO audit (time_ms, what, target, result, count) VALUES (1, 'old', '', 'done', 1)")
        .expect("inserts");
    drop(ledger);
    let host = Host::start(&deployment).ready();
    eventually("it goes", BOUND, || audit(&host.admin, "what=old").is_empty().then_some(()));
    assert!(!audit(&host.admin, "what=configuration.applied").is_empty());
}

#[test]
fn refusals_are_limited_by_address_and_whoever_is_known_is_not_held_up() {
    let deployment = collections();
    let app = admit(&deployment, "app", "decide", &[]);
    let host = Host::start(&deployment).ready();
    let ask = |client: &Client| client.post("/v1/decisions", &request("collections-outreach"));
    let waits =
        eventually("it is told to wait", BOUND, || Some(ask(&host.public)).filter(|answer| answer.status == 429));
    assert_eq!(problem(&waits).1, "too-many-refusals");
    let seconds: u64 = waits.headers["retry-after"].parse().expect("seconds");
    assert!((1..=60).contains(&seconds));
    assert_eq!(ask(&host.public.bearing(&app)).status, 200);
}
