//! Who may see and do what on pages: sessions, roles, forms of other origins, and names of other hosts.

use serde_json::json;

use super::{BOUND, Browser, FORM, admit, outreach, state, watched};
use crate::support::{Client, Host, eventually};

const AT: &str = "/experiments/outreach-score";

fn audited(admin: &Client, query: &str) -> Vec<(String, String)> {
    let answer = admin.get(&format!("/v1/audit?{query}")).json();
    let text = |entry: &serde_json::Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let entries = answer["entries"].as_array().expect("entries");
    entries.iter().map(|entry| (text(entry, "what"), text(entry, "result"))).collect()
}

#[test]
fn a_page_asks_for_a_session_and_leads_back_where_one_was_going() {
    let deployment = watched();
    let token = admit(&deployment, "ann", "read", &[]);
    let auditor = admit(&deployment, "auditor", "audit", &[]);
    let host = Host::start(&deployment).ready();
    let mut browser = Browser::of(&host);
    let sent = browser.get(&format!("{AT}?x=1"));
    assert_eq!(
        (sent.status, &*sent.headers["location"]),
        (303, "/sign-in?next=%2Fexperiments%2Foutreach-score%3Fx%3D1")
    );
    assert_eq!(browser.get("/console/live?page=overview").status, 401, "a stream cannot go anywhere");
    assert_eq!(browser.send(&format!("{AT}/pause"), &[]).status, 401);
    let form = browser.page("/sign-in?next=%2F%2Fevil.example");
    assert!(form.contains("name=\"next\" value=\"/\"") && !form.contains("evil"), "{form}");

    let wrong = browser.send("/sign-in", &[("token", &token.replace(&token[10..14], "0000")), ("next", "/")]);
    assert_eq!(wrong.status, 401);
    assert!(wrong.text.contains("not known here") && !wrong.headers.contains_key("set-cookie"), "{}", wrong.text);
    let right = browser.send("/sign-in", &[("token", &token), ("next", AT)]);
    assert_eq!((right.status, &*right.headers["location"]), (303, AT), "{}", right.text);
    let cookie = &right.headers["set-cookie"];
    for part in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=43200"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Secure") && !cookie.contains(&token), "{cookie}");
    let elsewhere = browser.send("/sign-in", &[("token", &token), ("next", "//evil.example")]);
    assert_eq!(elsewhere.headers["location"], "/");
    browser.cookie = cookie.split(';').next().map(str::to_owned);
    assert!(browser.page(AT).contains("as <b>ann</b>"));

    // A session is no credential of the JSON API.
    assert_eq!(browser.get("/v1/experiments").status, 401);
    let own = format!("http://{}", host.admin.address);
    let headers = [("cookie", browser.cookie.as_deref().expect("a cookie")), ("origin", &*own)];
    assert_eq!(host.admin.post_text("/v1/freeze", "{\"reason\":\"x\"}", &headers).expect("answers").status, 401);
    // A token is, here too.
    assert_eq!(host.admin.bearing(&token).get("/").status, 200);

    let key = super::hidden(&browser.page("/"), "form_key").expect("a key");
    assert_eq!(browser.send("/sign-out", &[("form_key", "other")]).status, 403);
    assert_eq!(browser.get("/").status, 200);
    assert_eq!(browser.send("/sign-out", &[("form_key", &key)]).status, 303);
    assert!(browser.get("/").headers["location"].ends_with("&ended=1"), "its cookie is of no use any more");
    let done = audited(&host.admin.bearing(&auditor), "who=ann");
    for what in ["access.sign_in", "access.sign_out"] {
        assert!(done.contains(&(what.to_owned(), "done".to_owned())), "{done:?}");
    }
}

#[test]
fn a_cookie_is_for_tls_where_the_connection_is_by_tls_whatever_a_client_says() {
    let deployment = watched();
    let token = admit(&deployment, "ann", "read", &[]);
    let cookie = |host: &Host, headers: &[(&str, &str)]| {
        let own = format!("https://{}", host.admin.address);
        let headers = [headers, &[("origin", &*own)]].concat();
        let answer = Browser::of(host).send_from("/sign-in", &[("token", &token), ("next", "/")], &headers);
        assert_eq!(answer.status, 303, "{}", answer.text);
        answer.headers["set-cookie"].clone()
    };
    let forwarded = [("x-forwarded-proto", "https")];
    let host = Host::start(&deployment).ready();
    assert!(!cookie(&host, &[]).contains("Secure"), "an origin is the client's word");
    assert!(!cookie(&host, &forwarded).contains("Secure"), "and so is this header, of whom nobody trusts");
    assert_eq!(host.stop(), Some(0));
    deployment.edit("serin.toml", "[server]", "[server]\ntrusted_proxies = [\"127.0.0.1\"]");
    let host = Host::start(&deployment).ready();
    assert!(cookie(&host, &forwarded).ends_with("; Secure"));
    assert!(!cookie(&host, &[("x-forwarded-proto", "https, http")]).contains("Secure"), "the nearest proxy's word");
    assert!(!cookie(&host, &[]).contains("Secure"));
}

