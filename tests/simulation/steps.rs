//! What may happen next, and its doing.

use serin::app::{keep_final_reports, needed_rows};
use serin::clock::Clock as _;
use serin::decide::{DecisionRequest, Thread, decide};
use serin::experiments::{carry_out, judge};
use serin::ledger::{
    Arrival, ClockState, Commit, DecisionRow, Event, EventResult, ExposureInput, LedgerError, OutcomeInput,
    OutcomeSubject, Reads as _, Retention, ReversalInput, WatermarkInput,
};
use serin_core::experiment::Command;

use super::checks;
use super::faults::Fault;
use super::files::{self, File, IDS, SPECS};
use super::model::{About, Row};
use super::world::{Meanwhile, PERSON, World, by_person, person};

/// Units that there are.
const UNITS: usize = 60;
/// How long decisions are kept where nothing needs them any longer.
const KEEP_MS: u64 = 4_000;

/// One thing that happens.
#[derive(Debug)]
pub enum Step {
    /// Decisions are made about units, and not yet committed.
    Decide(Vec<usize>),
    /// So many decisions are committed, from this one on, in one go.
    Commit(usize, usize),
    /// Somebody posts an outcome, a reversal or an exposure.
    Post(Vec<Row>),
    /// A person gives a command, perhaps for one generation alone.
    Command(&'static str, Command, Option<u64>),
    /// A person decides on an edit that loosens the rule, perhaps for one generation alone.
    Amend(&'static str, Option<u64>),
    /// What was commanded is put in force.
    Apply,
    /// Somebody edits a file.
    Edit(&'static str, File),
    /// The files are read and put in force, perhaps while somebody else acts.
    Reload(Option<(usize, Meanwhile)>),
    /// The same, with nothing that could be recorded.
    ReloadWithFullQueue,
    /// The host reads what is new, and judges nothing.
    Read,
    /// The host judges, and does not act yet.
    Judge,
    /// The host acts on what it judged.
    CarryOut,
    /// The reports of experiments that have ended are kept.
    KeepFinalReports,
    /// What need not be kept is deleted.
    Expire,
    /// The host ends, and starts again.
    Restart,
    /// Time passes.
    Pass(u64),
    /// The ledger begins to fail.
    Fail(Fault),
    /// It does not fail any more.
    Mend,
}

/// What happens next.
pub fn next(world: &World) -> Step {
    let random = &world.random;
    if world.faults.on().is_some() && random.one_in(6) {
        return Step::Mend;
    }
    match random.below(100) {
        0..20 => Step::Decide((0..=random.below(8)).map(|_| random.below(UNITS)).collect()),
        20..36 if !world.decided.is_empty() => {
            let first = random.below(world.decided.len());
            Step::Commit(first, 1 + random.below(world.decided.len() - first))
        }
        36..50 => Step::Post((0..=random.below(5)).filter_map(|_| happening(world)).collect()),
        50..58 => command(world),
        58..62 => Step::Apply,
        62..65 => edit(world),
        65..71 => Step::Reload(meanwhile(world)),
        71 if random.one_in(12) => Step::ReloadWithFullQueue,
        71..78 => Step::Read,
        78..84 => Step::Judge,
        84..88 => Step::CarryOut,
        88 => Step::KeepFinalReports,
        89 if random.one_in(2) => Step::Expire,
        90 if random.one_in(4) => Step::Restart,
        91 if random.one_in(2) => Step::Fail(*random.pick(&Fault::all().collect::<Vec<_>>())),
        // A feed that is not heard of meanwhile has fallen silent.
        _ if random.one_in(20) => Step::Pass(20 * 86_400_000),
        _ => Step::Pass([30, 300, 1_000, 3_000][random.below(4)]),
    }
}

/// Something that people of an application see: early, late, twice, taken back.
fn happening(world: &World) -> Option<Row> {
    let (random, now_ms) = (&world.random, world.now_ms());
    let decisions = || {
        let committed = world.model.rows.iter().filter_map(|row| match row {
            Row::Decision { id, time_ms, assigned: Some(_), .. } => Some((id.clone(), *time_ms)),
            _ => None,
        });
        // Not committed yet, and so not known to the ledger.
        let ahead = world.decided.iter().filter(|row| row.assignment.is_some());
        committed.chain(ahead.map(|row| (row.decision_id.clone(), row.time_ms))).collect::<Vec<_>>()
    };
    let outcome = |about: About, at_ms: u64| {
        let again = !world.outcomes.is_empty() && random.one_in(20);
        let id = if again { random.pick(&world.outcomes).clone() } else { format!("o-{}", random.below(1 << 40)) };
        let name = if random.one_in(8) { "complaint" } else { "cured" };
        Row::Outcome {
            id,
            name: name.to_owned(),
            value: random.below(4) as f64 * 0.3,
            at_ms,
            received_ms: now_ms,
            about,
            is_known: true,
        }
    };
    if random.one_in(25) {
        let name = if random.one_in(2) { "complaint" } else { "cured" }.to_owned();
        return Some(Row::Watermark { name, until_ms: now_ms - random.below(9_000) as u64, received_ms: now_ms });
    }
    match random.below(8) {
        0..3 => {
            let unit = format!("b-{}", random.below(UNITS));
            Some(outcome(About::Unit(unit), now_ms + 2_000 - random.below(10_000) as u64))
        }
        3..5 => {
            let (id, time_ms) = random.pick(Some(decisions()).filter(|all| !all.is_empty())?.as_slice()).clone();
            Some(outcome(About::Decision(id), time_ms + random.below(9_000) as u64))
        }
        5 => {
            let ahead = format!("o-{}", random.below(1 << 40));
            let reverses = if world.outcomes.is_empty() { ahead } else { random.pick(&world.outcomes).clone() };
            Some(Row::Reversal { id: format!("r-{}", random.below(1 << 40)), reverses })
        }
        _ => {
            let (decision, time_ms) = random.pick(Some(decisions()).filter(|all| !all.is_empty())?.as_slice()).clone();
            Some(Row::Exposure { decision, at_ms: time_ms + random.below(5_000) as u64, received_ms: now_ms })
        }
    }
}

fn a_command(world: &World) -> Command {
    let random = &world.random;
    match random.below(24) {
        0..7 => Command::Pause,
        7..14 => Command::Resume,
        14..18 => Command::Promote,
        18..22 => Command::Start,
        22 => Command::Abort,
        _ => Command::Conclude { winner: (*random.pick(&["control", "next"])).into() },
    }
}

fn command(world: &World) -> Step {
    let random = &world.random;
    let id = IDS[random.below(IDS.len())];
    let known = world.model.statuses.get(id).map_or(0, |status| status.generation);
    // Of the status that the person looked at, which may be an older one.
    let judged = random.one_in(3).then(|| known.saturating_sub(random.below(2) as u64));
    if random.one_in(5) {
        return Step::Amend(id, judged);
    }
    Step::Command(id, a_command(world), judged)
}

fn edit(world: &World) -> Step {
    let random = &world.random;
    let file = match random.below(10) {
        0 => File::Broken,
        1 => File::Missing,
        _ => File::Spec(random.below(SPECS)),
    };
    Step::Edit(IDS[random.below(IDS.len())], file)
}

fn meanwhile(world: &World) -> Option<(usize, Meanwhile)> {
    let random = &world.random;
    let acts = match random.below(3) {
        0 => return None,
        1 => Meanwhile::Person(world.spec(IDS[random.below(IDS.len())])?, a_command(world)),
        _ => Meanwhile::Host(world.proposals.clone()),
    };
    Some((random.below(12), acts))
}

impl World {
    /// Takes a step.
    pub fn take(&mut self, step: Step) {
        match step {
            Step::Decide(units) => units.into_iter().for_each(|unit| self.decide(unit)),
            Step::Commit(first, count) => self.commit(first, count),
            Step::Post(rows) => self.post(rows),
            Step::Command(id, command, judged) => self.command(id, &command, judged),
            Step::Amend(id, judged) => self.amend(id, judged),
            Step::Apply => self.apply(),
            Step::Edit(id, file) => self.edit(id, file),
            Step::Reload(meanwhile) => self.reload(meanwhile),
            Step::ReloadWithFullQueue => {
                let host = self.host();
                self.faults.with_full_queue(&host.ledger, || host.reloader.reload());
                self.note_read();
                self.is_settled = true;
            }
            Step::Read => {
                let read = self.host().observer.read();
                assert!(read.is_ok() || self.faults.cannot_read(), "{read:?}");
                if read.is_ok() && !self.faults.cannot_read() {
                    checks::analyses(self);
                }
            }
            Step::Judge => {
                let host = self.host();
                let proposals = judge(&host.controller, &host.observer, self.now_ms());
                for proposal in &proposals {
                    let known = self.model.statuses[&*proposal.spec.id].generation;
                    assert_eq!(proposal.judged, known, "{} was judged by an older status", proposal.spec.id);
                    let goes_on = ["promote", "ship", "allocate"].contains(&proposal.command.as_str());
                    let is_gone = self.files_read[&*proposal.spec.id] == File::Missing;
                    assert!(!(goes_on && is_gone), "{} without its file: {:?}", proposal.spec.id, proposal.command);
                    let judged = self.model.judged.entry(proposal.spec.id.to_string()).or_default();
                    judged.insert((proposal.judged, proposal.command.as_str().to_owned()));
                }
                self.proposals.extend(proposals);
            }
            Step::CarryOut => {
                let proposals = std::mem::take(&mut self.proposals);
                if carry_out(&self.host().controller, proposals) {
                    self.is_settled = false;
                }
            }
            Step::KeepFinalReports => {
                let host = self.host();
                keep_final_reports(&host.reloader, &host.controller, &host.observer);
            }
            Step::Expire => self.expire(),
            Step::Restart => {
                self.faults.mend();
                self.restart();
            }
            Step::Pass(ms) => self.clock.advance(std::time::Duration::from_millis(ms)),
            Step::Fail(fault) => self.faults.begin(fault),
            Step::Mend => self.faults.mend(),
        }
    }

    fn decide(&mut self, unit: usize) {
        let host = self.host();
        let deployment = host.reloader.deployment.load_full();
        let entities = [("borrower".to_owned(), format!("b-{unit}"))].into();
        let request = DecisionRequest { decision_point: "p".to_owned(), entities, ..DecisionRequest::default() };
        let time = std::time::Duration::from_secs(30);
        let decided =
            decide(Thread::Deciding, &deployment, &request, &*self.clock, serin::clock::Budget::new(time), time);
        let decided = decided.expect("a valid request");
        let row = host.ledger.row(&decided.record, &[]).expect("a row");
        self.decided.push(row);
    }

    fn commit(&mut self, first: usize, count: usize) {
        let rows: Vec<DecisionRow> = self.decided.drain(first..first + count).collect();
        let told: Vec<Row> = rows
            .iter()
            .map(|row| Row::Decision {
                id: row.decision_id.clone(),
                unit: row.unit.clone().expect("a unit"),
                time_ms: row.time_ms,
                assigned: row.assignment.as_ref().map(|(id, arm)| (id.to_string(), arm.to_string())),
            })
            .collect();
        let commit = |row| self.host().ledger.commit(Commit { decisions: vec![row], ..Commit::default() });
        // Queued at once, and so perhaps one transaction.
        let waits: Vec<_> = rows.into_iter().map(|row| commit(row).expect("there is room")).collect();
        for (row, wait) in told.into_iter().zip(waits) {
            match wait.blocking_recv().expect("answered") {
                Ok(()) => self.model.rows.push(row),
                Err(error) => assert!(self.faults.on().is_some(), "{error}"),
            }
        }
    }

    fn post(&mut self, rows: Vec<Row>) {
        let event = |row: &Row| match row.clone() {
            Row::Outcome { id, name, value, at_ms, about, .. } => {
                let subject = match about {
                    About::Unit(unit) => OutcomeSubject::Entity("borrower".to_owned(), unit),
                    About::Decision(id) => OutcomeSubject::Decision(id),
                };
                Event::Outcome(OutcomeInput { id, name, value, at_ms, subject })
            }
            Row::Reversal { id, reverses } => {
                Event::Reversal(ReversalInput { id, reverses, at_ms: self.clock.now_ms() })
            }
            Row::Exposure { decision, at_ms, .. } => {
                Event::Exposure(ExposureInput { id: None, decision_id: decision, at_ms })
            }
            Row::Watermark { name, until_ms, .. } => Event::Watermark(WatermarkInput { name, until_ms }),
            Row::Decision { .. } => unreachable!("decisions are committed"),
        };
        self.outcomes.extend(rows.iter().filter_map(|row| match row {
            Row::Outcome { id, .. } => Some(id.clone()),
            _ => None,
        }));
        let arrival = Arrival::at(self.now_ms(), 0);
        let wait = self.host().ledger.events(rows.iter().map(event).collect(), arrival).expect("there is room");
        match wait.blocking_recv().expect("answered") {
            Ok(results) => {
                let stored =
                    |result: &EventResult| [EventResult::Stored, EventResult::UnknownDecision].contains(result);
                let stored = rows.into_iter().zip(results).filter(|(_, result)| stored(result));
                self.model.rows.extend(stored.map(|(mut row, result)| {
                    if let Row::Outcome { is_known, .. } = &mut row {
                        *is_known = result == EventResult::Stored;
                    }
                    row
                }));
            }
            Err(error) => assert!(self.faults.on().is_some(), "{error}"),
        }
    }

    fn command(&mut self, id: &'static str, command: &Command, judged: Option<u64>) {
        let Some(spec) = self.spec(id) else { return };
        let host = self.host();
        let by_people = || {
            let history = host.ledger.transitions(id).expect("reads");
            history.iter().filter(|change| change.by == PERSON).count()
        };
        let (before, generation) = (by_people(), host.controller.status(id).generation);
        match person(&host.controller, &spec, command, judged) {
            Ok(status) => {
                assert_eq!(by_people(), before + 1, "an acknowledged {command:?} is in the ledger");
                assert!(judged.is_none_or(|judged| judged == generation), "{command:?} was for generation {judged:?}");
                assert_eq!(status.generation, generation + 1);
                self.is_settled = false;
            }
            Err(_) => assert_eq!(by_people(), before, "a refused {command:?} is not"),
        }
    }

    fn amend(&mut self, id: &str, judged: Option<u64>) {
        let host = self.host();
        let status = host.reloader.status.load();
        let pending = status.experiments.iter().find(|shown| shown.id == id).and_then(|shown| shown.pending.clone());
        let Some(pending) = pending else { return };
        let before = host.controller.status(id);
        match host.controller.amend(&pending, by_person(), judged) {
            Ok(after) => {
                assert!(judged.is_none_or(|judged| judged == before.generation), "it was for generation {judged:?}");
                assert_eq!(
                    (after.generation, after.amended),
                    (before.generation + 1, Some(pending.spec.digest.clone()))
                );
            }
            Err(_) => assert_eq!(host.controller.status(id).amended, before.amended, "refused, it decides nothing"),
        }
    }

    fn edit(&mut self, id: &'static str, file: File) {
        let name = format!("experiments/{id}.toml");
        match file {
            File::Spec(spec) => self.folder.write(&name, files::text(id, spec)),
            File::Broken => self.folder.write(&name, "id = "),
            File::Missing if self.files[id] == File::Missing => {}
            File::Missing => self.folder.remove(&name),
        }
        self.files.insert(id, file);
    }

    fn expire(&mut self) {
        let specs = self
            .host()
            .reloader
            .status
            .load()
            .experiments
            .iter()
            .filter_map(|shown| shown.spec.clone())
            .collect::<Vec<_>>();
        let retention = Retention {
            clock: ClockState::Trusted(self.now_ms()),
            keep_ms: Some(KEEP_MS),
            keep_keys_ms: KEEP_MS,
            keep_audit_ms: None,
            experiments: specs.iter().map(|spec| (spec.id.clone(), needed_rows(spec))).collect(),
        };
        // Each call does as much as fits into some milliseconds.
        for _ in 0..1_000 {
            match self
                .host()
                .ledger
                .expire(retention.clone())
                .expect("there is room")
                .blocking_recv()
                .expect("answered")
            {
                Ok(true) => {}
                Ok(false) => return,
                Err(error @ LedgerError::Database(_)) if self.faults.on().is_some() => return drop(error),
                Err(error) => panic!("{error}"),
            }
        }
        panic!("expiry does not end");
    }
}
