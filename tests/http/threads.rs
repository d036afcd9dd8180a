//! On which threads decisions are made.

use serde_json::json;

use crate::support::{Host, eventually, wat};

#[test]
fn a_long_decision_leaves_the_listeners_threads_without_a_trace_and_brief_ones_stay_there() {
    let deployment = wat::points(&[
        ("brief", wat::go("brief", "", "(i32.const 1024)")),
        ("long", wat::go("long", "", "(loop $again (br $again)) (unreachable)")),
    ]);
    deployment.edit("serin.toml", "wall_ms = 2000", "fuel = 1000000000000\nwall_ms = 200");
    let host = Host::start(&deployment).ready();
    let made = || ["listener", "deciding"].map(|on| host.metric(&format!("serin_decisions_total{{thread=\"{on}\"}}")));
    let decide = |point| host.decide(&json!({ "decision_point": point, "entities": { "borrower": "b-1" } }));
    // On a busy machine a thread may be away for longer than a brief run has.
    let [brief, moved] = eventually("one is made there", std::time::Duration::from_secs(60), || {
        assert_eq!(decide("brief")["served_by"], "strategy");
        Some(made()).filter(|[brief, _]| *brief > 0.0)
    });
    for count in 1..=5 {
        let decided = decide("long");
        let record = host.record(&decided);
        let attempts = record["attempts"].as_array().expect("a list");
        let (first, time_us) = (&attempts[0], attempts[0]["time_us"].as_u64().expect("a number"));
        assert_eq!((attempts.len(), &first["outcome"]["failure"]["kind"]), (1, &json!("deadline")), "{first}");
        assert!(time_us >= 150_000, "it has the whole of its time on a deciding thread: {time_us}");
        assert_eq!(made(), [brief, moved + f64::from(count)]);
        let id = decided["decision_id"].as_str().expect("an id");
        let replayed = host.admin.post(&format!("/v1/decisions/{id}/replay"), &json!({})).json();
        assert_eq!(replayed["identical"], true, "{replayed}");
    }
}