#[test]
fn a_session_ends_when_its_token_is_taken_away() {
    let deployment = watched();
    let keeper = admit(&deployment, "keeper", "read", &[]);
    let before = deployment.read("serin.toml");
    let token = admit(&deployment, "ann", "read", &[]);
    let host = Host::start(&deployment).ready();
    let (mut ann, mut other) = (Browser::of(&host), Browser::of(&host));
    assert_eq!((ann.sign_in(&token).status, other.sign_in(&keeper).status), (303, 303));
    assert_eq!(ann.get("/").status, 200);
    deployment.write("serin.toml", before);
    eventually("the session ends", BOUND, || (ann.get("/").status == 303).then_some(()));
    assert_eq!(other.get("/").status, 200);
    assert!(ann.page("/sign-in?next=/&ended=1").contains("session has ended"));
}

#[test]
fn pages_show_what_the_roles_allow_and_say_who_may_do_the_rest() {
    let deployment = watched();
    let reader = admit(&deployment, "reader", "read", &[]);
    let operator = admit(&deployment, "olga", "read,operate", &[]);
    let support = admit(&deployment, "sam", "read,audit", &[]);
    let elsewhere = admit(&deployment, "far", "read,audit", &["--point", "other"]);
    deployment.write("serin.toml", deployment.read("serin.toml") + OTHER_POINT);
    // The other point is not served: the strategy is made for this one.
    let host = Host::start(&deployment);
    let app = host.admin.bearing(&support);
    eventually("it runs", BOUND, || (state_as(&app) == "running").then_some(()));
    let [mut read, mut operate, mut audit, mut far] = [(); 4].map(|()| Browser::of(&host));
    for (browser, token) in
        [(&mut read, &reader), (&mut operate, &operator), (&mut audit, &support), (&mut far, &elsewhere)]
    {
        assert_eq!(browser.sign_in(token).status, 303);
    }
    let page = read.page(AT);
    assert!(!page.contains(&format!("{AT}/pause")) && !page.contains("/freeze"), "{page}");
    for path in [&*format!("{AT}/pause"), "/freeze"] {
        let refused = read.get(path);
        assert_eq!(refused.status, 403, "{path}");
        assert!(refused.text.contains("role 'operate'") && refused.text.contains("<b>olga</b>"), "{}", refused.text);
    }
    let refused = read.get("/decisions?unit=b-1");
    assert!(refused.status == 403 && refused.text.contains("<b>sam</b>"), "{}", refused.text);
    assert_eq!(audit.get("/decisions?unit=b-1").status, 200);
    let key = super::hidden(&read.page("/"), "form_key").expect("a key");
    let fields = [("form_key", &*key), ("generation", "1"), ("reason", "x")];
    assert_eq!(read.send(&format!("{AT}/pause"), &fields).status, 403);
    assert_eq!(state_as(&app), "running");
    assert_eq!(operate.submit(&format!("{AT}/pause"), &[("reason", "an incident"), ("by", "carol")]).status, 303);
    let shown = app.get("/v1/experiments/outreach-score").json();
    let last = shown["history"].as_array().and_then(|all| all.last()).expect("a change");
    assert_eq!(
        (&last["by"], &last["reason"]),
        (&json!("olga"), &json!("an incident")),
        "whoever acts is whom the token names"
    );
    let done = audited(&app, "who=olga");
    assert!(done.contains(&("experiment.pause".to_owned(), "done".to_owned())), "{done:?}");
    let done = audited(&app, "who=sam");
    assert!(done.contains(&("records.list".to_owned(), "done".to_owned())), "{done:?}");

    // Roles for another decision point reach none of this one's.
    assert!(!far.page("/").contains("outreach-score"));
    assert_eq!(far.get(AT).status, 403);
    assert_eq!(far.get("/decisions?point=collections-outreach").status, 403);
}

pub(super) const OTHER_POINT: &str = r#"
[decision_points.other]
strategy = "outreach-rules@1.0.0"
entities = ["borrower", "loan"]
actions = ["no_contact"]
fallback = { action = "no_contact" }
"#;

fn state_as(admin: &Client) -> serde_json::Value {
    admin.get("/v1/experiments/outreach-score").json()["state"].clone()
}

