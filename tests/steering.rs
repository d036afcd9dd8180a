//! The loop that steers experiments, step by step: what is judged on one status is not carried out
//! on another, and what is known of the units does not depend on how they were read.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use serin::clock::{Budget, Clock as _, SimulatedClock};
use serin::experiments::{AnalysisSubject, Controller, Followed, Motive, Observer, carry_out, judge, read_whole, tick};
use serin::ledger::{
    Arrival, Commit, DecisionRow, Durability, Event, ExposureInput, Ledger, LedgerError, OutcomeInput,
    OutcomeSubject as About, ReversalInput, WatermarkInput,
};
use serin::telemetry::Metrics;
use serin_core::analysis::{Analysis, Course, FeedState, Observed, analyse, warnings};
use serin_core::experiment::{Command, Experiment, State};

use crate::experiments::{command, decide, deployment, heard, why};
use crate::support::{Host, eventually, run, two_arms};

const SPEC: &str = two_arms!(
    r#"
ramp = [{ coverage = 0.2, hold = "1s" }, { coverage = 1.0 }]
"#,
    r#"
[[metrics]]
name = "cured"
role = "goal"
outcome = "cured"
aggregate = "sum"
window = "1h"
"#
);

/// A ledger, and those who steer by it.
pub(crate) struct Loop {
    _dir: tempfile::TempDir,
    pub(crate) path: std::path::PathBuf,
    pub(crate) clock: Arc<SimulatedClock>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) controller: Controller,
    pub(crate) observer: Observer,
    spec: Arc<Experiment>,
}

impl Loop {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("serin.db");
        let metrics = Arc::new(Metrics::default());
        let clock = Arc::new(SimulatedClock::new(1_000_000, 1));
        let ledger = Arc::new(Ledger::open(&path, Durability::Process, Arc::clone(&metrics)).expect("opens"));
        let controller = Controller::open(Arc::clone(&ledger), clock.clone(), metrics).expect("opens");
        let observer = Observer::new(Arc::clone(&ledger));
        let spec = Arc::new(Experiment::parse(SPEC).expect("valid"));
        let steering = Self { _dir: dir, path, clock, ledger, controller, observer, spec };
        assert!(steering.controller.applied(&steering.spec, "p@1.0.0"), "it starts on apply");
        steering.follow();
        steering
    }

    pub(crate) fn subject(&self) -> AnalysisSubject {
        let course = Course::of(&self.controller.status("e"), &"borrower".into());
        AnalysisSubject { spec: Arc::clone(&self.spec), course, pin: "p@1.0.0".to_owned() }
    }

    fn follow(&self) {
        self.observer.follow(&[self.subject()], |id| self.controller.has_started(id));
    }

    pub(crate) fn person(&self, command: &Command) {
        let motive = Motive { by: "ann".into(), reason: "a test".into(), evidence: json!(null) };
        self.controller.command(&self.spec, command, motive, None).expect("possible");
    }

    pub(crate) fn decision(&self, id: &str, unit: &str, arm: &str) {
        self.commit(self.row(id, unit, arm));
    }

    /// A decision in the experiment.
    pub(crate) fn row(&self, id: &str, unit: &str, arm: &str) -> DecisionRow {
        DecisionRow {
            identity: None,
            decision_id: id.to_owned(),
            time_ms: self.clock.now_ms(),
            point: "p".into(),
            unit: Some(unit.to_owned()),
            unit_kind: Some("borrower".into()),
            assignment: Some(("e".to_owned(), arm.to_owned())),
            served_by: "arm",
            outcome: Some("answer"),
            action: "go".into(),
            took_us: 10,
            forced: false,
            batch: None,
            attributes: None,
            record: b"{}".to_vec(),
            dictionary: None,
            digest: String::new(),
        }
    }

    pub(crate) fn commit(&self, row: DecisionRow) {
        let commit = Commit { decisions: vec![row], ..Commit::default() };
        self.ledger.commit(commit).expect("queued").blocking_recv().expect("answered").expect("committed");
    }

    pub(crate) fn event(&self, event: Event) {
        let arrival = Arrival::at(self.clock.now_ms(), 5 * 60 * 1000);
        let done = self.ledger.events(vec![event], arrival).expect("queued");
        done.blocking_recv().expect("answered").expect("stored");
    }

    pub(crate) fn outcome(&self, id: &str, subject: About, value: f64) {
        let at_ms = self.clock.now_ms();
        self.event(Event::Outcome(OutcomeInput { id: id.to_owned(), name: "cured".to_owned(), value, at_ms, subject }));
    }

    pub(crate) fn of_unit(unit: &str) -> About {
        About::Entity("borrower".to_owned(), unit.to_owned())
    }

    /// Compares what a host knows that has followed all along with what the ledger says as a whole.
    pub(crate) fn agree(&self) {
        self.observer.read().expect("reads");
        let now_ms = self.clock.now_ms() + 10_000_000;
        let shown = |observed: &Observed, analysis: &Analysis| {
            format!("{analysis:?} {:?} {:?}", observed.before_entry(), warnings(observed, analysis))
        };
        let live = self.observer.each(|followed, _| {
            let (observed, analysis, _) = followed.analysis(now_ms);
            Some(shown(observed, analysis))
        });
        let ledger = serin::ledger::LedgerReader::open(&self.path).expect("opens");
        let whole = read_whole(&ledger, &self.subject()).expect("reads");
        assert_eq!(live, [shown(&whole, &analyse(&whole, now_ms))]);
    }
}

