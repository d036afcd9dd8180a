//! The overview of a large deployment: how long it takes and how much it is.

use std::fmt::Write as _;
use std::time::Instant;

use super::Browser;
use crate::support::{Deployment, Host, outreach_rules};

const POINTS: usize = 50;
const EXPERIMENTS: usize = 200;

/// A deployment with many decision points, and with experiments at one of them in slots of their own.
fn large() -> Deployment {
    let mut config = "[layers.wide]\nunit = \"borrower\"\nsalt = \"wide\"\n".to_owned();
    let columns = "contacts_7d = \"integer\"\nlast_contact_days = \"number\"\npromises_broken = \"integer\"\nhardship_flag = \"boolean\"\nbalance_due = \"number\"\n";
    let _ = writeln!(config, "[features.servicing]\nentity = \"loan\"\n[features.servicing.columns]\n{columns}");
    for at in 0..POINTS {
        let name = if at == 0 { "collections-outreach".to_owned() } else { format!("point-{at}") };
        // A strategy is made for one point; the others wait for theirs, and are shown all the same.
        let strategy = if at == 0 { "outreach-rules@1.0.0" } else { "other@1.0.0" };
        let _ = writeln!(
            config,
            "[decision_points.{name}]\nstrategy = \"{strategy}\"\nlayer = \"wide\"\nentities = [\"borrower\", \"loan\"]\n\
             context = {{ days_past_due = \"integer\", channel = \"text?\", stage = \"text?\" }}\n\
             actions = [\"no_contact\", \"email\", \"sms_reminder\", \"call\", \"hardship_offer\"]\nfallback = {{ action = \"no_contact\" }}\n"
        );
    }
    let deployment = Deployment::new(&config);
    deployment.write("plugins/outreach-rules-1.0.0.wasm", outreach_rules());
    for at in 0..EXPERIMENTS {
        let slot = [at, at + 1].map(|edge| edge as f64 / EXPERIMENTS as f64);
        let arm =
            |name: &str| format!("[[arms]]\nname = \"{name}\"\nstrategy = \"outreach-rules@1.0.0\"\nweight = 0.5\n");
        let text = format!(
            "id = \"experiment-{at}\"\ndecision_point = \"collections-outreach\"\nowner = \"science\"\ndescription = \"One of many\"\n\
             slot = [{}, {}]\n{}{}[[metrics]]\nname = \"cured\"\nrole = \"goal\"\noutcome = \"cured\"\nwindow = \"14d\"\n\
             [[guardrails]]\nmetric = \"failures\"\nmax_increase = 0.01\n",
            slot[0],
            slot[1],
            arm("control"),
            arm("next")
        );
        deployment.write(&format!("experiments/experiment-{at}.toml"), text);
    }
    deployment
}

#[test]
fn an_overview_of_hundreds_of_experiments_is_small_and_there_at_once() {
    let deployment = large();
    let host = Host::start(&deployment);
    let browser = Browser::of(&host);
    let running = crate::support::eventually("all of them run", std::time::Duration::from_secs(60), || {
        let all = host.admin.get("/v1/experiments").json();
        let running = all["experiments"].as_array()?.iter().filter(|e| e["state"] == "running").count();
        (running == EXPERIMENTS).then_some(running)
    });
    assert_eq!(running, EXPERIMENTS);
    let mut took: Vec<_> = (0..5)
        .map(|_| {
            // What was drawn before is shown for a second.
            std::thread::sleep(std::time::Duration::from_millis(1100));
            let begun = Instant::now();
            let page = browser.page("/");
            assert!(page.len() < 300 << 10, "{} bytes", page.len());
            assert!(page.contains("experiment-199") && page.contains("point-49"));
            begun.elapsed()
        })
        .collect();
    took.sort();
    println!("overview: {took:?}");
    // The page's bound is 100 ms; a test's machine does other things as well.
    assert!(took[2] < std::time::Duration::from_millis(400), "{took:?}");
}
