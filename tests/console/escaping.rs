//! Whatever a person, a file or a request says stays text on every page.

use serde_json::json;

use super::{BOUND, Browser};
use crate::support::{Host, collections, eventually};

/// Markup that would run, end an attribute, or leave an SVG.
const MARKUP: &str = "<script>alert(1)</script>\\\"'><img src=x onerror=alert(1)>&amp;";

#[test]
fn markup_in_every_field_stays_text() {
    let plain = MARKUP.replace("\\\"", "\"");
    let deployment = collections();
    let path = "experiments/outreach-score.toml";
    deployment.edit(path, "owner = \"collections-science\"", &format!("owner = \"{MARKUP}\""));
    deployment.edit(
        path,
        "description = \"Does a score of the risk of default choose better outreach than the rules alone?\"",
        &format!("description = \"{MARKUP}\""),
    );
    let segments = "\nsegments = [\"context.stage\"]\n\n[[arms]]\nname = \"control\"";
    deployment.edit(path, "\n[[arms]]\nname = \"control\"", segments);
    let metric = format!("\n[[metrics]]\nname = \"cured\"\noutcome = \"{MARKUP}\"\nrole = \"goal\"\nwindow = \"1s\"\n");
    deployment.write(path, deployment.read(path) + &metric);
    let host = Host::start(&deployment).ready();
    let request = json!({
        "decision_point": "collections-outreach",
        "entities": { "borrower": plain, "loan": plain },
        "context": { "days_past_due": 12, "channel": plain, "stage": plain },
    });
    let id = host.decide(&request)["decision_id"].as_str().expect("an id").to_owned();
    let outcome = json!({ "outcomes": [{ "id": plain, "name": plain, "value": 1, "decision_id": id }] });
    assert_eq!(host.public.post("/v1/outcomes", &outcome).status, 200);
    let body = json!({ "reason": plain, "by": plain });
    assert_eq!(host.admin.post("/v1/experiments/outreach-score/pause", &body).status, 200);
    deployment.write("experiments/b.toml", "id = \"b\"\n\"<img src=x onerror=alert(1)>\" = 1\n");
    // What is a name has no markup in it, and whoever tried reads that as text.
    let arm = deployment.read(path).replace("id = \"outreach-score\"", "id = \"c\"");
    deployment.write("experiments/c.toml", arm.replace("name = \"control\"", &format!("name = \"{MARKUP}\"")));
    deployment.write("plugins/<img src=x onerror=alert(1)>.wasm", b"not wasm");
    let browser = Browser::of(&host);
    eventually("all of it is shown", BOUND, || {
        let page = browser.page("/");
        (page.contains("plugin failed") && page.contains("b.toml") && page.contains("c.toml: line")).then_some(())
    });
    let query = form_urlencoded::byte_serialize(plain.as_bytes()).collect::<String>();
    for path in [
        "/",
        "/experiments",
        &format!("/experiments?q={query}&state={query}"),
        "/experiments/outreach-score",
        "/experiments/outreach-score/resume",
        "/experiments/outreach-score/approve",
        "/experiments/b",
        "/experiments/c",
        &format!("/experiments/{query}"),
        &format!("/decisions/{id}"),
        &format!("/decisions?unit={query}"),
        &format!("/decisions?point={query}"),
        &format!("/sign-in?next={query}"),
        "/plugins",
        "/models",
        "/features",
        "/v1/experiments/outreach-score/report?format=html",
    ] {
        let text = browser.get(path).text;
        let lower = text.to_lowercase();
        assert!(!lower.contains("<script>") && !lower.contains("<img"), "{path}: {text}");
        assert!(!lower.contains("\"'>"), "an attribute is left at {path}: {text}");
    }
    let page = browser.page("/experiments/outreach-score");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{page}");
    assert!(browser.page(&format!("/decisions/{id}")).contains("&lt;img src=x onerror=alert(1)&gt;"));
}
