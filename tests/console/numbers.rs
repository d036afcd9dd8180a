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
