//! What pages say is said in one way: once, with one severity, in one order, and as it was written.

use serde_json::json;

use super::{BOUND, Browser, watched};
use crate::experiments::{RUNNING, deployment, enter};
use crate::support::{Host, eventually};

const AT: &str = "/experiments/outreach-score";

#[test]
fn an_edit_that_waits_is_as_urgent_on_the_overview_as_on_its_page() {
    let deployment = watched();
    let host = Host::start(&deployment).ready();
    let browser = Browser::of(&host);
    deployment.edit("experiments/outreach-score.toml", "max_increase = 0.01", "max_increase = 0.05");
    let badge = "<span class=\"badge warn\"><span aria-hidden=\"true\">! </span><b>edit waits</b></span>";
    for path in ["/", AT] {
        eventually("it is told of", BOUND, || browser.page(path).contains(badge).then_some(()));
        assert!(!browser.page(path).contains("file not applied"), "{path}");
    }
}

#[test]
fn coverage_is_in_percent_wherever_it_is_said() {
    let deployment = watched();
    let host = Host::start(&deployment).ready();
    let page = Browser::of(&host).page(AT);
    assert!(page.contains("coverage 20 % of its slot, step 1 of 2"), "{page}");
    let why = host.admin.get(&format!("/v1{AT}")).json()["why"].clone();
    assert_eq!(why, "applied; coverage 20 % of its slot, step 1 of 2");
}

#[test]
fn harm_that_the_host_paused_for_is_listed_once() {
    let guardrail =
        "\n[[guardrails]]\nmetric = \"failures\"\nmax_increase = 0.01\nmin_units = 50\non_breach = \"pause\"\n";
    let deployment = deployment(&format!("{RUNNING}{guardrail}"), true);
    let host = Host::start(&deployment).ready();
    enter(&host, 0..400);
    eventually("it is paused", BOUND, || {
        (host.admin.get("/v1/experiments/e").json()["state"] == "paused").then_some(())
    });
    let browser = Browser::of(&host);
    let page = eventually("the overview says it", BOUND, || {
        Some(browser.page("/")).filter(|page| page.contains("paused by the host") && page.contains("harm"))
    });
    let summary = host.admin.get("/v1/experiments/e").json()["summary"].clone();
    assert_eq!(summary["guardrail"]["state"], "harm", "it still is: {summary}");
    assert!(!page.contains("breached"), "{page}");
    let listed = page.split("</ul>").next().expect("the list");
    assert_eq!(listed.matches("shows harm").count(), 1, "{listed}");
}

#[test]
fn experiments_are_listed_by_what_they_need() {
    let deployment = watched();
    let path = "experiments/outreach-score.toml";
    let text = deployment.read(path);
    let goal = super::WATCHED;
    // Nobody posts its goal; the others have none.
    let other = |id: &str, slot: &str, more: &str| {
        let text = text.replace(goal, "").replace("id = \"outreach-score\"", &format!("id = \"{id}\"\n{more}"));
        deployment.write(&format!("experiments/{id}.toml"), text.replace("[0.0, 0.5]", slot));
    };
    other("b-runs", "[0.5, 0.6]", "");
    other("a-runs", "[0.6, 0.7]", "");
    other("a-stands", "[0.7, 0.8]", "");
    other("z-waits", "[0.8, 0.9]", "start = \"manual\"");
    let host = Host::start(&deployment).ready();
    let body = json!({ "reason": "a look", "by": "ann" });
    let state = |id: &str| host.admin.get(&format!("/v1/experiments/{id}")).json()["state"].clone();
    eventually("all are there", BOUND, || {
        (state("a-stands") == "running" && state("a-runs") == "running").then_some(())
    });
    assert_eq!(host.admin.post("/v1/experiments/a-stands/pause", &body).status, 200);
    (0..60).for_each(|i| drop(host.decide(&super::outreach(&format!("b-{i}")))));
    let expected = ["outreach-score", "z-waits", "a-runs", "b-runs", "a-stands"];
    let browser = Browser::of(&host);
    eventually("they are in order", BOUND, || {
        let page = browser.page("/");
        let table = page.split("id=\"experiments\"").nth(1).expect("the list").split("</table>").next()?.to_owned();
        let named: Vec<&str> =
            table.split("href=\"/experiments/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        (named == expected).then_some(())
    });
    // The whole list has the same order, and those that have ended are its last.
    let ordered = |expected: [&str; 5]| {
        eventually("they are in order there, too", BOUND, || {
            let page = browser.page("/experiments");
            let named: Vec<&str> =
                page.split("href=\"/experiments/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
            (named == expected).then_some(())
        });
    };
    ordered(expected);
    assert_eq!(host.admin.post("/v1/experiments/a-runs/abort", &body).status, 200);
    ordered(["outreach-score", "z-waits", "b-runs", "a-stands", "a-runs"]);
}

#[test]
fn a_mistake_in_a_file_is_told_by_its_place_and_key_and_quotes_no_line() {
    let deployment = watched();
    let host = Host::start(&deployment).ready();
    let browser = Browser::of(&host);
    deployment.edit("experiments/outreach-score.toml", "owner =", "ownr =");
    deployment.edit("serin.toml", "[ledger]", "[ledgr]");
    for (path, word) in [("/", "ledgr"), ("/", "ownr"), (AT, "ownr")] {
        let page = eventually(word, BOUND, || {
            let page = browser.page(path);
            (page.contains(word) && page.contains("at line ")).then_some(page)
        });
        assert!(!page.contains("ownr =") && !page.contains("[ledgr]"), "{page}");
    }
}

#[test]
fn a_path_that_is_not_there_is_a_page_for_a_browser_and_a_problem_for_a_program() {
    let deployment = watched();
    let token = super::admit(&deployment, "ann", "read", &[]);
    let host = Host::start(&deployment).ready();
    let mut browser = Browser::of(&host);
    let json = host.admin.get("/nowhere");
    assert_eq!((json.status, &json.json()["type"]), (404, &json!("urn:serin:problem:not-found")), "{}", json.text);
    assert_eq!(host.admin.get_with("/nowhere", &[("accept", "*/*")]).text, json.text);
    let stranger = browser.get("/nowhere");
    assert!(stranger.status == 404 && stranger.text.contains("Nothing here"), "{}", stranger.text);
    assert!(!stranger.text.contains("aria-label=\"Pages\""), "who is not signed in has no pages: {}", stranger.text);
    assert_eq!(browser.sign_in(&token).status, 303);
    for path in ["/nowhere", "/v1/nowhere", "/decisions/a/b/c"] {
        let page = browser.get(path);
        assert_eq!(page.status, 404, "{path}");
        assert!(page.headers["content-type"].starts_with("text/html"), "{path}");
        assert!(page.headers["content-security-policy"].contains("default-src 'none'"), "{path}");
        for said in ["Nothing here", "href=\"/experiments\"", "href=\"/\"", "as <b>ann</b>"] {
            assert!(page.text.contains(said), "{said}: {}", page.text);
        }
    }
    assert_eq!(host.public.get_with("/nowhere", &[("accept", "text/html")]).json()["status"], 404, "no console there");
}