#[test]
fn a_step_that_was_judged_before_a_persons_pause_does_not_follow_it() {
    let steering = Loop::new();
    steering.clock.advance(Duration::from_secs(2));
    let proposals = judge(&steering.controller, &steering.observer, steering.clock.now_ms());
    assert!(matches!(&*proposals, [proposal] if proposal.command == Command::Promote), "{proposals:?}");
    steering.person(&Command::Pause);
    assert!(!carry_out(&steering.controller, proposals));
    assert_eq!(steering.controller.status("e").state, State::Paused);
    // Nor does any that is judged afterwards, however long that is.
    for _ in 0..10 {
        steering.clock.advance(Duration::from_secs(60));
        assert!(!tick(&steering.controller, &steering.observer, steering.clock.now_ms()));
    }
    let status = steering.controller.status("e");
    assert_eq!((status.state, status.step, status.applied), (State::Paused, 0, 0.2));
    steering.person(&Command::Resume);
    steering.clock.advance(Duration::from_secs(2));
    assert!(tick(&steering.controller, &steering.observer, steering.clock.now_ms()));
    assert_eq!(steering.controller.status("e").step, 1, "a person's resume lets it go on");
}

#[test]
fn a_name_that_was_posted_before_an_experiment_began_is_known_to_who_follows_it_from_then() {
    let steering = Loop::new();
    let never_posted = |observer: &Observer| {
        observer.read().expect("reads");
        observer.each(|followed, _| Some(followed.observed.never_posted().len()))
    };
    assert_eq!(never_posted(&steering.observer), [1]);
    // About a decision that is not known it counts for nobody.
    steering.outcome("ahead", About::Decision("d-1".to_owned()), 1.0);
    steering.outcome("loan", About::Entity("loan".to_owned(), "l-1".to_owned()), 1.0);
    assert_eq!(never_posted(&steering.observer), [1]);
    steering.agree();
    steering.outcome("known", Loop::of_unit("b-1"), 1.0);
    assert_eq!(never_posted(&steering.observer), [0]);
    steering.agree();
    let later = Observer::new(Arc::clone(&steering.ledger));
    assert!(never_posted(&later).is_empty(), "it stands at the ledger's end");
    later.follow(&[steering.subject()], |_| true);
    assert_eq!(never_posted(&later), [0]);
}

#[test]
fn what_is_known_of_units_is_the_same_however_they_were_read() {
    let steering = Loop::new();
    let read = || steering.observer.read().expect("reads");
    let pass = || steering.clock.advance(Duration::from_millis(5));
    let arm = |i: usize| ["control", "next"][i % 2];
    for i in 0..40 {
        let (id, unit) = (format!("d-{i}"), format!("b-{}", i % 25));
        // Before the unit has entered, and about a decision that is not there yet.
        steering.outcome(&format!("early-{i}"), Loop::of_unit(&unit), 1.0);
        steering.outcome(&format!("ahead-{i}"), About::Decision(id.clone()), 1.0);
        if i % 3 == 0 {
            read();
        }
        steering.decision(&id, &unit, arm(i % 25));
        if i % 4 == 0 {
            read();
        }
        pass();
        steering.outcome(&format!("of-{i}"), About::Decision(id.clone()), 0.1 * i as f64);
        steering.event(Event::Exposure(ExposureInput { id: None, decision_id: id, at_ms: steering.clock.now_ms() }));
        if i % 7 == 0 {
            let until_ms = steering.clock.now_ms();
            steering.event(Event::Watermark(WatermarkInput { name: "cured".to_owned(), until_ms }));
        }
        if i % 5 == 0 {
            let taken_back = |id: String, reverses: String| {
                steering.event(Event::Reversal(ReversalInput { id, reverses, at_ms: steering.clock.now_ms() }));
            };
            taken_back(format!("no-{i}"), format!("of-{i}"));
            taken_back(format!("no-again-{i}"), format!("of-{i}"));
            // And one that comes before what it takes back.
            taken_back(format!("first-{i}"), format!("later-{i}"));
            read();
            steering.outcome(&format!("later-{i}"), Loop::of_unit(&unit), 7.0);
        }
        steering.agree();
    }
}

