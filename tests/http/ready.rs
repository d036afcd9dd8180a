//! `/healthz` and `/readyz`.

use std::time::Duration;

use super::{outreach, problem};
use crate::support::{Host, collections, eventually, outreach_rules};

#[test]
fn a_host_without_its_pinned_strategy_is_live_not_ready_and_says_what_is_missing() {
    let deployment = collections();
    deployment.remove("plugins/outreach-rules-1.0.0.wasm");
    let host = Host::start(&deployment);
    for client in [&host.public, &host.admin] {
        let health = client.get("/healthz");
        assert_eq!((health.status, health.text.as_str()), (200, "ok\n"));
        let detail = problem(&client.get("/readyz"), 503, "not-ready");
        assert!(detail.contains("collections-outreach") && detail.contains("/v1/deployment"), "{detail}");
        for inside in ["outreach-rules", "1.0.0", "sha256"] {
            assert!(!detail.contains(inside), "{detail}");
        }
    }
    let point = host.admin.get("/v1/deployment").json()["decision_points"][0].clone();
    assert!(point["unready"].as_str().is_some_and(|why| why.contains("is not there")), "{point}");
    let decision = host.decide(&outreach("b-1"));
    assert_eq!(decision["served_by"], "fallback_action");
    assert_eq!(decision["degraded"], serde_json::json!(["strategy:outreach-rules:not_loaded"]));

    deployment.write("plugins/outreach-rules-1.0.0.wasm", outreach_rules());
    eventually("the strategy is there", Duration::from_secs(20), || {
        (host.public.get("/readyz").status == 200).then_some(())
    });
    assert_eq!(host.public.get("/readyz").text, "ready\n");
    assert_eq!(host.decide(&outreach("b-1"))["strategy"]["name"], "outreach-rules");
}
