//! Shadow arms: what a version would have done is known before anybody is exposed to it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::experiments::{decide, enter, report, taken};
use crate::support::{Deployment, Host, eventually, run, wat};

const SHADOWED: &str = r#"
id = "e"
decision_point = "p"
coverage = 0.0

[[arms]]
name = "control"
strategy = "p@1.0.0"
weight = 1.0

[[arms]]
name = "traps"
strategy = "q@1.0.0"
mode = "shadow"

[[arms]]
name = "same"
strategy = "p@1.0.0"
mode = "shadow"
sample = 0.25

[[arms]]
name = "other"
strategy = "r@1.0.0"
mode = "shadow"
"#;

/// A point that serves `go`, with shadows that trap, do the same, and serve `none`.
fn deployment() -> Deployment {
    let deployment = wat::points(&[("p", wat::go("p", "", "(i32.const 1024)"))]);
    for (name, action, body) in [("q", "go", "unreachable"), ("r", "none", "(i32.const 1024)")] {
        let manifest = wat::manifest(name, "1.0.0", "p", action);
        let guest = wat::guest(&manifest, &format!("{} {}", wat::PRELUDE, wat::decide(body)));
        deployment.write(&format!("plugins/{name}-1.0.0.wasm"), guest);
    }
    deployment.write("experiments/e.toml", SHADOWED);
    deployment
}

fn shadow<'r>(report: &'r Value, arm: &str) -> Option<&'r Value> {
    report["shadows"].as_array()?.iter().find(|shadow| shadow["arm"] == arm)
}

/// What became of a shadow's runs: those that ran, and those that were dropped.
fn runs(report: &Value, arm: &str) -> [u64; 2] {
    let of = |key: &str| shadow(report, arm).and_then(|shadow| shadow[key].as_u64()).unwrap_or(0);
    [of("decisions"), of("dropped")]
}

#[test]
fn a_shadow_shows_what_it_would_have_done_and_touches_nobody() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    assert_eq!(taken(&host), [], "not a single unit is exposed");
    // One after the other, and each waited for: nobody else waits, so nothing is dropped.
    for i in 100..300 {
        let answer = decide(&host, &format!("b-{i}"));
        assert_eq!((&answer["action"], &answer["served_by"]), (&json!("go"), &json!("strategy")), "{answer}");
        assert_eq!(answer["degraded"], json!([]));
    }
    let found = eventually("all shadows have run", Duration::from_secs(20), || {
        let found = report(&host);
        let all = |arm: &str| runs(&found, arm).iter().sum::<u64>() == 300;
        (all("traps") && all("other")).then_some(found)
    });
    let of = |arm: &str| shadow(&found, arm).expect("a shadow");
    let ran = runs(&found, "traps")[0];
    assert!(ran > 250, "{found}");
    let (agreement, failures) = (&of("traps")["agreement"], &of("traps")["failures"]);
    assert_eq!((agreement, failures), (&json!(0.0), &json!({ "trap": ran })), "{found}");
    assert_eq!(of("traps")["matrix"], json!({ "go": { "(no answer)": ran } }));
    assert_eq!((&of("other")["agreement"], &of("same")["agreement"]), (&json!(0.0), &json!(1.0)));
    assert_eq!(of("other")["matrix"], json!({ "go": { "none": runs(&found, "other")[0] } }));
    assert!((40..115).contains(&runs(&found, "same")[0]), "a quarter of 300: {found}");
    assert_eq!(found["units"]["entered"], 0);
    // Its failures are not the point's: no attempt of a record is a shadow's.
    let id = decide(&host, "b-1")["decision_id"].as_str().expect("an id").to_owned();
    let record = host.admin.get(&format!("/v1/decisions/{id}")).json();
    assert_eq!(record["attempts"].as_array().map(Vec::len), Some(1), "{record}");
    let admin = format!("http://{}", host.admin.address);
    let text = run(["report", "e", "--admin", &admin]).stdout;
    assert!(text.contains("shadow other: ") && text.contains("served go"), "{text}");
    let page = run(["report", "e", "--format", "html", "--admin", &admin]).stdout;
    let same = page.split("<h2>Shadow arm same</h2>").nth(1).expect("a shadow");
    // A cross of what served and what would have; where both agree stands out.
    assert!(
        same.contains("<th class=\"n\" scope=\"col\">go</th></tr></thead><tbody><tr><th scope=\"row\">go</th><td class=\"n\" data-label=\"go\"><b>"),
        "{same}"
    );
    let other = page.split("<h2>Shadow arm other</h2>").nth(1).expect("a shadow");
    assert!(
        other.contains("<th class=\"n\" scope=\"col\">none</th></tr></thead><tbody><tr><th scope=\"row\">go</th><td class=\"n\" data-label=\"none\">"),
        "{other}"
    );
}

#[test]
fn shadows_are_dropped_before_anything_else_and_that_is_told() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    // Batches side by side keep the deciding threads busy: what waits comes before any shadow.
    std::thread::scope(|scope| {
        for lane in 0..6 {
            let host = &host;
            scope.spawn(move || enter(host, lane * 1000..(lane + 1) * 1000));
        }
    });
    let mut decided = 6000;
    let found = eventually("each is run or dropped", Duration::from_secs(30), || {
        // A drop is told of with the next run.
        decide(&host, &format!("more-{decided}"));
        decided += 1;
        let found = report(&host);
        (runs(&found, "other").iter().sum::<u64>() + 5 >= decided).then_some(found)
    });
    assert!(runs(&found, "other")[1] > 0, "{found}");
    let [ran, dropped] =
        ["answer", "dropped"].map(|reason| host.metric(&format!("serin_shadow_runs_total{{reason=\"{reason}\"}}")));
    assert!(ran > 0.0 && dropped > 0.0, "{ran} and {dropped}");
}
