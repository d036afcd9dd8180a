//! `serin.toml`, one mistake at a time.

use serde_json::Value;

use super::{SHOWN, blamed, findings, forced, shown};
use crate::support::{Deployment, Host, collections, eventually, run};

/// From, to, and what has to be said.
type Case = (&'static str, &'static str, &'static [&'static str]);

const EXCLUDE: &str = "exclude = \"has(features.servicing.cease_contact) && features.servicing.cease_contact\"";
const DECLARED: &str = "declared: context.days_past_due, context.channel";

/// Mistakes that are in the file itself.
const CASES: &[Case] = &[
    ("[server]", "[sever]", &["unknown field `sever`", "`server`", "`decision_points`"]),
    ("listen = ", "listn = ", &["unknown field `listn`", "`listen`", "`max_body_bytes`"]),
    ("[plugins]\ndir", "[plugins]\nfolder", &["unknown field `folder`", "`dir`"]),
    ("retain = ", "retention = ", &["unknown field `retention`", "`retain`"]),
    ("wall_ms", "wall_time", &["unknown field `wall_time`", "`wall_ms`"]),
    ("path = \"models", "file = \"models", &["unknown field `file`", "`path`"]),
    ("ttl = \"24h\"", "max_age = \"24h\"", &["unknown field `max_age`", "`ttl`"]),
    ("holdout = 0.02", "hold_out = 0.02", &["unknown field `hold_out`", "`holdout`"]),
    ("logging = ", "log = ", &["unknown field `log`", "`logging`"]),
    ("fallback = { action", "fallback = { acton", &["unknown field `acton`", "`action`"]),
    ("holdout = 0.02", "holdout = 0.02\nholdout = 0.03", &["duplicate key", "holdout"]),
    ("[layers.outreach]", "[layers.outreach", &["TOML parse error at line"]),
    ("listen = \"127.0.0.1:8080\"", "listen = \"localhost\"", &["server.listen = \"localhost\"", "valid: IP:PORT"]),
    ("sqlite:data", "postgres://data", &["ledger.url = \"postgres://data/serin.db\"", "valid: sqlite:PATH"]),
    ("\"process\"", "\"paper\"", &["ledger.durability = \"paper\"", "valid: process, power"]),
    ("\"400d\"", "\"for ever\"", &["ledger.retain", "valid: 50ms, 10s, 24h, 14d"]),
    ("wall_ms = 2000", "fuel = 0", &["limits.fuel = 0", "from 1"]),
    ("[ledger]", "queue = 0\n[ledger]", &["unknown field `queue`"]),
    ("admin = ", "queue = 0\nadmin = ", &["line 5: server.queue = 0", "valid: 1 to"]),
    ("admin = ", "max_concurrent = 0\nadmin = ", &["server.max_concurrent = 0", "valid: 1 to"]),
    ("admin = ", "max_body_bytes = -1\nadmin = ", &["max_body_bytes", "invalid value"]),
    (
        "admin = ",
        "future_tolerance = \"1d\"\nadmin = ",
        &["server.future_tolerance = \"1d\"; valid: 0s to 1h, like 5m"],
    ),
    ("admin = ", "future_tolerance = \"soon\"\nadmin = ", &["server.future_tolerance", "soon"]),
    ("admin = ", "max_bytes_in_flight = 10\nadmin = ", &["server.max_bytes_in_flight = 10", "4194304 or more"]),
    ("admin = ", "max_connections = 0\nadmin = ", &["server.max_connections = 0", "valid: 1 to"]),
    (
        "admin = ",
        "max_connections = 8\nmax_connections_per_peer = 9\nadmin = ",
        &["server.max_connections_per_peer = 9", "valid: 1 to 8"],
    ),
    ("admin = ", "header_timeout = \"0s\"\nadmin = ", &["server.header_timeout = \"0s\"", "valid: 10ms to 1h"]),
    ("admin = ", "idle_timeout = \"2h\"\nadmin = ", &["server.idle_timeout = \"2h\"", "valid: 10ms to 1h"]),
    ("admin = ", "shutdown_delay = \"soon\"\nadmin = ", &["server.shutdown_delay", "valid: 50ms, 10s"]),
    ("admin = ", "admin_hosts = [\"http://x\"]\nadmin = ", &["server.admin_hosts", "without scheme and port"]),
    (
        "admin = ",
        "trusted_proxies = [\"10.0.0.0/33\"]\nadmin = ",
        &["server.trusted_proxies", "\"10.0.0.0/33\"", "10.0.0.0/8"],
    ),
    (
        "[server]",
        "[server.tls]\ncert = \"a\"\nkey = \"b\"\nmin_version = \"1.1\"\n[server]",
        &["server.tls.min_version = \"1.1\"", "valid: 1.2, 1.3"],
    ),
    (
        "[server]",
        "[server.tls]\ncert = \"\"\nkey = \"b\"\n[server]",
        &["server.tls.cert = \"\"", "a PEM file, like tls/host.pem"],
    ),
    ("[server]", "[server.tls]\ncert = \"a\"\n[server]", &["[server.tls] needs key = \"tls/host.key\""]),
    ("default-risk.\"1.0.0\"", "default-risk.\"1.0\"", &["models.default-risk.\"1.0\"", "MAJOR.MINOR.PATCH"]),
    (
        "annual_income = \"number\"",
        "annual_income = \"money\"",
        &["borrower-profile", "annual_income = \"money\"", "boolean, integer, number, text"],
    ),
    ("ttl = \"24h\"", "ttl = \"a day\"", &["features.servicing.ttl", "valid: 50ms"]),
    (
        "[features.servicing]",
        "[features.context]\nentity = \"loan\"\ncolumns = { a = \"text\" }\n[features.servicing]",
        &["features.context", "choose another name"],
    ),
    ("holdout = 0.02", "holdout = nan", &["layers.outreach.holdout = NaN", "valid: a share from 0 to below 1"]),
    ("holdout = 0.02", "holdout = inf", &["layers.outreach.holdout = inf", "valid: a share"]),
    ("holdout = 0.02", "holdout = 1.0", &["layers.outreach.holdout = 1", "valid: a share"]),
    (
        "[layers.outreach]",
        "[layers.idle]\nunit = \"loan\"\nholdout = nan\n[layers.outreach]",
        &["layers.idle.holdout = NaN", "valid: a share"],
    ),
    (
        "unit = \"borrower\"",
        "unit = \"household\"",
        &["layers.outreach.unit = \"household\"", "its entities: borrower, loan"],
    ),
    ("layer = \"outreach\"", "layer = \"inbound\"", &["layer = \"inbound\"", "[layers]: outreach"]),
    (
        "outreach-rules@1.0.0",
        "outreach-rules@1",
        &["decision_points.collections-outreach.strategy", "an exact version"],
    ),
    ("outreach-rules@1.0.0", "outreach-rules", &["strategy", "has no version"]),
    (
        "\"integer\", channel",
        "\"int\", channel",
        &["context.days_past_due = \"int\"", "boolean, integer, number, text"],
    ),
    ("entities = [\"borrower\", \"loan\"]", "entities = []", &["entities and actions need at least one name"]),
    (
        "{ action = \"no_contact\" }",
        "{ action = \"wait\" }",
        &["fallback.action = \"wait\"", "valid: no_contact, email"],
    ),
    ("{ action = \"no_contact\" }", "{ action = \"no_contact\", parameters = { x = nan } }", &["fallback", "NaN"]),
    ("deadline = \"5s\"", "deadline = \"1ms\"", &["deadline", "valid: 2ms to 60s"]),
    ("\"must_log\"", "\"maybe\"", &["logging = \"maybe\"", "valid: must_log, best_effort"]),
    ("\"must_log\"", "\"must_log\"\nflag = \"text\"", &["flag = \"text\"", "valid: action, boolean, number, object"]),
    ("\"must_log\"", "\"must_log\"\nflag = \"number\"", &["flag = \"number\" needs flag_parameter"]),
    ("\"must_log\"", "\"must_log\"\nflag_parameter = \"months\"", &["flag_parameter", "for flag = \"number\""]),
    (
        "{ action = \"no_contact\" }",
        "{ action = \"no_contact\", parameters = { months = \"3\" } }\nflag = \"number\"\nflag_parameter = \"months\"",
        &["flag_parameter = \"months\" is text", "valid: a parameter that is a number"],
    ),
    (EXCLUDE, "exclude = \"features.servicing.cease_contact &&\"", &["collections-outreach.exclude", "does not parse"]),
    (EXCLUDE, "exclude = \"context.days_past_due == 'ten'\"", &["exclude", "does not take (integer, text)"]),
    (
        EXCLUDE,
        "exclude = \"context.days_past_due + 1\"",
        &["exclude", "yields integer, not boolean", "valid: a condition"],
    ),
    (
        EXCLUDE,
        "exclude = \"features.servicing.opted_out\"",
        &["'features.servicing.opted_out' is not declared", DECLARED],
    ),
    (EXCLUDE, "exclude = \"[1].exists(x, x == context.days_past_due)\"", &["exclude", "must not loop"]),
];