#[test]
fn what_a_silence_leaves_open_is_the_same_however_it_was_read() {
    let steering = Loop::new();
    let states = || {
        let now_ms = steering.clock.now_ms();
        let states = steering.observer.each(|followed, _| Some(followed.observed.feeds(now_ms)[0].state));
        (states[0], steering.observer.each(|followed, _| Some(followed.analysis(now_ms).1.mature))[0])
    };
    let day = |i: u32| {
        let unit = format!("b-{i}");
        steering.decision(&format!("d-{i}"), &unit, ["control", "next"][i as usize % 2]);
        steering.clock.advance(Duration::from_secs(600));
    };
    let tell_of = |key: &str, i: u32, at_ms| {
        let (id, name, subject) = (format!("{key}-{i}"), "cured".to_owned(), Loop::of_unit(&format!("b-{i}")));
        steering.event(Event::Outcome(OutcomeInput { id, name, value: 1.0, at_ms, subject }));
    };
    let tell = |key: &str, i: u32| tell_of(key, i, steering.clock.now_ms());
    let mut entered_ms = Vec::new();
    let pass_day = || steering.clock.advance(Duration::from_secs(86_400));
    for i in 0..10 {
        day(i);
        tell("o", i);
        pass_day();
        steering.agree();
    }
    assert_eq!(states(), (FeedState::Alive, 9), "of the last one nobody knows yet");
    for i in 10..15 {
        entered_ms.push(steering.clock.now_ms());
        day(i);
        pass_day();
        steering.agree();
    }
    // The window of those who came since the last outcome has passed, and nobody knows.
    assert_eq!(states(), (FeedState::Silent, 9));
    // What was owed comes in two parts, and is in time for those who waited.
    tell_of("owed", 12, entered_ms[2]);
    steering.agree();
    steering.clock.advance(Duration::from_secs(3600));
    tell_of("owed", 13, entered_ms[3]);
    steering.agree();
    assert_eq!(states(), (FeedState::Alive, 9));
    pass_day();
    steering.agree();
    assert_eq!(states(), (FeedState::Alive, 9), "it was not heard of since");
    tell("sign-of-life", 99);
    steering.agree();
    assert_eq!(states(), (FeedState::Alive, 15));
    let too_late = || steering.observer.each(|followed, _| Some(followed.observed.too_late().iter().sum::<u64>()));
    assert_eq!(too_late(), [0]);
    tell_of("owed", 14, entered_ms[4]);
    steering.agree();
    assert_eq!(too_late(), [1], "the day in which it could be posted is over");
}

#[test]
fn a_spec_whose_metrics_are_edited_is_read_anew_beside_the_one_in_force() {
    let mut steering = Loop::new();
    for i in 0..30 {
        steering.decision(&format!("d-{i}"), &format!("b-{i}"), ["control", "next"][i % 2]);
        steering.clock.advance(Duration::from_millis(5));
        steering.outcome(&format!("o-{i}"), Loop::of_unit(&format!("b-{i}")), 2.0);
    }
    steering.agree();
    let edited = SPEC.replace("aggregate = \"sum\"", "aggregate = \"any\"");
    steering.spec = Arc::new(Experiment::parse(&edited).expect("valid"));
    steering.controller.applied(&steering.spec, "p@1.0.0");
    steering.follow();
    let known = steering.observer.each(|followed, _| Some(followed.observed.units().len()));
    assert_eq!(known, [30], "until it is read anew, what was known is");
    steering.agree();
}

