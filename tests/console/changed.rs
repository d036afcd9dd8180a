//! Forms of pages that are out of date: of another file, and of a session that has ended.

use serde_json::json;

use super::{BOUND, Browser, admit, outreach, state, watched};
use crate::support::{Deployment, Host, eventually};

const AT: &str = "/experiments/outreach-score";
const FILE: &str = "experiments/outreach-score.toml";

/// Waits until an edit of the file is in force, as somebody with this token sees it.
fn applied(deployment: &Deployment, host: &Host, token: &str, [from, to]: [&str; 2]) {
    let digest = || host.admin.bearing(token).get("/v1/experiments/outreach-score").json()["spec"]["digest"].clone();
    let before = digest();
    deployment.edit(FILE, from, to);
    eventually("the edit is in force", BOUND, || (digest() != before).then_some(()));
}

#[test]
fn a_command_is_of_the_file_that_its_page_showed() {
    let deployment = watched();
    let host = Host::start(&deployment).ready();
    let browser = Browser::of(&host);
    let path = format!("{AT}/promote");
    let page = browser.page(&path);
    assert!(page.contains("coverage 20 % to 100 %"), "{page}");
    let hidden = ["form_key", "generation", "file"].map(|name| (name, super::hidden(&page, name).expect("a field")));
    applied(&deployment, &host, "", ["{ coverage = 1.0 }]", "{ coverage = 0.6 }]"]);
    let typed = [("by", "ann"), ("reason", "all well")];
    let fields: Vec<_> = hidden.iter().map(|(name, value)| (*name, value.as_str())).chain(typed).collect();
    let refused = browser.send(&path, &fields);
    assert_eq!(refused.status, 412, "{}", refused.text);
    for said in ["<b>Changed: </b>", "the file has changed", "Nothing was done", "coverage 20 % to 60 %", "all well"] {
        assert!(refused.text.contains(said), "{said}: {}", refused.text);
    }
    let shown = host.admin.get("/v1/experiments/outreach-score").json();
    assert_eq!(shown["coverage"], 0.2, "nothing was done: {shown}");
    // A form that says of no file is refused. What the page shows now can be sent.
    let without: Vec<_> = fields.iter().copied().filter(|(name, _)| *name != "file").collect();
    assert_eq!(browser.send(&path, &without).status, 422);
    assert_eq!(browser.submit(&path, &typed).status, 303);
    assert_eq!(host.admin.get("/v1/experiments/outreach-score").json()["coverage"], 0.6);
}

#[test]
fn an_approval_shows_what_differs_from_the_file_that_was_approved_last() {
    let deployment = watched();
    deployment.edit(FILE, "id = \"outreach-score\"", "id = \"outreach-score\"\nstart = \"manual\"");
    let hook = "\n[[notify]]\nurl = \"https://hooks.example/services/T0-secret\"\nevents = [\"breach\"]\n";
    deployment.write(FILE, deployment.read(FILE) + hook);
    let governance = "\n[governance]\napprovals = 1\napprovers = [\"ann\"]\n";
    deployment.write("serin.toml", deployment.read("serin.toml") + governance);
    let token = admit(&deployment, "ann", "read,approve,operate", &[]);
    let host = Host::start(&deployment).ready();
    let mut browser = Browser::of(&host);
    assert_eq!(browser.sign_in(&token).status, 303);
    // Everything that is told of a draft names what a page has, and no command to type.
    let start = format!("{AT}/start");
    for (path, says) in
        [("/", "0 of 1 approvals"), ("/experiments", "waits for approval"), (AT, "0 of 1"), (&start, "0 of 1")]
    {
        let page = eventually("its versions are loaded", BOUND, || {
            Some(browser.page(path)).filter(|page| page.contains(says))
        });
        assert!(!page.contains("serin experiment"), "{path}: {page}");
    }
    let start = browser.page(&start);
    assert!(start.contains(&format!("href=\"{AT}/approve\"")), "{start}");
    let first = browser.page(&format!("{AT}/approve"));
    assert!(first.contains("<pre>") && !first.contains("approved last"), "there is none before it: {first}");
    // Who knows a webhook's address is taken for its sender.
    for page in [first, browser.page(AT)] {
        assert!(page.contains("https://hooks.example/\u{2026}") && !page.contains("T0-secret"), "{page}");
    }
    for command in ["approve", "start"] {
        assert_eq!(browser.submit(&format!("{AT}/{command}"), &[("reason", "agreed")]).status, 303, "{command}");
    }
    applied(&deployment, &host, &token, ["{ coverage = 1.0 }]", "{ coverage = 0.6 }]"]);
    let page = browser.page(&format!("{AT}/approve"));
    let differs = page.split_once("What differs from the file that was approved last").expect("a section").1;
    let row = |class: &str, text: &str| {
        let begin = format!("<tr class=\"{class}\">");
        let rows = differs.split(&begin).skip(1);
        rows.filter_map(|row| row.split("</tr>").next()).any(|row| row.contains(text))
    };
    assert!(row("gone", "coverage = 1.0 }]") && row("new", "coverage = 0.6 }]"), "{page}");
    assert!(browser.page(&format!("{AT}/promote")).contains(&format!("href=\"{AT}/approve\"")));
}

