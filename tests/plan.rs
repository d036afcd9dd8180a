//! What an experiment can show is said before it is run, by the code that would run it.

use serde_json::{Value, json};

use crate::experiments::{RUNNING, deployment, enter};
use crate::support::{Host, root, run};

fn better() -> String {
    root().join("host/demo/sixty/better.toml").to_str().expect("a path").to_owned()
}

const TRAFFIC: [&str; 8] =
    ["--units-per-day", "1000", "--base", "cured_14d=0.31", "--base", "complaints=0.02", "--base", "calls=1.6:1.5"];

#[test]
fn a_spec_is_planned_with_what_is_known_of_its_traffic() {
    let file = better();
    let plan = |more: &[&str]| {
        let all: Vec<&str> =
            ["experiment", "plan", &file].into_iter().chain(TRAFFIC).chain(more.iter().copied()).collect();
        run(all)
    };
    let planned = plan(&["--effect", "0.05", "--runs", "20", "--format", "json"]);
    assert_eq!(planned.code, Some(0), "{}", planned.stderr);
    let planned: Value = serde_json::from_str(&planned.stdout).expect("JSON");
    let scenarios = planned["plan"]["scenarios"].as_array().expect("scenarios");
    let assumed: Vec<&Value> = scenarios.iter().map(|s| &s["assumed"]).collect();
    let worlds = [
        "nothing",
        "effect",
        "harm",
        "harm",
        "conflict",
        "drift",
        "dead_feed",
        "wrong_name",
        "broken_split",
        "half_missing",
        "one_segment",
    ];
    assert_eq!(assumed, worlds, "{planned}");
    let share = |at: usize, key: &str| scenarios[at][key].as_f64().expect("a share");
    assert!(share(0, "false_wins") <= 0.1 && share(1, "won") >= 0.9 && share(2, "stopped") >= 0.9, "{planned}");
    let needs = &planned["plan"]["needs"];
    // Twice 0.31 (1 - 0.31) and 0.36 (1 - 0.36), by the square of 2.8016 through 0.05.
    let units = needs["fixed"]["units"].as_f64().expect("units");
    assert!((units - 2790.0).abs() < 20.0, "{needs}");
    let text = plan(&["--effect", "0.05", "--runs", "20"]).stdout;
    assert!(text.contains("ships what is better") && text.contains("'complaints' is worse by"), "{text}");
    assert!(text.contains("no outcome 'cured' was ever posted"), "{text}");
    assert!(text.contains("is silent: it was last posted at day ") && !text.contains("1970"), "{text}");
    let wrong = plan(&["--base", "nothing=1"]);
    assert!(
        wrong.code == Some(1) && wrong.stderr.contains("valid: cured_14d, complaints, calls, failures"),
        "{}",
        wrong.stderr
    );
    let share = plan(&["--base", "cured_14d=31"]);
    assert!(share.stderr.contains("a share from 0 to 1"), "{}", share.stderr);
    let lacks = run(["experiment", "plan", &file]);
    assert!(lacks.code == Some(1) && lacks.stderr.contains("--base calls=MEAN:SD"), "{}", lacks.stderr);
}

#[test]
fn a_ledger_tells_of_traffic_and_baselines() {
    let metric = "\n[[metrics]]\nname = \"cured\"\nrole = \"goal\"\noutcome = \"cured\"\nwindow = \"4s\"\nplanned_units = 400\n\
                  [[metrics]]\nname = \"gone\"\nrole = \"secondary\"\nsource = \"decisions\"\noutcome = \"go\"\naggregate = \"count\"\nwindow = \"4s\"\n";
    let spec = format!("{RUNNING}{metric}");
    let deployment = deployment(&spec, false);
    let host = Host::start(&deployment).ready();
    enter(&host, 0..400);
    // Soon after they entered, however long the rest takes.
    let at = jiff::Timestamp::now().to_string();
    enter(&host, 0..400);
    let outcome = |i: u32| json!({ "id": format!("c-{i}"), "name": "cured", "value": 1.0, "at": at, "entity": { "borrower": format!("b-{i}") } });
    let outcomes: Vec<Value> = (0..100).map(outcome).collect();
    assert_eq!(host.public.post("/v1/outcomes", &json!({ "outcomes": outcomes })).status, 200);
    assert_eq!(host.stop(), Some(0));
    let plan = || {
        let (file, config) = (deployment.path().join("experiments/e.toml"), deployment.config());
        let [file, config] = [&file, &config].map(|path| path.to_str().expect("a path"));
        let args = [
            "experiment",
            "plan",
            file,
            "--config",
            config,
            "--effect",
            "0.1",
            "--runs",
            "20",
            "--days",
            "5",
            "--format",
            "json",
        ];
        let planned = run(args);
        // While nobody is mature, nothing is known.
        serde_json::from_str::<Value>(&planned.stdout).unwrap_or_default()
    };
    let planned = crate::support::eventually("all are mature", std::time::Duration::from_secs(20), || {
        let planned = plan();
        let mean = planned["traffic"]["baselines"]["cured"]["mean"].as_f64()?;
        ((mean - 0.25).abs() < 1e-9).then_some(planned)
    });
    let traffic = &planned["traffic"];
    assert_eq!((&traffic["units_per_day"], &traffic["decisions_per_unit"]), (&json!(400.0), &json!(2.0)), "{traffic}");
    assert!(traffic["baselines"]["gone"]["mean"].as_f64() >= Some(1.0), "{traffic}");
}