#[test]
fn an_edit_that_changes_no_analysis_reads_nothing_anew() {
    let mut steering = Loop::new();
    (0..20).for_each(|i| steering.decision(&format!("d-{i}"), &format!("b-{i}"), ["control", "next"][i % 2]));
    steering.agree();
    // Nothing that is read already can be read again.
    let db = rusqlite::Connection::open(&steering.path).expect("opens");
    db.execute("UPDATE decisions SET time_ms = 'x' WHERE seq = 3", []).expect("spoils a row");
    let edited = SPEC.replace("id = \"e\"", "id = \"e\"\nowner = \"bob\"\nmax_duration = \"90d\"");
    steering.spec = Arc::new(Experiment::parse(&edited).expect("valid"));
    steering.controller.applied(&steering.spec, "p@1.0.0");
    steering.follow();
    steering.decision("later", "b-20", "next");
    steering.observer.read().expect("new rows are read");
    let followed = |followed: &mut Followed| {
        let (observed, analysis, is_new) = followed.analysis(steering.clock.now_ms());
        (observed.spec.owner.clone(), analysis.entered, is_new)
    };
    assert_eq!(steering.observer.each(|known, _| Some(followed(known))), [("bob".to_owned(), 21, true)]);
}

#[test]
fn a_row_that_cannot_be_read_hides_no_other_and_is_told() {
    let mut steering = Loop::new();
    (0..20).for_each(|i| steering.decision(&format!("d-{i}"), &format!("b-{i}"), ["control", "next"][i % 2]));
    steering.agree();
    let db = rusqlite::Connection::open(&steering.path).expect("opens");
    db.execute("UPDATE decisions SET time_ms = 'x' WHERE seq = 3", []).expect("spoils a row");
    let edited = SPEC.replace("aggregate = \"sum\"", "aggregate = \"any\"");
    steering.spec = Arc::new(Experiment::parse(&edited).expect("valid"));
    steering.controller.applied(&steering.spec, "p@1.0.0");
    steering.follow();
    steering.decision("later", "b-20", "next");
    steering.observer.read().expect("new rows are read");
    let known = steering.observer.each(|followed, _| {
        let (observed, analysis, _) = followed.analysis(steering.clock.now_ms());
        Some((observed.units().len(), analysis.is_unreadable, analysis.verdict.why.clone()))
    });
    let why =
        "1 row of the ledger cannot be read; the first: row 3 of decisions: the row was altered: its time_ms is a text";
    assert_eq!(known, [(20, true, why.to_owned())]);
}

#[test]
fn a_report_that_is_read_anew_ends_at_its_deadline() {
    let steering = Loop::new();
    let rows = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
        INSERT INTO decisions (decision_id, time_ms, point, served_by, action, took_us, forced, digest, record)
        SELECT printf('%08d', i), i, 'p', 'strategy', 'go', 1, 0, '', x'7b7d' FROM n";
    rusqlite::Connection::open(&steering.path).and_then(|db| db.execute_batch(rows)).expect("inserts");
    let subject = steering.subject();
    let within = |limit| steering.ledger.bounded(Budget::new(limit), |ledger| read_whole(ledger, &subject).map(drop));
    let late = within(Duration::from_millis(2));
    assert!(matches!(late, Err(LedgerError::TimedOut)), "{late:?}");
    within(Duration::from_secs(60)).expect("the next one has its own time");
}

const RAMP: &str = two_arms!(
    r#"
coverage = 1.0
"#,
    r#"
[[metrics]]
name = "cured"
role = "goal"
outcome = "cured"
window = "1s"
"#
);

#[test]
fn a_command_may_be_for_one_generation_alone() {
    let deployment = deployment(RAMP, false);
    let host = Host::start(&deployment).ready();
    let shown = host.admin.get("/v1/experiments/e").json();
    let generation = shown["generation"].as_u64().expect("a number");
    let pause = |generation: &str| {
        let headers = [("if-match", generation)];
        let answer = host.admin.post_text("/v1/experiments/e/pause", &why().to_string(), &headers).expect("answers");
        (answer.status, answer.json())
    };
    let (status, refused) = pause(&format!("\"{}\"", generation + 1));
    assert_eq!((status, &refused["type"]), (412, &json!("urn:serin:problem:changed")), "{refused}");
    assert!(refused["detail"].as_str().is_some_and(|d| d.contains(&format!("is {generation}, not"))), "{refused}");
    for malformed in ["7", "*", "\"seven\"", "W/\"1\""] {
        assert_eq!(pause(malformed).0, 422, "{malformed}");
    }
    let admin = format!("http://{}", host.admin.address);
    let by_cli = |generation: u64| {
        let generation = generation.to_string();
        run(["experiment", "pause", "e", "--reason", "r", "--generation", &generation, "--admin", &admin])
    };
    let refused = by_cli(generation + 5);
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    assert!(refused.stderr.contains("412") && refused.stderr.contains("look at it again"), "{}", refused.stderr);
    let done = by_cli(generation);
    assert!(done.code == Some(0) && done.stdout.contains("paused"), "{} {}", done.stdout, done.stderr);
    assert_eq!(pause(&format!("\"{generation}\"")).0, 412, "it was for the generation before");
}

