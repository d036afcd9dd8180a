//! The sandbox: runs one strategy once, on a fresh instance, within its limits. The only
//! place that touches wasmtime.

mod bare;
mod bindings;
mod cache;
mod code;
mod drafted;
mod engine;
mod functions;
mod interpreter;
mod state;
mod turns;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serin_core::answer::{Checked, RawAnswer, RawCandidate};
use serin_core::limits::Limits;
use serin_core::manifest::{Manifest, ModelId};
use serin_core::record::{FailureKind, LogLine, ModelCall, Outcome, Record};
use serin_core::value::Value;
use serin_core::{bounds, message_to, printable};
use wasmtime::component::{HasSelf, Linker, types::ComponentItem};
use wasmtime::{Store, Trap};

#[doc(hidden)]
pub use bare::Bare;
pub use engine::{Engines, STACK_BYTES, Size, TICK};
pub use interpreter::{CoreExports, Interpreter, LoadError, Loaded};
pub use state::{Reached, Scored, Scorer};

use bindings::StrategyPre;
use bindings::serin::decision::types;
use code::LinkedCode;
use drafted::INTERPRETER;
use state::{State, from_guest, on_tick, to_guest};
use turns::Part;

use crate::clock::Budget;

/// The package whose interfaces a strategy may import.
const PACKAGE: &str = "serin:decision/";
/// Those interfaces.
const INTERFACES: [&str; 3] = ["types", "models", "log"];

/// A strategy that is compiled and linked: starting it is all that is left to do.
pub struct Linked {
    code: Arc<LinkedCode>,
    callable: Arc<[ModelId]>,
}

/// Why a component cannot be a strategy.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Not a component, or not a valid one.
    #[error("not a valid component: {0}")]
    Invalid(String),
    /// It wants what no strategy may have.
    #[error(
        "imports '{0}', which is not of serin:decision@0.1; a strategy may import serin:decision/models and serin:decision/log only"
    )]
    ForbiddenImport(String),
    /// It is of another world.
    #[error("does not export the world serin:decision/strategy@0.1: {0}")]
    WrongWorld(String),
    /// The engine could not be made.
    #[error("engine: {0}")]
    Engine(String),
    /// The machine lacks something, such as file descriptors or memory: the component may be fine.
    #[error("this machine could not compile it now: {0}")]
    System(String),
}

/// What a run is given.
pub struct Run<'a> {
    /// The decision point.
    pub decision_point: &'a str,
    /// Milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The unit's local offset.
    pub utc_offset_minutes: i32,
    /// Features by position.
    pub features: &'a [Value],
    /// Scores by position.
    pub scores: &'a [f64],
    /// Parameters by position.
    pub parameters: &'a [Value],
}

impl<'a> Run<'a> {
    /// A run on a record, with its projection through the manifest.
    pub fn of(record: &'a Record, features: &'a [Value], scores: &'a [f64], parameters: &'a [Value]) -> Self {
        Self {
            decision_point: &record.decision_point,
            time_ms: record.time_ms,
            utc_offset_minutes: record.utc_offset_minutes,
            features,
            scores,
            parameters,
        }
    }
}

/// What came of a run, and what it used.
#[derive(Debug)]
pub struct Ran {
    /// The checked outcome.
    pub outcome: Outcome,
    /// What the candidates' probabilities summed to, where they were divided by it.
    pub normalized_from: Option<f64>,
    /// Calls of the `models` import.
    pub transcript: Vec<ModelCall>,
    /// Log lines.
    pub logs: Vec<LogLine>,
    /// Whether lines were cut off.
    pub logs_cut: bool,
    /// Fuel used.
    pub fuel: u64,
    /// Microseconds.
    pub time_us: u64,
    /// Of them, until the instance was there.
    pub start_us: u64,
    /// The instance was there, and the strategy called.
    pub has_started: bool,
    /// Of them, in answering calls of the `models` import.
    pub calls_us: u64,
    /// It was given up for its CPU time.
    pub has_reached_cpu: bool,
    /// Bytes of linear memory at its end.
    pub memory_bytes: u64,
}

/// What a run is granted of the processors.
#[derive(Debug, Clone, Copy)]
pub struct Granted {
    /// Its wall time.
    pub budget: Budget,
    /// Its CPU time, if that is bounded: wall time says little of a run on a busy machine.
    pub cpu: Option<Duration>,
    /// Whether it takes turns with others once it takes long.
    pub takes_turns: bool,
}