/// Mistakes that show when the file meets the artifacts.
const UNFIT: &[Case] = &[
    (
        "\"must_log\"",
        "\"must_log\"\nflag = \"number\"\nflag_parameter = \"template\"",
        &["collections-outreach.flag_parameter: no action of outreach-rules@1.0.0", "those that are: months"],
    ),
    (
        "outreach-rules@1.0.0",
        "outreach-rules@9.9.9",
        &["strategy = \"outreach-rules@9.9.9\"", "loaded: outreach-rules@1.0.0"],
    ),
    (
        "layer = ",
        "parameters = { contact_cup = 3 }\nlayer = ",
        &["'contact_cup' is not declared", "declared: contact_cap"],
    ),
    ("layer = ", "parameters = { contact_cap = 8 }\nlayer = ", &["'contact_cap' = 8 is out of its range [0, 7]"]),
    ("layer = ", "parameters = { contact_cap = 'a' }\nlayer = ", &["'contact_cap' is text", "declared as integer"]),
    ("contacts_7d = \"integer\"", "contacts = \"integer\"", &["features.servicing.contacts_7d is not declared"]),
    (
        "contacts_7d = \"integer\"",
        "contacts_7d = \"text\"",
        &["features.servicing.contacts_7d is text here", "asks for integer"],
    ),
    ("[\"no_contact\", \"email\",", "[\"no_contact\",", &["action 'email' is not of 'collections-outreach'"]),
];

