//! Links of pages lead somewhere, for whoever sees them.

use std::collections::BTreeSet;

use super::{Browser, admit, outreach, watched};
use crate::support::Host;

/// The addresses that a page links to, as a browser reads them.
fn links(page: &str) -> Vec<String> {
    let hrefs = page.split("<a ").skip(1).filter_map(|rest| rest.split("href=\"").nth(1)?.split('"').next());
    hrefs.filter(|href| href.starts_with('/')).map(|href| href.replace("&amp;", "&")).collect()
}

/// Follows every link from these pages on; what was read, by address.
fn crawl(browser: &Browser, from: &[&str]) -> BTreeSet<String> {
    let mut left: Vec<String> = from.iter().map(ToString::to_string).collect();
    let mut seen = BTreeSet::new();
    while let Some(path) = left.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let answer = browser.get(&path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        if answer.headers["content-type"].starts_with("text/html") {
            left.extend(links(&answer.text));
        }
    }
    seen
}

#[test]
fn who_is_signed_in_can_follow_every_link_that_a_page_shows() {
    let deployment = watched();
    let app = admit(&deployment, "app", "decide", &[]);
    let all = admit(&deployment, "ann", "read,audit,operate,approve", &[]);
    let support = admit(&deployment, "sam", "read", &[]);
    let host = Host::start(&deployment).ready();
    let (app, admin) = (host.public.bearing(&app), host.admin.bearing(&all));
    let decision = app.post("/v1/decisions", &outreach("b-1")).json();
    let id = decision["decision_id"].as_str().expect("an id");
    let (mut ann, mut sam) = (Browser::of(&host), Browser::of(&host));
    assert_eq!((ann.sign_in(&all).status, sam.sign_in(&support).status), (303, 303));

    let pages = ["/", "/experiments", &format!("/decisions/{id}")];
    let seen = crawl(&ann, &pages);
    for read in [
        "/console/v1/experiments/outreach-score",
        "/console/v1/experiments/outreach-score/report?format=html",
        &format!("/console/v1/decisions/{id}"),
        &format!("/console/v1/decisions/{id}/outcomes"),
    ] {
        assert!(seen.contains(read), "{read}: {seen:?}");
    }
    assert!(crawl(&sam, &pages).contains(&format!("/console/v1/decisions/{id}/summary")));

    // They say what the API says, and ask for the same roles.
    let [shown, api] = [format!("/console/v1/decisions/{id}"), format!("/v1/decisions/{id}")];
    assert_eq!(ann.get(&shown).text, admin.get(&api).text);
    for refused in [shown, format!("/console/v1/decisions/{id}/outcomes")] {
        assert_eq!(sam.get(&refused).status, 403, "{refused}");
    }
    assert_eq!(Browser::of(&host).get("/console/v1/experiments/outreach-score").status, 303, "nobody is signed in");
    assert_eq!(ann.get(&api).status, 401, "the API itself takes no session");
    let audit = admin.get("/v1/audit?who=ann").json();
    let entries = audit["entries"].as_array().expect("entries");
    for what in ["record.read", "record.outcomes"] {
        let is_noted = |entry: &serde_json::Value| {
            entry["what"] == what && entry["target"].as_str().is_some_and(|target| target.starts_with("/console/v1/"))
        };
        assert!(entries.iter().any(is_noted), "{what}: {audit}");
    }
}
