//! What a report says to those who read it, and that it says the same wherever it comes from.

use crate::experiments::{RUNNING, deployment, enter};
use crate::support::{Host, run};

#[test]
fn arms_stand_in_the_files_order_whether_a_host_or_its_ledger_is_asked() {
    // By the alphabet, control would come second, with the other arm's colour and dash.
    let deployment = deployment(&RUNNING.replace("name = \"next\"", "name = \"after\""), false);
    let host = Host::start(&deployment).ready();
    enter(&host, 0..100);
    let admin = format!("http://{}", host.admin.address);
    let ordered = |report: &str| {
        let at = |arm: &str| report.find(arm).unwrap_or(usize::MAX);
        at("\"control\": ") < at("\"after\": ")
    };
    let asked = run(["report", "e", "--format", "json", "--admin", &admin]).stdout;
    assert!(ordered(&asked), "{asked}");
    let missing = run(["report", "nobody", "--admin", &admin]);
    assert!(missing.code == Some(1) && missing.stderr.contains("no such experiment"), "{}", missing.stderr);
    assert_eq!(host.stop(), Some(0));
    let config = deployment.config();
    let read = run(["report", "e", "--format", "json", "--config", config.to_str().expect("a path")]).stdout;
    assert!(ordered(&read), "{read}");
}