#[test]
fn a_form_of_a_session_that_has_ended_leads_back_to_it_with_what_was_typed() {
    let deployment = watched();
    let token = admit(&deployment, "olga", "read,operate", &[]);
    let host = Host::start(&deployment).ready();
    let app = host.admin.bearing(&token);
    let mut browser = Browser::of(&host);
    assert_eq!(browser.sign_in(&token).status, 303);
    let path = format!("{AT}/pause");
    let page = browser.page(&path);
    let hidden = ["form_key", "generation", "file"].map(|name| (name, super::hidden(&page, name).expect("a field")));
    assert_eq!(browser.send("/sign-out", &[("form_key", &hidden[0].1)]).status, 303);
    let reason = "strange calls: \u{201c}who?\u{201d}\nsee <b>4711</b> & more";
    let fields: Vec<_> =
        hidden.iter().map(|(name, value)| (*name, value.as_str())).chain([("reason", reason)]).collect();
    let ended = browser.send(&path, &fields);
    assert_eq!(ended.status, 401, "{}", ended.text);
    assert!(ended.text.contains("Your session has ended") && !ended.text.contains("Bearer"), "{}", ended.text);
    let next = super::hidden(&ended.text, "next").expect("a way back");
    let kept = super::hidden(&ended.text, "reason").expect("what was typed");
    assert_eq!(kept, reason.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"));
    let wrong = browser.send("/sign-in", &[("token", "other"), ("next", &next), ("reason", reason)]);
    assert_eq!((wrong.status, super::hidden(&wrong.text, "reason")), (401, Some(kept)), "{}", wrong.text);
    let signed_in = browser.send("/sign-in", &[("token", &token), ("next", &next), ("reason", reason)]);
    let back = signed_in.headers["location"].clone();
    browser.cookie = signed_in.headers["set-cookie"].split(';').next().map(str::to_owned);
    assert!(back.starts_with(&format!("{path}?reason=strange%20calls")), "{back}");
    let page = browser.page(&back);
    let text = page.split_once("<textarea").expect("a field").1.split("</textarea>").next().expect("its end");
    assert!(text.ends_with("see &lt;b&gt;4711&lt;/b&gt; &amp; more"), "{page}");
    assert_eq!(app.get("/v1/experiments/outreach-score").json()["state"], "running", "nothing is done by itself");
    assert_eq!(browser.submit(&back, &[("reason", reason)]).status, 303);
    assert_eq!(app.get("/v1/experiments/outreach-score").json()["state"], "paused");
}

#[test]
fn a_start_says_how_many_enter_and_of_what_time_that_is() {
    let deployment = watched();
    deployment.edit(FILE, "id = \"outreach-score\"", "id = \"outreach-score\"\nstart = \"manual\"");
    let host = Host::start(&deployment).ready();
    let browser = Browser::of(&host);
    assert!(!browser.page(&format!("{AT}/start")).contains("a day"), "nobody came yet");
    let draft = browser.page(AT);
    assert!(!draft.contains("the report alone") && draft.contains("waits for its start"), "{draft}");
    (0..40).for_each(|i| drop(host.decide(&outreach(&format!("b-{}", i % 20)))));
    let page = browser.page(&format!("{AT}/start"));
    // 20 different ones in what counts as a minute, and a fifth of the slot.
    let said = "borrowers a day";
    assert!(page.contains(said) && page.contains("extrapolated from the last 1 minute"), "{page}");
    let told = host.admin.get("/v1/experiments/outreach-score").json();
    assert_eq!(told["at_point"], json!({ "units_per_day": 28_800.0, "paced_ms": 60_000 }), "as the page computes it");
    assert_eq!(state(&host), "draft");
    assert_eq!(browser.submit(&format!("{AT}/start"), &[("by", "ann"), ("reason", "go")]).status, 303);
    // All of a page is as of one moment.
    (40..80).for_each(|i| drop(host.decide(&outreach(&format!("b-{i}")))));
    let page = browser.page(AT);
    let head = page.split("<b>").filter_map(|rest| rest.split_once(" borrowers</b>")).map(|(n, _)| n).next();
    let below =
        page.split_once("<summary><h2>Units</h2>").expect("units").1.split_once(" entered").expect("a number").0;
    assert_eq!(head, below.rsplit('>').next(), "{page}");
}
