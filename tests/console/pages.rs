//! Every page of a real deployment: there, in its frame, and saying what the JSON API says.

use super::{BOUND, Browser, outreach, watched};
use crate::support::{Host, eventually};

const PAGES: [&str; 8] = [
    "/",
    "/attention",
    "/experiments",
    "/experiments/outreach-score",
    "/decisions",
    "/plugins",
    "/models",
    "/features",
];

#[test]
fn every_page_is_there_and_loads_only_what_is_this_hosts_own() {
    let deployment = watched();
    let host = Host::start(&deployment).ready();
    host.decide(&outreach("b-1"));
    let browser = Browser::of(&host);
    for path in PAGES {
        let answer = browser.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        let policy = &answer.headers["content-security-policy"];
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("form-action 'self'"), "{policy}");
        // With no-referrer, a browser would not say which page a form is from.
        assert_eq!(answer.headers["referrer-policy"], "same-origin");
        let text = &answer.text;
        assert!(
            !text.contains(" style=\"")
                && !text.contains("<style")
                && !text.contains("http://")
                && !text.contains("https://"),
            "{path}: {text}"
        );
        assert!(
            text.contains("<html lang=\"en\">") && text.contains("<main id=\"main\"") && text.contains("<h1"),
            "{path}"
        );
        assert_eq!(text.matches("<script").count(), 1, "{path}");
        for (tag, ending) in [("href=\"", "console.css"), ("src=\"", "console.js"), ("href=\"", "icon.svg")] {
            let asset =
                text.split(tag).skip(1).filter_map(|rest| rest.split('"').next()).find(|path| path.contains(ending));
            let asset = browser.get(asset.expect("an asset"));
            assert_eq!(asset.status, 200, "{ending}");
            assert!(asset.headers["cache-control"].contains("immutable"), "{ending}");
        }
    }
    assert_eq!(browser.get("/console/other.css").status, 404);
}

#[test]
fn the_overview_says_what_runs_and_what_the_json_api_says() {
    let deployment = watched();
    let host = Host::start(&deployment).ready();
    (0..60).for_each(|i| drop(host.decide(&outreach(&format!("b-{i}")))));
    let browser = Browser::of(&host);
    let summary = eventually("the units are known", BOUND, || {
        let shown = host.admin.get("/v1/experiments/outreach-score").json()["summary"].clone();
        (shown["units"].as_u64()? > 2).then_some(shown)
    });
    let page = eventually("the page knows them", BOUND, || {
        let page = browser.page("/");
        page.contains(&format!("{}<br><span class=\"small\">", summary["units"])).then_some(page)
    });
    for said in [
        "outreach-score",
        "collections-outreach",
        "outreach-rules@1.0.0",
        "running",
        "hold:",
        "failures",
        "day 1",
        "cured",
    ] {
        assert!(page.contains(said), "{said}: {page}");
    }
    let point = host.admin.get("/v1/deployment").json()["decision_points"][0]["traffic"].clone();
    assert_eq!((&point["decisions"], &point["fallbacks"]), (&60.into(), &0.into()), "{point}");
    assert!(page.contains("outcomes missing") && page.contains("'cured'"), "nobody posts it: {page}");

    // A file that cannot be applied, and half of a plugin.
    deployment.edit("experiments/outreach-score.toml", "owner =", "ownr =");
    deployment.write("plugins/broken-1.0.0.wasm", &crate::support::outreach_rules()[..1000]);
    let page = eventually("both are told of", BOUND, || {
        let page = browser.page("/");
        (page.contains("file not applied") && page.contains("plugin failed")).then_some(page)
    });
    assert!(page.contains("needs you") && page.contains("ownr"), "{page}");
    // The heading counts what is listed, and the API has all of it.
    let (matters, count) = eventually("the two say the same", BOUND, || {
        let (page, matters) = (browser.page("/"), host.admin.get("/v1/attention").json()["matters"].clone());
        let listed = page.split("class=\"matters\"").nth(1)?.split("</ul>").next()?.matches("<li>").count();
        (matters.as_array()?.len() == listed).then_some((matters, listed))
    });
    let page = browser.page("/");
    assert!(page.contains(&format!("needs you</b></span> {count}<span class=\"small\">, ")), "{count}: {page}");
    let first = &matters[0];
    assert_eq!(first["urgency"], "urgent", "{matters}");
    for matter in matters.as_array().expect("a list") {
        assert!(page.contains(matter["kind"].as_str().expect("a kind")), "{matter}");
    }
    assert!(browser.page("/plugins").contains("broken-1.0.0.wasm"));
}

