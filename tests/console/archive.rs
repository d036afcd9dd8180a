//! Experiments that have ended, once their file is gone or is another one's.

use serde_json::json;

use super::{BOUND, Browser, outreach, watched};
use crate::support::{Deployment, Host, eventually};

const PATH: &str = "experiments/outreach-score.toml";
const AT: &str = "/experiments/outreach-score";

/// What has to be found of it, whatever became of its file.
fn is_found(host: &Host) {
    let browser = Browser::of(host);
    for query in ["state=ended", "q=outreach-score", "q=collections-science+risk", "state=aborted"] {
        let page = browser.page(&format!("/experiments?{query}"));
        assert!(page.contains(&format!("href=\"{AT}\"")), "{query}: {page}");
        assert!(page.contains("verdict at its end"), "{query}: {page}");
    }
    assert!(browser.page("/").contains("Archive: 1 ended"));
    let page = browser.page(AT);
    assert!(page.contains("As of its end") && page.contains("strange calls"), "{page}");
    let shown = host.admin.get(&format!("/v1{AT}")).json();
    assert_eq!((&shown["state"], &shown["spec"]["owner"]), (&json!("aborted"), &json!("collections-science")));
    let all = host.admin.get("/v1/experiments").json();
    assert!(all["experiments"].as_array().expect("a list").iter().any(|known| known["id"] == "outreach-score"));
    for said in ["It ended at step 1 of 2", "(its last)"] {
        assert!(page.contains(said), "{said}: {page}");
    }
    assert!(!page.contains("(now)") && !page.contains("of its slot"), "{page}");
    let report = host.admin.get(&format!("/v1{AT}/report")).json();
    let listed = browser.page("/experiments?state=ended");
    for said in [&format!("{}<br><span class=\"small\">", report["units"]["entered"]), "failures", "takes no units"] {
        assert!(listed.contains(said), "{said}: {listed}");
    }
    assert!(report["units"]["entered"].as_u64().is_some_and(|units| units > 5), "{report}");
    let refused = host.admin.post(&format!("/v1{AT}/resume"), &json!({ "reason": "again", "by": "ann" }));
    assert_eq!(refused.status, 409, "{}", refused.text);
}

/// A host whose experiment has ended, and has its report.
fn ended(deployment: &Deployment) -> Host {
    let host = Host::start(deployment).ready();
    (0..60).for_each(|i| drop(host.decide(&outreach(&format!("b-{i}")))));
    eventually("its units are known", BOUND, || {
        let shown = host.admin.get(&format!("/v1{AT}")).json();
        shown["summary"]["units"].as_u64().filter(|units| *units > 5).map(drop)
    });
    let body = json!({ "reason": "strange calls", "by": "ann" });
    assert_eq!(host.admin.post(&format!("/v1{AT}/abort"), &body).status, 200);
    let browser = Browser::of(&host);
    eventually("its report is kept", BOUND, || {
        browser.page("/experiments?state=ended").contains("verdict at its end").then_some(())
    });
    host
}

#[test]
fn an_ended_experiment_is_found_when_another_one_has_its_file() {
    let deployment = watched();
    let host = ended(&deployment);
    let next = deployment.read(PATH).replace("id = \"outreach-score\"", "id = \"outreach-next\"");
    deployment.write(PATH, next.replace("[0.0, 0.5]", "[0.5, 1.0]"));
    let running = |host: &Host| {
        eventually("the other one runs", BOUND, || {
            (host.admin.get("/v1/experiments/outreach-next").json()["state"] == "running").then_some(())
        });
    };
    running(&host);
    is_found(&host);
    let again = host.admin.get(&format!("/v1{AT}/report?recompute=true"));
    assert!(again.status == 409 && again.text.contains("its file is gone"), "{}", again.text);
    assert_eq!(host.stop(), Some(0));
    let host = Host::start(&deployment).ready();
    running(&host);
    is_found(&host);
}

#[test]
fn an_ended_experiment_is_found_when_its_file_is_gone() {
    let deployment = watched();
    let host = ended(&deployment);
    deployment.remove(PATH);
    eventually("that is seen", BOUND, || {
        let why = host.admin.get(&format!("/v1{AT}")).json()["why"].clone();
        why.as_str().filter(|why| why.contains("its file is gone")).map(drop)
    });
    is_found(&host);
    assert_eq!(host.stop(), Some(0));
    // The archive's note of the file is gone, too: the ledger knows of the experiment all the same.
    deployment.remove("data/archive/applied/experiment-outreach-score.toml");
    is_found(&Host::start(&deployment).ready());
}