impl Linked {
    /// Compiles a component and links it to the imports that it may have. Versions with the same code share it.
    ///
    /// # Errors
    /// The import by name that is not allowed, or what else keeps it from being a strategy.
    pub fn new(engines: &Engines, component: &[u8], manifest: &Manifest) -> Result<Self, LinkError> {
        let size = Size::of(component.len());
        let key = format!("{size:?}:{}", cache::code_digest(component));
        let code = engines.in_memory().get_or_link(key, || link(engines, size, component))?;
        let callable = manifest.callable.iter().map(|c| c.model.clone()).collect();
        Ok(Self { code, callable })
    }

    /// Runs the strategy once on a fresh instance, and checks what it returns.
    pub fn run(
        &self,
        run: &Run<'_>,
        manifest: &Manifest,
        limits: Limits,
        budget: Budget,
        scorer: Option<Box<dyn Scorer>>,
    ) -> Ran {
        let granted = Granted { budget, cpu: None, takes_turns: false };
        self.run_within(run, manifest, limits, granted, scorer)
    }

    /// As [`Self::run`], as a host that serves grants it.
    pub fn run_within(
        &self,
        run: &Run<'_>,
        manifest: &Manifest,
        limits: Limits,
        granted: Granted,
        scorer: Option<Box<dyn Scorer>>,
    ) -> Ran {
        let started = Instant::now();
        let mut state = State::new(limits, granted.budget, Arc::clone(&self.callable), scorer);
        state.limit_cpu(granted.cpu);
        if granted.takes_turns {
            state.take_turns(Part::new(Arc::clone(&self.code.turns)));
        }
        let mut store = Store::new(&self.code.engine, state);
        let called = self.call(&mut store, run, limits);
        let fuel = limits.fuel.saturating_sub(store.get_fuel().unwrap_or(0));
        let state = store.into_data();
        let has_reached_cpu = state.has_reached_cpu();
        let Checked { outcome, normalized_from } = match called {
            Ok(answer) => serin_core::answer::check(answer, manifest, &limits),
            Err(error) => Checked { outcome: failure(&error), normalized_from: None },
        };
        Ran {
            outcome,
            normalized_from,
            transcript: state.transcript,
            logs: state.logs,
            logs_cut: state.logs_cut,
            fuel,
            time_us: started.elapsed().as_micros() as u64,
            start_us: state.started.map_or(0, |at| (at - started).as_micros() as u64),
            has_started: state.started.is_some(),
            calls_us: state.calls_us,
            has_reached_cpu,
            memory_bytes: state.memory_bytes,
        }
    }

    fn call(&self, store: &mut Store<State>, run: &Run<'_>, limits: Limits) -> wasmtime::Result<RawAnswer> {
        store.limiter(|state| state);
        store.set_fuel(limits.fuel)?;
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(on_tick);
        // What the guest passes to the host is bounded before it is allocated, and what several
        // lists share counts for each: the answer's own bound, with room for the rows of one call.
        let bytes = limits.output_bytes.saturating_mul(4).max(limits.transcript_bytes());
        store.set_hostcall_fuel(bytes.try_into().unwrap_or(usize::MAX));
        let instance = self.code.pre.instantiate(&mut *store)?;
        store.data_mut().started = Some(Instant::now());
        Ok(match instance.call_decide(store, &context(run))? {
            Ok(decision) => Ok(decision
                .candidates
                .into_iter()
                .map(|candidate| RawCandidate {
                    action: candidate.action,
                    probability: candidate.probability,
                    parameters: candidate.parameters.into_iter().map(from_guest).collect(),
                    reasons: candidate.reasons.iter().map(|reason| (reason.code, reason.weight)).collect(),
                })
                .collect()),
            Err(refusal) => Err((refusal.code, refusal.message)),
        })
    }
}

