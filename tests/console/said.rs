//! What pages, reports and commands make of the texts of people, and how they say what happened.

use serde_json::json;

use super::{BOUND, Browser, outreach, watched};
use crate::experiments::{self, RUNNING, deployment};
use crate::support::{Host, eventually, run};

/// What a terminal obeys, and what turns the text that follows.
const ACTING: &str = "calm \u{1b}[31mred\u{1b}[0m \u{202e}desrever";

#[test]
fn no_text_of_a_person_acts_on_a_terminal_or_on_what_follows_it() {
    let deployment = watched();
    let host = Host::start(&deployment).ready();
    (0..20).for_each(|i| drop(host.decide(&outreach(&format!("b-{i}")))));
    let admin = format!("http://{}", host.admin.address);
    let command =
        |name: &str| run(["experiment", name, "outreach-score", "--reason", ACTING, "--by", ACTING, "--admin", &admin]);
    let show = || run(["experiment", "show", "outreach-score", "--admin", &admin]);
    let printed = [
        command("pause"),
        command("pause"),
        show(),
        run(["report", "outreach-score", "--admin", &admin]),
        run(["status", "--admin", &admin]),
        command("abort"),
        show(),
    ];
    for cli in &printed {
        let text = format!("{}{}", cli.stdout, cli.stderr);
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
    }
    assert!(printed[2].stdout.contains("red") && printed[3].stdout.contains("red"), "{}", printed[2].stdout);
    let text = host.admin.get("/v1/experiments/outreach-score/report?format=text").text;
    assert!(!text.contains(['\u{1b}', '\u{202e}']) && text.contains("red"), "{text}");
    // A page keeps its direction to itself.
    let page = Browser::of(&host).page("/experiments/outreach-score");
    let said = page.matches("desrever").count();
    let isolated = page.split("<bdi>").skip(1).filter_map(|rest| rest.split("</bdi>").next());
    assert!(said >= 2 && isolated.filter(|text| text.contains("desrever")).count() >= 2, "{page}");
    // In JSON it is as it was said.
    let shown = host.admin.get("/v1/experiments/outreach-score").json();
    assert_eq!(shown["history"].as_array().and_then(|all| all.last()).expect("a change")["reason"], ACTING);
}

#[test]
fn a_line_break_in_a_text_of_a_person_begins_no_line() {
    let deployment = watched();
    let host = Host::start(&deployment).ready();
    let admin = format!("http://{}", host.admin.address);
    let forged = "approved         2026-01-01T00:00:00Z  by chief-risk-officer: agreed";
    for break_ in ["\n", "\r\n", "\u{2028}", "\u{85}"] {
        let reason = format!("calm{break_}{forged}");
        let paused =
            run(["experiment", "pause", "outreach-score", "--reason", &reason, "--by", "ann", "--admin", &admin]);
        assert_eq!(paused.code, Some(0), "{}", paused.stderr);
        run(["experiment", "resume", "outreach-score", "--reason", "on", "--by", "ann", "--admin", &admin]);
        for by in [format!("ann{break_}{forged}"), format!("{break_}bob")] {
            let refused = host.admin.post("/v1/freeze", &json!({ "reason": "r", "by": by }));
            assert_eq!((refused.status, &refused.json()["key"]), (422, &json!("by")), "{}", refused.text);
        }
    }
    let printed = [
        run(["experiment", "show", "outreach-score", "--admin", &admin]).stdout,
        run(["report", "outreach-score", "--admin", &admin]).stdout,
        run(["status", "--admin", &admin]).stdout,
    ];
    for text in &printed {
        assert!(!text.contains(['\r', '\u{2028}', '\u{85}']), "{text:?}");
        assert!(!text.lines().any(|line| line.trim_start().starts_with("approved")), "{text}");
    }
    assert!(printed[0].contains("calm\\napproved"), "{}", printed[0]);
}

#[test]
fn a_decisions_page_says_in_a_sentence_why_another_version_decided() {
    let deployment = deployment(RUNNING, true);
    let host = Host::start(&deployment).ready();
    let failed = eventually("the arm that traps is chosen", BOUND, || {
        let decided = (0..40).map(|n| experiments::decide(&host, &format!("b-{n}")));
        decided.into_iter().find(|decision| decision["served_by"] == "fallback_strategy")
    });
    let page = Browser::of(&host).page(&format!("/decisions/{}", failed["decision_id"].as_str().expect("an id")));
    let says = "The version that the experiment tries, q@1.0.0, failed (trap), so the pinned version, p@1.0.0, decided";
    assert!(page.contains(says), "{page}");
}

#[test]
fn a_text_report_says_its_verdict_once_and_has_no_endless_heading() {
    let deployment = watched();
    let path = "experiments/outreach-score.toml";
    deployment.edit(
        path,
        "\n[[arms]]\nname = \"control\"",
        "\nsegments = [\"context.stage\"]\n\n[[arms]]\nname = \"control\"",
    );
    let host = Host::start(&deployment).ready();
    let stages = ["early", "a-rather-late-one"];
    let mut last = String::new();
    for i in 0..60 {
        let mut request = outreach(&format!("b-{i}"));
        request["context"]["stage"] = json!(stages[i % 2]);
        last = host.decide(&request)["decision_id"].as_str().expect("an id").to_owned();
    }
    let mut heard = 0;
    let text = eventually("segments are known", std::time::Duration::from_secs(40), || {
        // Units are mature once the outcome's feed was heard of after their window.
        heard += 1;
        let cured = json!({ "id": format!("o-{heard}"), "name": "cured", "value": 1, "decision_id": last });
        assert_eq!(host.public.post("/v1/outcomes", &json!({ "outcomes": [cured] })).status, 200);
        let text = host.admin.get("/v1/experiments/outreach-score/report?format=text").text;
        (text.contains("= early") && text.contains("= a-rather-late-one")).then_some(text)
    });
    let verdict = text.lines().find_map(|line| line.strip_prefix("HOLD: ")).expect("a verdict");
    assert_eq!(text.matches(verdict).count(), 1, "{text}");
    assert!(text.contains("hold: as above"), "{text}");
    let body = text.split_once("\nguardrails\n").expect("guardrails").1;
    let headings = ["segments", "cured"].map(|name| body.split_once(&format!("\n{name}\n")).expect(name).1);
    for note in headings {
        let note: Vec<&str> = note.lines().take(3).collect();
        assert!(note.iter().all(|line| line.chars().count() <= 110), "{note:?}");
    }
    // Segments stand in columns.
    let columns: Vec<usize> = text
        .lines()
        .filter(|line| line.starts_with("  context.stage = "))
        .filter_map(|line| line.find("cured in score"))
        .collect();
    assert!(columns.len() >= 2 && columns.iter().all(|at| *at == columns[0]), "{text}");
}
