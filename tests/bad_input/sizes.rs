//! Texts that would be too much for their parsers: a stack overflow ends the process, and the
//! same file would end it again at each start.

use serde_json::Value;

use super::{blamed, findings, forced, shown};
use crate::support::{Host, collections};

/// Conditions, each with what has to be said of it.
fn conditions() -> Vec<(String, &'static str)> {
    let around = |open: &str, middle: &str, close: &str, n: usize| open.repeat(n) + middle + &close.repeat(n);
    vec![
        (format!("0 < 1{}", "+1".repeat(5_000)), "bytes; at most 8192"),
        (format!("0 < 1{}", "+1".repeat(4_000)), "more than 512 operators"),
        (around("(", "true", ")", 70_000), "bytes; at most 8192"),
        (around("(", "true", ")", 4_000), "nested deeper than 32"),
        (around("(", "true", ")", 33), "nested deeper than 32"),
        (around("!", "true", "", 70_000), "bytes; at most 8192"),
        (around("!", "true", "", 8_000), "more than 512 operators"),
        (format!("0 < {}", around("-", "1", "", 8_000)), "more than 512 operators"),
        (around("true ? true : ", "false", "", 500), "nested deeper than 32"),
        (around("true ? ", "true", " : false", 500), "nested deeper than 32"),
        (around("[", "1", "]", 4_000), "nested deeper than 32"),
        (around("{1: ", "1", "}", 1_000), "nested deeper than 32"),
        (around("[1].exists(x, ", "true", ")", 400), "nested deeper than 32"),
        (around("has(context.", "channel", ")", 400), "nested deeper than 32"),
        (around("context.", "channel", "", 1_000), "more than 512 operators"),
        (around("size(", "'a'", ")", 33), "nested deeper than 32"),
        (format!("context.channel == '{}'", "x".repeat(9_000)), "bytes; at most 8192"),
        // Within every bound, and yet too much.
        (format!("0 < 1{}", "+1".repeat(500)), "larger than 256 nodes"),
        (format!("context.channel{} == ''", "+context.channel".repeat(9)), "more than 8 times"),
    ]
}

/// Nested beyond what a parser of TOML goes through.
fn nested() -> Vec<String> {
    let deep = 100_000;
    vec![
        format!("x = {}{}", "[".repeat(deep), "]".repeat(deep)),
        format!("x = {}1{}", "{ a = ".repeat(deep), " }".repeat(deep)),
        format!("x.{}y = 1", "a.".repeat(deep)),
        format!("[x.{}y]\n", "a.".repeat(deep)),
    ]
}

fn toml(condition: &str) -> String {
    format!("\"{}\"", condition.replace('\\', "\\\\").replace('"', "\\\""))
}

#[test]
fn an_experiment_that_is_too_much_for_a_parser_holds_up_only_itself() {
    let deployment = collections();
    let good = deployment.read("experiments/outreach-score.toml");
    let conditions = conditions();
    let another = |i: usize| {
        good.replace("id = \"outreach-score\"", &format!("id = \"case-{i}\"")).replace("[0.0, 0.5]", "[0.5, 1.0]")
    };
    for (i, (condition, _)) in conditions.iter().enumerate() {
        let text = another(i).replace("\"context.days_past_due >= 5\"", &toml(condition));
        deployment.write(&format!("experiments/case-{i}.toml"), text);
    }
    for (i, text) in nested().iter().enumerate() {
        deployment.write(&format!("experiments/nested-{i}.toml"), format!("{text}\n{}", another(100 + i)));
    }
    let found = findings(&deployment);
    for (i, (condition, needle)) in conditions.iter().enumerate() {
        blamed(&found, &format!("/case-{i}.toml"), &["eligible: ", needle]);
        assert!(condition.len() < 9_000 || found.iter().all(|text| text.len() < 3_000), "{found:?}");
    }
    // A host starts over them, and goes on to read what changes.
    let host = Host::start(&deployment).ready();
    let all = shown(&host.admin, "/v1/experiments", "every file", |all| {
        (all["experiments"].as_array()?.len() == 1 + conditions.len() + nested().len()).then(|| all.clone())
    });
    let experiment = |all: &Value, id: &str| {
        all["experiments"].as_array().into_iter().flatten().find(|e| e["id"] == id).cloned().unwrap_or_default()
    };
    for (i, (_, needle)) in conditions.iter().enumerate() {
        let shown = experiment(&all, &format!("case-{i}"));
        assert!(shown["error"].as_str().is_some_and(|error| error.contains(needle)), "{shown}");
    }
    for i in 0..nested().len() {
        let shown = experiment(&all, &format!("nested-{i}"));
        assert!(
            shown["error"].as_str().is_some_and(|error| error.contains("recurs") && error.len() < 3_000),
            "{shown}"
        );
    }
    assert_eq!(experiment(&all, "outreach-score")["state"], "running");
    assert_eq!(host.admin.post("/v1/decisions", &forced()).json()["served_by"], "arm");
    deployment.write("experiments/case-0.toml", another(0));
    shown(&host.admin, "/v1/experiments", "an edit after them", |all| {
        (experiment(all, "case-0")["state"] == "running").then_some(())
    });
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn a_configuration_that_is_too_much_for_a_parser_is_not_applied() {
    const EXCLUDE: &str = "exclude = \"has(features.servicing.cease_contact) && features.servicing.cease_contact\"";
    let deployment = collections();
    let good = deployment.read("serin.toml");
    let host = Host::start(&deployment).ready();
    let texts = conditions().into_iter().map(|(condition, needle)| {
        (good.replace(EXCLUDE, &format!("exclude = {}", toml(&condition))), format!("exclude: CEL|{needle}"))
    });
    let nested = nested().into_iter().map(|text| (format!("{text}\n{good}"), "recurs".to_owned()));
    for (text, needles) in texts.chain(nested) {
        deployment.write("serin.toml", text);
        shown(&host.admin, "/v1/deployment", &needles, |all| {
            let error = all["config_error"].as_str()?;
            (needles.split('|').all(|needle| error.contains(needle)) && error.len() < 3_000).then_some(())
        });
    }
    let found = findings(&deployment);
    blamed(&found, "serin.toml", &["recurs"]);
    assert_eq!(host.admin.post("/v1/decisions", &forced()).json()["served_by"], "arm");
    deployment.write("serin.toml", good.replace("retain = \"400d\"", "retain = \"401d\""));
    shown(&host.admin, "/v1/deployment", "an edit after them", |all| all["config_error"].is_null().then_some(()));
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn golden_vectors_that_are_nested_without_end_are_refused() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    for text in ["[".repeat(500_000), "{\"a\":".repeat(500_000)] {
        deployment.write("models/default-risk.golden.json", text);
        shown(&host.admin, "/v1/deployment", "the error", |all| {
            all["models"][0]["error"].as_str()?.contains("golden.json").then_some(())
        });
    }
    blamed(&findings(&deployment), "golden.json", &[]);
    assert_eq!(host.admin.post("/v1/decisions", &forced()).json()["served_by"], "arm");
}