#[test]
fn an_experiment_that_is_gone_says_what_to_do() {
    let deployment = watched();
    let host = Host::start(&deployment).ready();
    let browser = Browser::of(&host);
    for (path, leads) in [
        ("/experiments/nowhere", "search all experiments"),
        ("/experiments/nowhere/pause", "search all experiments"),
        ("/decisions/nowhere", "href=\"/decisions\""),
    ] {
        let answer = browser.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.headers["content-type"].starts_with("text/html"), "{path}");
        assert!(answer.text.contains(leads), "{}", answer.text);
    }
    let decision = browser.get("/decisions/nowhere").text;
    assert!(decision.contains("ledger.retain") && !decision.contains("search all experiments"), "{decision}");
    assert_eq!(browser.get("/experiments/outreach-score/dance").status, 404);
    for (path, says) in [
        ("/experiments?limit=3", "limit: no such key of this address; valid: q, state, page"),
        ("/experiments?page=two", "page: "),
        ("/decisions?unknown=1", "unknown: no such key of this address; valid: id, unit, point, since, before"),
    ] {
        let answer = browser.get(path);
        assert_eq!(answer.status, 422, "an unknown key is an error");
        assert!(answer.text.contains(says) && !answer.text.contains("deserialize"), "{}", answer.text);
    }
    let api = host.admin.get("/v1/decisions?unknown=1").json();
    assert_eq!(api["key"], "unknown", "{api}");
}

#[test]
fn experiments_are_found_by_words_and_by_state() {
    let deployment = watched();
    let host = Host::start(&deployment).ready();
    let browser = Browser::of(&host);
    let finds =
        |query: &str| browser.page(&format!("/experiments?{query}")).contains("href=\"/experiments/outreach-score\"");
    assert!(
        finds("q=") && finds("q=SCORE+risk") && finds("q=collections-science&state=running") && finds("state=current")
    );
    assert!(!finds("q=nothing") && !finds("state=ended") && !finds("state=paused"));
    let body = serde_json::json!({ "reason": "enough", "by": "ann" });
    assert_eq!(host.admin.post("/v1/experiments/outreach-score/abort", &body).status, 200);
    eventually("it is in the archive", BOUND, || (finds("state=ended") && !finds("state=current")).then_some(()));
    assert!(browser.page("/").contains("Archive: 1 ended"));
}

#[test]
fn a_decision_says_what_was_known_how_it_was_routed_what_was_drawn_and_what_came_of_it() {
    let deployment = watched();
    let host = Host::start(&deployment).ready();
    let decided: Vec<_> = (0..40).map(|i| host.decide(&outreach(&format!("b-{i}")))).collect();
    let one = decided.iter().find(|answer| answer["experiment"]["arm"] == "score").expect("somebody is in the arm");
    let id = one["decision_id"].as_str().expect("an id");
    let outcome = serde_json::json!({ "outcomes": [{ "id": "o-1", "name": "cured", "value": 1, "decision_id": id }] });
    assert_eq!(host.public.post("/v1/outcomes", &outcome).status, 200);
    let seen = serde_json::json!({ "exposures": [{ "decision_id": id }] });
    assert_eq!(host.public.post("/v1/exposures", &seen).status, 200);
    let browser = Browser::of(&host);
    let page = browser.page(&format!("/decisions/{id}"));
    let record = host.record(one);
    let unit = record["routing"]["unit"]["id"].as_str().expect("a unit");
    let reason = record["answer"]["reasons"][0]["text"].as_str().expect("a reason");
    for said in [
        "days_past_due",
        unit,
        reason,
        "borrower-profile",
        "missing",
        "arm <b>score</b>",
        "drawn",
        "default-risk",
        "cured",
        "Its result was seen",
        "this decision",
    ] {
        assert!(page.contains(said), "{said}: {page}");
    }
    let came = host.admin.get(&format!("/v1/decisions/{id}/outcomes")).json();
    assert!(came["exposed_at"].is_string() && came["outcomes"][0]["name"] == "cured", "{came}");
    let replayed = browser.submit(&format!("/decisions/{id}"), &[]);
    assert_eq!(replayed.status, 405, "a page is no command");
    let key = super::hidden(&page, "form_key").expect("a key");
    let replayed = browser.send(&format!("/decisions/{id}/replay"), &[("form_key", &key)]);
    assert!(replayed.status == 200 && replayed.text.contains("identical"), "{}", replayed.text);

    assert!(browser.page(&format!("/decisions?unit={unit}")).contains(&format!("/decisions/{id}")));
    let found = browser.get(&format!("/decisions?id={id}"));
    assert_eq!((found.status, &*found.headers["location"]), (303, &*format!("/decisions/{id}")));
    assert_eq!(browser.get("/decisions?since=yesterday").status, 422);
}