fn spoilt((from, to, _): &Case) -> Deployment {
    let deployment = collections();
    deployment.edit("serin.toml", from, to);
    deployment
}

#[test]
fn check_refuses_each_mistake_with_its_key_and_what_is_valid() {
    for case in CASES {
        let findings = findings(&spoilt(case));
        blamed(&findings, "serin.toml", case.2);
        assert_eq!(findings.len(), 1, "a file that is not read tells nothing of the others");
    }
    for case in UNFIT {
        blamed(&findings(&spoilt(case)), "serin.toml", case.2);
    }
}

#[test]
fn serve_does_not_start_on_a_broken_file_and_says_why() {
    let deployment = spoilt(&CASES[0]);
    let config = deployment.config();
    for args in [["serve", "--config", config.to_str().expect("a path")], ["serve", "--config", "no/such/serin.toml"]] {
        let served = run(args);
        assert_eq!(served.code, Some(1), "{}", served.stderr);
        assert!(served.stderr.contains("serin.toml: "), "{}", served.stderr);
    }
}

#[test]
fn a_running_host_keeps_the_configuration_that_was_good() {
    let deployment = collections();
    let good = deployment.read("serin.toml");
    let host = Host::start(&deployment).ready();
    let before = host.admin.get("/v1/deployment").json();
    assert_eq!(before["restart_required"], serde_json::json!([]), "--listen is not a change of the file");
    for (from, to, needles) in CASES {
        assert!(good.contains(from), "{from}");
        deployment.write("serin.toml", good.replacen(from, to, 1));
        let now = shown(&host.admin, "/v1/deployment", to, |all| {
            let error = all["config_error"].as_str()?;
            needles.iter().all(|needle| error.contains(needle)).then(|| all.clone())
        });
        assert_eq!(now["generation"], before["generation"]);
        assert_eq!(now["decision_points"], before["decision_points"]);
        assert!(!now["config_error"].as_str().expect("an error").contains(deployment.path().to_str().expect("a path")));
    }
    let decision = host.admin.post("/v1/decisions", &forced()).json();
    assert_eq!(decision["served_by"], "arm", "{decision}");
    assert_eq!(host.public.get("/readyz").status, 200);
    deployment.write("serin.toml", &good);
    eventually("the mistake is gone", SHOWN, || {
        (host.admin.get("/v1/deployment").json()["config_error"] == Value::Null).then_some(())
    });
    assert_eq!(host.stop(), Some(0));
}
