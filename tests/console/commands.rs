//! Commands on pages: what they will do is shown first, and they are refused in the words of the API.

use serde_json::json;

use super::{BOUND, Browser, admit, outreach, state, watched};
use crate::support::{Host, eventually};

const AT: &str = "/experiments/outreach-score";

#[test]
fn a_command_says_what_it_will_do_asks_for_a_reason_and_is_recorded() {
    let deployment = watched();
    let host = Host::start(&deployment).ready();
    (0..40).for_each(|i| drop(host.decide(&outreach(&format!("b-{i}")))));
    let browser = Browser::of(&host);
    let page = browser.page(AT);
    for command in ["promote", "pause", "abort", "conclude"] {
        assert!(page.contains(&format!("{AT}/{command}\"")), "{command}: {page}");
    }
    assert!(!page.contains(&format!("{AT}/start\"")) && !page.contains(&format!("{AT}/resume\"")), "{page}");
    let promote = browser.page(&format!("{AT}/promote"));
    assert!(promote.contains("promote: coverage 20 % to 100 %") && promote.contains("Step 2 of 2"), "{promote}");
    assert_eq!(state(&host), "running", "to look is not to act");

    let without = browser.submit(&format!("{AT}/promote"), &[("by", "ann"), ("reason", " ")]);
    assert_eq!(without.status, 422, "{}", without.text);
    assert!(without.text.contains("reason: 1 to 1024 characters of text are needed"), "{}", without.text);
    let done = browser.submit(&format!("{AT}/promote"), &[("by", "ann"), ("reason", "looks <b>well</b>")]);
    assert_eq!((done.status, &*done.headers["location"]), (303, AT), "{}", done.text);
    let shown = host.admin.get("/v1/experiments/outreach-score").json();
    let last = shown["history"].as_array().and_then(|all| all.last()).expect("a change");
    assert_eq!(
        (&last["command"], &last["by"], &last["reason"]),
        (&json!("promote"), &json!("ann"), &json!("looks <b>well</b>"))
    );
    let page = browser.page(AT);
    assert!(page.contains("looks &lt;b&gt;well&lt;/b&gt;") && page.contains("<b>100 %</b> of its slot"), "{page}");

    // In the words of the API. There is no form for it any more, and one from elsewhere is refused.
    let fields = form(&browser, "pause", "more");
    let refused = browser.send(&format!("{AT}/promote"), &borrowed(&fields));
    let said = host.admin.post("/v1/experiments/outreach-score/promote", &json!({ "reason": "more", "by": "ann" }));
    let detail = said.json()["detail"].as_str().expect("a detail").to_owned();
    assert_eq!((refused.status, said.status), (409, 409));
    assert!(refused.text.contains(&detail), "{detail}: {}", refused.text);
    assert!(browser.page(&format!("{AT}/promote")).contains(&detail), "and before it is tried");

    let concluded =
        browser.submit(&format!("{AT}/conclude"), &[("by", "ann"), ("reason", "done"), ("winner", "nobody")]);
    assert!(concluded.status == 409 && concluded.text.contains("is not an arm"), "{}", concluded.text);
    let concluded =
        browser.submit(&format!("{AT}/conclude"), &[("by", "ann"), ("reason", "done"), ("winner", "score")]);
    assert_eq!((concluded.status, state(&host)), (303, json!("concluded")), "{}", concluded.text);
}

/// The fields of a command's form, filled in by ann.
fn form(browser: &Browser, command: &str, reason: &str) -> Vec<(&'static str, String)> {
    let page = browser.page(&format!("{AT}/{command}"));
    let hidden = ["form_key", "generation", "file"].map(|name| (name, super::hidden(&page, name).expect("a field")));
    hidden.into_iter().chain([("by", "ann".to_owned()), ("reason", reason.to_owned())]).collect()
}