/// Compiles a component, and links it to the imports that it may have.
fn link(engines: &Engines, size: Size, component: &[u8]) -> Result<LinkedCode, LinkError> {
    let engine = engines.get(size).map_err(|e| unless_of_the_system(&e, LinkError::Engine))?;
    let invalid = |e: wasmtime::Error| unless_of_the_system(&e, LinkError::Invalid);
    // What is wrong with a draft is told of it as a whole.
    let drafted = engines.compile_draft(engine, component).unwrap_or_default();
    let (compiled, interpreter) = match drafted {
        Some(drafted) => (drafted.component, Some(drafted.interpreter)),
        None => (engines.compile(engine, component).map_err(invalid)?, None),
    };
    for (import, item) in compiled.component_type().imports(engine) {
        if interpreter.is_some() && import == INTERPRETER {
            continue;
        }
        let ours = import
            .strip_prefix(PACKAGE)
            .and_then(|rest| rest.split_once('@'))
            .is_some_and(|(interface, version)| INTERFACES.contains(&interface) && version.starts_with("0.1."));
        if !ours || !matches!(item.ty, ComponentItem::ComponentInstance(_)) {
            return Err(LinkError::ForbiddenImport(printable(import)));
        }
    }
    let mut linker: Linker<State> = Linker::new(engine);
    bindings::Strategy::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)
        .map_err(|e| LinkError::Engine(format!("{e:#}")))?;
    if let Some(interpreter) = interpreter {
        let defined = linker.root().module(INTERPRETER, &interpreter);
        defined.map_err(|e| LinkError::Engine(format!("{e:#}")))?;
    }
    let pre = linker.instantiate_pre(&compiled).and_then(StrategyPre::new);
    let pre = pre.map_err(|e| unless_of_the_system(&e, LinkError::WrongWorld))?;
    Ok(LinkedCode { engine: engine.clone(), pre, turns: engines.turns() })
}

/// Whether the operating system refused something, such as a file descriptor or memory. A guest has no call that
/// reaches the system, so it caused none of it.
fn is_of_the_system(error: &wasmtime::Error) -> bool {
    let is_refused = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<std::io::Error>() || cause.is::<rustix::io::Errno>() || cause.is::<wasmtime::OutOfMemory>()
    };
    error.chain().any(is_refused)
}

/// The error of a component, unless the machine caused it.
fn unless_of_the_system(error: &wasmtime::Error, otherwise: fn(String) -> LinkError) -> LinkError {
    if is_of_the_system(error) { LinkError::System(message(error)) } else { otherwise(message(error)) }
}

/// What the engine says of a component, which may quote its names.
fn message(error: &wasmtime::Error) -> String {
    message_to(&format!("{error:#}"), bounds::MESSAGE)
}

/// What a run is given, as the guest sees it.
fn context(run: &Run<'_>) -> types::Context {
    types::Context {
        decision_point: run.decision_point.to_owned(),
        time_ms: run.time_ms,
        utc_offset_minutes: run.utc_offset_minutes,
        features: run.features.iter().map(to_guest).collect(),
        scores: run.scores.to_vec(),
        parameters: run.parameters.iter().map(to_guest).collect(),
        extra: Vec::new(),
    }
}

/// Sorts an error into the typed outcomes. Its text is part of the record and is replayed, so
/// it holds nothing that differs between two runs: no address, no backtrace.
fn failure(error: &wasmtime::Error) -> Outcome {
    let (kind, detail) = if let Some(reached) = error.downcast_ref::<Reached>() {
        let kind = match reached {
            Reached::Memory { .. } => FailureKind::Memory,
            Reached::Tables { .. } => FailureKind::Tables,
        };
        (kind, reached.to_string())
    } else if let Some(trap) = error.downcast_ref::<Trap>() {
        let kind = match trap {
            Trap::OutOfFuel => FailureKind::FuelExhausted,
            Trap::Interrupt => FailureKind::Deadline,
            _ => FailureKind::Trap,
        };
        (kind, trap.to_string())
    } else if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        (FailureKind::Overloaded, "no pooled instance is free".to_owned())
    } else if is_of_the_system(error) {
        (FailureKind::Overloaded, format!("the machine has no room for a run: {}", error.root_cause()))
    } else {
        // What is left comes from reading the guest's data. wasmtime has no type for the bound
        // on that data, only this sentence; a test notices if it changes.
        let text = error.root_cause().to_string();
        if text.contains("fuel allocated for hostcalls has been exhausted") {
            (FailureKind::OutputTooLarge, "the guest passed more data to the host than granted".to_owned())
        } else {
            (FailureKind::OutputInvalid, text)
        }
    };
    Outcome::Failure { kind, detail }
}

#[cfg(test)]
pub(crate) mod trial;