#[test]
fn a_form_of_another_origin_or_without_its_key_does_nothing() {
    let deployment = watched();
    let host = Host::start(&deployment).ready();
    let browser = Browser::of(&host);
    let path = format!("{AT}/pause");
    let page = browser.page(&path);
    let [key, generation, file] =
        ["form_key", "generation", "file"].map(|name| super::hidden(&page, name).expect("a field"));
    let fields = [("form_key", &*key), ("generation", &*generation), ("file", &*file), ("by", "ann"), ("reason", "x")];
    let own = format!("http://{}", host.admin.address);
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        assert_eq!(browser.send_from(&path, &fields, &[("origin", origin)]).status, 403, "{origin}");
    }
    assert_eq!(browser.send_from(&path, &fields, &[]).status, 403, "without an origin");
    assert_eq!(browser.send_from(&path, &fields, &[("origin", &own), ("sec-fetch-site", "cross-site")]).status, 403);
    assert_eq!(browser.send_from(&path, &fields, &[("origin", &own), ("host", "evil.example")]).status, 403);
    let refused = browser.send(&path, &fields[1..]);
    assert!(refused.status == 403 && refused.text.contains("load its page again"), "{}", refused.text);
    let forged = [
        ("form_key", "0".repeat(64)),
        ("generation", generation.clone()),
        ("by", "ann".into()),
        ("reason", "x".into()),
    ];
    let forged: Vec<(&str, &str)> = forged.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(browser.send(&path, &forged).status, 403);
    // The JSON API takes no forms, whoever sends them.
    let body = "reason=x&by=ann";
    let api = host.admin.post_text("/v1/freeze", body, &[("origin", &own), ("content-type", FORM)]).expect("answers");
    assert_eq!(api.status, 415);
    // A page takes no JSON.
    let json = host.admin.post_text(&path, "{}", &[("origin", &own)]).expect("answers");
    assert_eq!(json.status, 415, "{}", json.text);
    assert_eq!(browser.get("/").status, 200);
    let elsewhere = host.admin.get_with("/", &[("host", "evil.example")]);
    assert_eq!((elsewhere.status, &*elsewhere.headers["content-type"]), (403, "application/problem+json"));
    // Whoever looks at it gets a page, which names nobody.
    let shown = host.admin.get_with("/", &[("host", "evil.example"), ("accept", "text/html")]);
    assert!(shown.status == 403 && shown.text.contains("server.admin_hosts"), "{}", shown.text);
    assert!(shown.headers["content-type"].starts_with("text/html"));
    assert_eq!(shown.headers["x-content-type-options"], "nosniff");
    let crossed = browser.send_from(&path, &fields, &[("origin", "http://evil.example"), ("accept", "text/html")]);
    assert!(crossed.status == 403 && crossed.text.contains("<h1>Cross origin</h1>"), "{}", crossed.text);
    assert_eq!(state(&host), "running");
    assert_eq!(browser.send(&path, &fields).status, 303);
    assert_eq!(state(&host), "paused");
    drop(outreach("b-1"));
}

#[test]
fn a_session_outlives_the_host_and_not_its_sign_out() {
    let deployment = watched();
    let token = admit(&deployment, "ann", "read,operate", &[]);
    let host = Host::start(&deployment).ready();
    let (mut stays, mut leaves) = (Browser::of(&host), Browser::of(&host));
    for browser in [&mut stays, &mut leaves] {
        assert_eq!(browser.sign_in(&token).status, 303);
    }
    let key = super::hidden(&leaves.page("/"), "form_key").expect("a key");
    assert_eq!(leaves.send("/sign-out", &[("form_key", &key)]).status, 303);
    assert_eq!(host.stop(), Some(0));

    let host = Host::start(&deployment).ready();
    let again = |before: &Browser| {
        // The port is in the cookie's name, and a host of a test has another each time.
        let id = before.cookie.as_deref().and_then(|cookie| cookie.split_once('=')).expect("a cookie").1;
        let port = host.admin.address.rsplit_once(':').expect("a port").1;
        let mut browser = Browser::of(&host);
        browser.cookie = Some(format!("serin_session_{port}={id}"));
        browser
    };
    let stays = again(&stays);
    assert!(stays.page(AT).contains("as <b>ann</b>"));
    assert_eq!(again(&leaves).get(AT).status, 303, "it leads to signing in");
    // Its forms are those of the same session.
    let form = stays.page(&format!("{AT}/pause"));
    assert!(super::hidden(&form, "form_key").is_some(), "{form}");
    let file = std::fs::metadata(deployment.path().join("data/sessions.json")).expect("is there");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o777, 0o600);
}
