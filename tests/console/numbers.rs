//! What pages show of plugins and models is in the JSON API, too.

use serde_json::json;

use super::{BOUND, Browser};
use crate::support::{Host, collections, eventually, misbehaving, outcome, root};

#[test]
fn a_versions_open_breaker_is_on_its_page_and_in_its_json() {
    let deployment = misbehaving();
    let host = Host::start(&deployment).ready();
    let browser = Browser::of(&host);
    let breaker = || host.admin.get("/v1/plugins").json()["plugins"][0]["breaker"].clone();
    assert!(breaker().is_null());
    assert!(!browser.page("/plugins").contains("breaker open"));
    let spin =
        json!({ "decision_point": "misbehave", "entities": { "borrower": "b-1" }, "context": { "mode": "spin" } });
    let why = eventually("its breaker opens", BOUND, || {
        let ended = outcome(&host.record(&host.decide(&spin))).0;
        assert!(["fuel_exhausted", "breaker_open"].contains(&&*ended), "{ended}");
        breaker().as_str().map(str::to_owned)
    });
    assert!(why.contains("20 runs in a row"), "{why}");
    eventually("the page says it", BOUND, || {
        host.decide(&spin);
        browser.page("/plugins").contains(&why).then_some(())
    });
}

#[test]
fn what_a_feature_view_lacks_and_who_uses_a_version_is_on_its_page_and_in_its_json() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    // Nothing is known of anybody: the manifests' defaults take the place of what is missing.
    let decided: Vec<_> = (0..8).map(|i| host.decide(&super::outreach(&format!("b-{i}")))).collect();
    let record = host.record(&decided[0]);
    let view = host.admin.get("/v1/features").json()["views"]
        .as_array()
        .and_then(|views| views.iter().find(|view| view["name"] == "servicing").cloned())
        .expect("the view");
    assert_eq!((&view["decisions"], &view["decision_points"]), (&json!(8), &json!(["collections-outreach"])), "{view}");
    assert_eq!((&view["defaulted"]["contacts_7d"], &view["stale"]), (&json!(1.0), &json!({})), "{view}");
    assert_eq!(view["columns"]["contacts_7d"], "integer", "{view}");
    let browser = Browser::of(&host);
    let page = browser.page("/features");
    // Every column that decisions asked for, those without a default included.
    let asked = record["features"]["servicing"]["values"].as_object().expect("values");
    assert!(asked.len() > view["defaulted"].as_object().expect("shares").len(), "{record}");
    for (column, value) in asked {
        assert_eq!((value, &view["missing"][column]), (&json!(null), &json!(1.0)), "{column}: {view}");
        let row = format!("<code>{column}</code></th><td class=\"n\" data-label=\"missing\">100\u{a0}%</td>");
        assert!(page.replace("100 %", "100\u{a0}%").contains(&row), "{row}: {page}");
    }

    let plugins = host.admin.get("/v1/plugins").json()["plugins"].clone();
    let used_by = |name: &str| {
        let plugin = plugins.as_array().expect("a list").iter().find(|plugin| plugin["name"] == name).expect(name);
        plugin["used_by"].clone()
    };
    let rules = json!([
        { "role": "pinned", "decision_point": "collections-outreach", "experiment": null, "arm": null },
        { "role": "arm", "decision_point": "collections-outreach", "experiment": "outreach-score", "arm": "control" },
    ]);
    assert_eq!(used_by("outreach-rules"), rules);
    assert_eq!(used_by("outreach-score")[0]["arm"], "score");
    let page = browser.page("/plugins");
    assert!(page.contains("pinned by <b>collections-outreach</b>") && page.contains("arm <b>score</b> of"), "{page}");
}

#[test]
fn a_models_golden_rows_and_its_card_are_on_its_page_and_in_its_json() {
    let deployment = collections();
    let card = std::fs::read_to_string(root().join("host/demo/models/default-risk.md")).expect("the card");
    deployment.write("models/default-risk.md", &card);
    let golden: serde_json::Value =
        serde_json::from_str(&deployment.read("models/default-risk.golden.json")).expect("JSON");
    let config = deployment.read("serin.toml");
    deployment.write("serin.toml", format!("{config}\n[models.gone.\"1.0.0\"]\npath = \"models/gone.onnx\"\n"));
    let host = Host::start(&deployment).ready();
    let answer = host.admin.get("/v1/models").json();
    let find = |id: &str| answer["models"].as_array().expect("a list").iter().find(|model| model["id"] == id).cloned();
    let model = find("default-risk@1.0.0").expect("the model");
    assert_eq!((&model["state"], &model["error"]), (&json!("in_force"), &json!(null)));
    let loaded = &model["loaded"];
    assert_eq!(loaded["golden"]["rows"], golden["rows"].as_array().expect("rows").len());
    assert_eq!((&loaded["golden"]["tolerance"], &loaded["card"]), (&golden["tolerance"], &json!(card)));
    assert_eq!(loaded["decision_points"], json!(["collections-outreach"]));
    assert_eq!((&loaded["inputs"], &loaded["breaker_open"]), (&golden["inputs"], &json!(false)));
    let gone = find("gone@1.0.0").expect("the other");
    assert_eq!((&gone["state"], &gone["loaded"]), (&json!("failed"), &json!(null)), "{gone}");
    let page = Browser::of(&host).page("/models");
    let rows = serin_core::numbers::grouped(loaded["golden"]["rows"].as_u64().expect("a number"));
    for said in [&*format!("{rows} rows"), "golden scores agree", "in force", "failed", "Model card"] {
        assert!(page.contains(said), "{said}: {page}");
    }
}