fn borrowed<'f>(fields: &'f [(&'static str, String)]) -> Vec<(&'f str, &'f str)> {
    fields.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// A page that says why a command is not possible, and offers nothing to send.
fn is_refused(page: &str, why: &str) {
    assert!(page.contains("Not possible as it stands") && page.contains(why), "{why}: {page}");
    assert!(!page.contains("class=\"command\"") && !page.contains("class=\"effect\""), "{page}");
}

#[test]
fn what_is_not_possible_has_no_form_and_is_not_named() {
    let deployment = watched();
    let host = Host::start(&deployment).ready();
    let browser = Browser::of(&host);
    let page = |command: &str| browser.page(&format!("{AT}/{command}"));
    assert!(page("promote").contains("once this step has lasted 1 day; a person"), "{}", page("promote"));
    is_refused(&page("approve"), "nothing to approve: serin.toml has no [governance]");
    is_refused(&page("amend"), "no edit of its file waits");
    // The same as JSON, and nothing is done.
    let told = host.admin.get(&format!("/v1{AT}/promote")).json();
    assert!(told["refused"].is_null() && told["headline"] == "promote: coverage 20 % to 100 %", "{told}");
    assert!(page("promote").contains("promote: coverage 20 % to 100 %"));
    let told = host.admin.get(&format!("/v1{AT}/amend")).json();
    assert!(told["refused"].as_str().is_some_and(|why| why.starts_with("no edit of its file waits")), "{told}");
    assert_eq!(host.admin.get(&format!("/v1{AT}/restart")).status, 404);
    assert_eq!(state(&host), "running");
    // Who decides sees what it rests on.
    for shown in ["The evidence now: HOLD", "Split (SRM)", "id=\"scorecard\"", "failures"] {
        assert!(page("pause").contains(shown), "{shown}: {}", page("pause"));
    }
    let body = json!({ "reason": "a look", "by": "ann" });
    let send = |command: &str| host.admin.post(&format!("/v1{AT}/{command}"), &body);
    assert_eq!(send("promote").status, 200);
    is_refused(&page("promote"), "the ramp is at its last step, 2 of 2");
    assert_eq!(send("pause").status, 200);
    let next = "a person decides: resume, abort or conclude";
    eventually("the page says it", BOUND, || browser.page(AT).contains(next).then_some(()));
    let report = host.admin.get(&format!("/v1{AT}/report?format=text")).text;
    assert!(report.contains(next), "{report}");
    assert!(send("start").json()["detail"].as_str().is_some_and(|why| why.ends_with("resume, abort, conclude")));
    let shown = browser.page(AT);
    assert!(shown.contains("Paused, it still serves its arms to 100 % of its slot"), "{shown}");

    // Without its file it can be ended, and not go on.
    deployment.remove("experiments/outreach-score.toml");
    eventually("that is seen", BOUND, || (state(&host) == "spec_missing").then_some(()));
    is_refused(&page("resume"), "its file is gone, so it cannot resume: put the file back first");
    let refused = send("resume");
    assert!(refused.status == 409 && refused.text.contains("its file is gone"), "{}", refused.text);
    for path in ["/", "/experiments", AT] {
        eventually("one badge says it", BOUND, || browser.page(path).contains("<b>file gone</b>").then_some(()));
        assert!(!browser.page(path).contains("file not applied"), "{path}");
    }
    assert!(page("abort").contains("class=\"command\""));
    assert_eq!(send("abort").status, 200);
}

#[test]
fn who_was_overtaken_is_told_by_whom_and_offered_nothing_that_is_not_possible() {
    let deployment = watched();
    let host = Host::start(&deployment).ready();
    let (first, second) = (Browser::of(&host), Browser::of(&host));
    let fields = form(&second, "pause", "me, too");
    assert_eq!(first.submit(&format!("{AT}/pause"), &[("by", "zoe"), ("reason", "strange calls")]).status, 303);
    let refused = second.send(&format!("{AT}/pause"), &borrowed(&fields));
    assert_eq!(refused.status, 412);
    is_refused(&refused.text, "the experiment is paused already");
    for said in ["somebody was faster", "<b>pause</b> by <b>zoe</b>", "strange calls", "It is <b>paused</b> now"] {
        assert!(refused.text.contains(said), "{said}: {}", refused.text);
    }
    assert!(!refused.text.contains("generation is"), "{}", refused.text);
    let body = json!({ "reason": "go on", "by": "ann" }).to_string();
    let api = host.admin.post_text(&format!("/v1{AT}/resume"), &body, &[("if-match", "\"1\"")]).expect("answers");
    let detail = api.json()["detail"].as_str().expect("a detail").to_owned();
    for said in ["pause by zoe at 20", "strange calls", "it is paused now", "its generation is 2, not 1"] {
        assert!(api.status == 412 && detail.contains(said), "{said}: {detail}");
    }
}

#[test]
fn the_second_of_two_who_press_at_once_is_told_what_the_first_did() {
    let deployment = watched();
    let host = Host::start(&deployment).ready();
    let (first, second) = (Browser::of(&host), Browser::of(&host));
    let seen = second.page(&format!("{AT}/promote"));
    let [key, generation, file] =
        ["form_key", "generation", "file"].map(|name| super::hidden(&seen, name).expect("a field"));
    assert_eq!(first.submit(&format!("{AT}/pause"), &[("by", "ann"), ("reason", "strange calls")]).status, 303);
    let typed = [("form_key", &*key), ("file", &*file), ("by", "bob"), ("reason", "all well")];
    let fields = [&typed[..], &[("generation", &*generation)]].concat();
    let refused = second.send(&format!("{AT}/promote"), &fields);
    assert_eq!(refused.status, 412, "{}", refused.text);
    for said in ["Since you looked", "<b>pause</b> by <b>ann</b>", "strange calls", "all well"] {
        assert!(refused.text.contains(said), "{said}: {}", refused.text);
    }
    assert_eq!(state(&host), "paused");
    // The page that told of it can be sent.
    let generation = super::hidden(&refused.text, "generation").expect("a field");
    let fields = [&typed[..], &[("generation", &*generation)]].concat();
    assert_eq!(second.send(&format!("{AT}/promote"), &fields).status, 303);
    assert_eq!(state(&host), "running");
}

#[test]
fn everything_is_frozen_from_one_page() {
    let deployment = watched();
    let host = Host::start(&deployment).ready();
    let browser = Browser::of(&host);
    let page = browser.page("/freeze");
    assert!(page.contains("freeze: pauses 1 running experiment") && page.contains("outreach-score"), "{page}");
    assert_eq!(browser.submit("/freeze", &[("by", "ann"), ("reason", "an incident")]).status, 303);
    assert_eq!(state(&host), "paused");
}

#[test]
fn an_approval_is_of_the_file_that_was_seen_and_by_whom_may() {
    let deployment = watched();
    deployment.edit(
        "experiments/outreach-score.toml",
        "id = \"outreach-score\"",
        "id = \"outreach-score\"\nstart = \"manual\"",
    );
    let governance = "\n[governance]\napprovals = 1\napprovers = [\"ann\"]\n";
    deployment.write("serin.toml", deployment.read("serin.toml") + governance);
    let ann = admit(&deployment, "ann", "read,approve", &[]);
    let olga = admit(&deployment, "olga", "read,operate", &[]);
    let host = Host::start(&deployment).ready();
    let (mut approver, mut operator) = (Browser::of(&host), Browser::of(&host));
    assert_eq!((approver.sign_in(&ann).status, operator.sign_in(&olga).status), (303, 303));
    assert!(approver.page("/").contains("waits for approval"));
    let path = format!("{AT}/approve");
    let page = approver.page(&path);
    assert!(
        page.contains("0 of 1 approvals")
            && page.contains("stops the experiment")
            && page.contains("days_past_due &gt;= 5"),
        "{page}"
    );
    assert_eq!(operator.get(&path).status, 403);
    let fields = form(&operator, "abort", "go");
    is_refused(&operator.page(&format!("{AT}/start")), "it needs the agreement of more people: 0 of 1 approvals");
    let refused = operator.send(&format!("{AT}/start"), &borrowed(&fields));
    assert_eq!(refused.status, 409, "it lacks an approval: {}", refused.text);

    // The file is edited while it is read.
    let fields: Vec<(&str, String)> =
        ["form_key", "generation", "file"].map(|name| (name, super::hidden(&page, name).expect("a field"))).into();
    let before = host.admin.bearing(&olga).get("/v1/experiments/outreach-score").json()["spec"]["digest"].clone();
    deployment.edit("experiments/outreach-score.toml", "owner = \"collections-science\"", "owner = \"somebody\"");
    eventually("the edit is read", BOUND, || {
        let now = host.admin.bearing(&olga).get("/v1/experiments/outreach-score").json()["spec"]["digest"].clone();
        (now != before).then_some(())
    });
    let mut sent: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    sent.push(("reason", "agreed"));
    let refused = approver.send(&path, &sent);
    assert!(refused.status == 412 && refused.text.contains("the file has changed"), "{}", refused.text);
    assert_eq!(approver.submit(&path, &[("reason", "agreed")]).status, 303);
    assert_eq!(operator.submit(&format!("{AT}/start"), &[("reason", "go"), ("by", "carol")]).status, 303);
    let shown = host.admin.bearing(&olga).get("/v1/experiments/outreach-score").json();
    assert_eq!((&shown["approvals"][0]["by"], &shown["history"][0]["by"]), (&json!("ann"), &json!("olga")), "{shown}");
}

#[test]
fn an_edit_that_loosens_the_rule_is_shown_line_by_line_and_decided_on() {
    let deployment = watched();
    let host = Host::start(&deployment).ready();
    let browser = Browser::of(&host);
    deployment.edit("experiments/outreach-score.toml", "max_increase = 0.01", "max_increase = 0.05");
    let page = eventually("the edit waits", BOUND, || {
        let page = browser.page(&format!("{AT}/amend"));
        page.contains("guardrails.failures.max_increase").then_some(page)
    });
    assert!(page.contains("class=\"gone\"") && page.contains("max_increase = 0.05"), "{page}");
    assert!(browser.page("/").contains("edit waits"));
    assert_eq!(browser.submit(&format!("{AT}/amend"), &[("by", "ann"), ("reason", "too tight")]).status, 303);
    eventually("it is in force", BOUND, || {
        host.admin.get("/v1/experiments/outreach-score").json()["pending"].is_null().then_some(())
    });
}
