//! What pages show to whom: as the JSON API does; and what is compressed on the way.

use serde_json::json;

use super::sessions::OTHER_POINT;
use super::{BOUND, Browser, admit, outreach, watched};
use crate::support::{Host, eventually};

const AT: &str = "/experiments/outreach-score";

#[test]
fn who_is_limited_to_points_sees_what_the_api_shows_and_is_sent_to_whom_may_help() {
    let deployment = watched();
    let near = admit(&deployment, "near", "read", &["--point", "collections-outreach"]);
    admit(&deployment, "olga", "read,operate", &["--point", "collections-outreach"]);
    let everywhere = admit(&deployment, "everywhere", "read,operate", &[]);
    let decider = admit(&deployment, "app", "decide", &[]);
    admit(&deployment, "elsewhere", "read,operate,audit", &["--point", "other"]);
    deployment.write("serin.toml", deployment.read("serin.toml") + OTHER_POINT);
    // The other point is not served: the strategy is made for this one.
    let host = Host::start(&deployment);
    let app = host.admin.bearing(&near);
    eventually("it runs", BOUND, || {
        (app.get("/v1/experiments/outreach-score").json()["state"] == "running").then_some(())
    });
    let mut browser = Browser::of(&host);
    assert_eq!(browser.sign_in(&near).status, 303);
    for kind in ["plugins", "models", "features"] {
        let api = app.get(&format!("/v1/{kind}"));
        assert_eq!((browser.get(&format!("/{kind}")).status, api.status), (200, 200), "{kind}");
    }
    // What is counted over all points is not for whom one of them is.
    let (whole, part) = (host.admin.bearing(&everywhere), app.get("/v1/deployment").json());
    let points = part["decision_points"].as_array().expect("points");
    assert_eq!((points.len(), &points[0]["name"]), (1, &json!("collections-outreach")), "{part}");
    host.public.bearing(&decider).post("/v1/decisions", &outreach("b-1"));
    let degraded = |page: &str| page.contains("<b>Degraded</b>");
    let mut all = Browser::of(&host);
    assert_eq!(all.sign_in(&everywhere).status, 303);
    eventually("what was degraded is counted", BOUND, || degraded(&all.page("/")).then_some(()));
    assert!(!degraded(&browser.page("/")));
    let counted = [&whole, &app].map(|client| client.get("/v1/deployment").json()["degraded"].is_object());
    assert_eq!(counted, [true, false]);
    let page = browser.page("/plugins");
    assert!(page.contains("outreach-rules@1.0.0") && page.contains("not signed"), "{page}");
    assert!(!page.contains("trusted"), "this host trusts no key: {page}");
    let refused = app.get("/v1/decisions");
    let audit = app.get("/v1/audit");
    assert_eq!((refused.status, audit.status), (403, 403));

    let refused = browser.get(&format!("{AT}/pause")).text;
    assert!(refused.contains("<b>everywhere</b>, <b>olga</b>") && !refused.contains("elsewhere</b>"), "{refused}");
    // Of everything at once, only who may do it everywhere.
    let refused = browser.get("/freeze").text;
    assert!(refused.contains("<b>everywhere</b>") && !refused.contains("<b>olga</b>"), "{refused}");
    let limited = host.admin.bearing(&near).get("/v1/experiments/nowhere");
    assert_eq!(limited.status, 403, "as what is another decision point's");
}

#[test]
fn who_asks_for_all_of_it_is_told_to_what_their_roles_are_limited() {
    let deployment = watched();
    let olga = admit(&deployment, "olga", "read,operate,audit", &["--point", "collections-outreach"]);
    let host = Host::start(&deployment).ready();
    let app = host.admin.bearing(&olga);
    let says = "needs roles for all decision points, and those of this credential are limited to collections-outreach";
    let frozen = app.post("/v1/freeze", &json!({ "reason": "x" }));
    for answer in [frozen, app.get("/v1/audit"), app.get("/v1/decisions")] {
        let detail = answer.json()["detail"].as_str().expect("a detail").to_owned();
        assert!(answer.status == 403 && detail.ends_with(says), "{detail}");
    }
}

#[test]
fn pages_are_compressed_and_no_length_tells_about_a_forms_key() {
    let deployment = watched();
    let host = Host::start(&deployment).ready();
    let decided = host.decide(&outreach("b-1"));
    let browser = Browser::of(&host);
    let decision = format!("/decisions/{}", decided["decision_id"].as_str().expect("an id"));
    let agent: ureq::Agent = ureq::Agent::config_builder().build().into();
    let coding = |path: &str| {
        let asked = agent.get(format!("http://{}{path}", host.admin.address)).header("accept", "text/html");
        let answer = asked.header("accept-encoding", "gzip").call().expect("answers");
        ["content-encoding", "vary"]
            .map(|name| answer.headers().get(name).map(|value| value.to_str().expect("text").to_owned()))
    };
    let compressed = ["gzip", "accept-encoding"].map(|value| Some(value.to_owned()));
    for path in ["/", "/attention", "/experiments", AT, &format!("{AT}/pause"), "/plugins", "/features"] {
        assert_eq!(coding(path), compressed, "{path}");
    }
    // What was searched for stands beside what is known of a person.
    for path in ["/decisions", "/decisions?unit=b-1", &decision] {
        assert_eq!(coding(path)[0], None, "{path}");
    }
    let keys: Vec<String> =
        (0..3).map(|_| super::hidden(&browser.page(&format!("{AT}/pause")), "form_key").expect("a key")).collect();
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0].len() == 128, "{keys:?}");
    let page = browser.page(&decision);
    let entropy = host.record(&decided)["entropy"].as_str().expect("entropy").to_owned();
    assert!(page.contains(&format!("recorded entropy, <code>{entropy}</code>")), "{entropy}: {page}");
}