#[test]
fn a_report_stays_as_of_the_end_and_shows_what_came_late_when_asked() {
    let deployment = deployment(RAMP, false);
    let host = Host::start(&deployment).ready();
    (0..40).for_each(|i| drop(decide(&host, &format!("b-{i}"))));
    let entered = |report: &serde_json::Value| report["units"]["entered"].clone();
    let report = |query: &str| host.admin.get(&format!("/v1/experiments/e/report{query}")).json();
    assert_eq!(entered(&report("")), 40);
    assert_eq!(command(&host, "abort", why()).0, 200);
    let ended_at = host.admin.get("/v1/experiments/e").json()["ended_at"].clone();
    let end = eventually("its report is kept", Duration::from_secs(20), || {
        Some(report("")).filter(|found| found["as_of"] == ended_at)
    });
    // Its window had not passed when it ended; what happened in it is posted afterwards.
    let at = end["as_of"].clone();
    let outcomes: Vec<_> = (0..40)
        .map(|i| json!({ "id": format!("o-{i}"), "name": "cured", "value": 1.0, "at": at, "entity": { "borrower": format!("b-{i}") } }))
        .collect();
    assert_eq!(host.public.post("/v1/outcomes", &json!({ "outcomes": outcomes })).status, 200);
    assert_eq!(report(""), end, "what came after the end changes nothing");
    let now = eventually("everybody is mature", Duration::from_secs(20), || {
        heard(&host, &["cured"]);
        let now = report("?recompute=true");
        (now["units"]["mature"] == 40).then_some(now)
    });
    let differences = now["since_end"]["differences"].as_array().expect("a list").clone();
    assert!(differences.iter().any(|d| d["what"] == "units.mature" && d["now"] == 40), "{differences:?}");
    assert!(differences.iter().any(|d| d["what"] == "metrics.cured.arms.next.mean"), "{differences:?}");
    // It stays over a restart, and on a stopped host.
    assert_eq!(host.stop(), Some(0));
    let config = deployment.config();
    let config = config.to_str().expect("a path");
    let offline = run(["report", "e", "--format", "json", "--config", config]);
    let offline: serde_json::Value = serde_json::from_str(&offline.stdout).expect("JSON");
    assert_eq!(offline["as_of"], at);
    let recomputed = run(["report", "e", "--recompute", "--config", config]).stdout;
    assert!(recomputed.contains("since the end") && recomputed.contains("units.mature"), "{recomputed}");
    let host = Host::start(&deployment).ready();
    assert_eq!(host.admin.get("/v1/experiments/e/report").json(), end);
}

#[test]
fn what_comes_after_the_end_is_left_out_even_where_it_was_read_before_the_end_was_known() {
    for is_read in [false, true] {
        let steering = Loop::new();
        for i in 0..10 {
            steering.decision(&format!("d-{i}"), &format!("b-{i}"), ["control", "next"][i % 2]);
            steering.outcome(&format!("o-{i}"), Loop::of_unit(&format!("b-{i}")), 1.0);
        }
        let at_ms = steering.clock.now_ms() + 10_000_000;
        let seen = || steering.observer.each(|followed, _| Some(format!("{:?}", followed.analysis(at_ms).1)));
        steering.agree();
        let before = seen();
        steering.person(&Command::Conclude { winner: "next".into() });
        steering.clock.advance(Duration::from_millis(1));
        steering.decision("d-late", "b-late", "next");
        steering.event(Event::Reversal(ReversalInput { id: "r-1".to_owned(), reverses: "o-1".to_owned(), at_ms }));
        steering.outcome("o-late", Loop::of_unit("b-2"), 1.0);
        if is_read {
            steering.observer.read().expect("reads");
            assert_ne!(seen(), before);
        }
        steering.follow();
        steering.agree();
        assert_eq!(seen(), before);
    }
}
