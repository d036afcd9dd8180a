//! What one run carries: its limits and what it has used, and the host's side of the
//! imports.

use std::sync::Arc;
use std::time::Duration;

use serin_core::Name;
use serin_core::limits::Limits;
use serin_core::manifest::ModelId;
use serin_core::record::{CallError, LogLine, ModelCall, name};
use serin_core::value::Value;
use wasmtime::{ResourceLimiter, Result, StoreContextMut, Trap, UpdateDeadline};

use super::bindings::serin::decision::{log, models, types};
use super::turns::Part;
use crate::clock::{Budget, Stopwatch, thread_cpu};

/// Who answers calls of the `models` import.
pub trait Scorer: Send + 'static {
    /// Scores `rows` by `model`. `call` is the call's place in the transcript.
    fn score(&mut self, call: usize, model: &ModelId, rows: &[Vec<Value>], left: Duration) -> Scored;
}

/// What a call of the `models` import came to.
#[derive(Debug, Clone)]
pub struct Scored {
    /// SHA-256 of the model's file, where one was reached.
    pub digest: Option<Name>,
    /// What the strategy is told.
    pub answer: std::result::Result<Vec<f64>, CallError>,
    /// What a model that failed said.
    pub cause: Option<String>,
}

impl From<CallError> for Scored {
    fn from(error: CallError) -> Self {
        Self { digest: None, answer: Err(error), cause: None }
    }
}

/// A bound that was reached; carried through wasmtime as a typed error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reached {
    /// Linear memory.
    #[error("{wanted} bytes of memory wanted, {granted} granted")]
    Memory {
        /// Bytes wanted over all memories.
        wanted: u64,
        /// Bytes granted.
        granted: u64,
    },
    /// Table elements.
    #[error("{wanted} table elements wanted, {granted} granted")]
    Tables {
        /// Elements wanted over all tables.
        wanted: u64,
        /// Elements granted.
        granted: u64,
    },
}

/// The state of one run.
pub struct State {
    pub(super) limits: Limits,
    pub(super) memory_bytes: u64,
    /// When its instance was there.
    pub(super) started: Option<std::time::Instant>,
    /// Microseconds spent in answering calls of the `models` import.
    pub(super) calls_us: u64,
    table_elements: u64,
    /// The run's wall time.
    wall: Budget,
    /// The run's CPU time, if that is bounded.
    cpu: Option<CpuLimit>,
    /// Its turns, if it takes any.
    turns: Option<Part>,
    callable: Arc<[ModelId]>,
    scorer: Option<Box<dyn Scorer>>,
    calls: u64,
    rows: u64,
    row_bytes: u64,
    log_bytes: u64,
    pub(super) transcript: Vec<ModelCall>,
    pub(super) logs: Vec<LogLine>,
    pub(super) logs_cut: bool,
}

impl State {
    pub(super) fn new(
        limits: Limits,
        budget: Budget,
        callable: Arc<[ModelId]>,
        scorer: Option<Box<dyn Scorer>>,
    ) -> Self {
        let wall = Budget::new(Duration::from_millis(limits.wall_ms).min(budget.left()));
        Self {
            limits,
            memory_bytes: 0,
            started: None,
            calls_us: 0,
            table_elements: 0,
            wall,
            cpu: None,
            turns: None,
            callable,
            scorer,
            calls: 0,
            rows: 0,
            row_bytes: 0,
            log_bytes: 0,
            transcript: Vec::new(),
            logs: Vec::new(),
            logs_cut: false,
        }
    }

    /// Ends a run whose time is over. Called where a host call begins, since a loop of long ones
    /// meets no epoch for as long as one takes.
    fn in_time(&self) -> Result<()> {
        if self.wall.left().is_zero() { Err(Trap::Interrupt.into()) } else { Ok(()) }
    }

    fn answer(&mut self, position: u32, rows: &[Vec<Value>]) -> Scored {
        // What is not finite cannot be recorded either; the record keeps the refusal.
        if rows.iter().flatten().any(|value| matches!(value, Value::Number(x) if !x.is_finite())) {
            return CallError::InvalidRow("a number that is not finite".to_owned()).into();
        }
        match (self.callable.get(position as usize), &mut self.scorer) {
            (None, _) => CallError::UnknownModel.into(),
            (Some(model), Some(scorer)) => scorer.score(self.transcript.len(), model, rows, self.wall.left()),
            (Some(_), None) => CallError::Unavailable.into(),
        }
    }

    /// Keeps a line of the log, as far as there is room.
    fn keep(&mut self, level: log::Level, mut message: String) {
        let room = self.limits.log_bytes.saturating_sub(self.log_bytes) as usize;
        if room == 0 {
            self.logs_cut = true;
            return;
        }
        if message.len() > room {
            self.logs_cut = true;
            let mut end = room;
            while !message.is_char_boundary(end) {
                end -= 1;
            }
            message.truncate(end);
        }
        if message.is_empty() && self.logs_cut {
            return;
        }
        // An empty line still takes room, or empty lines would have no bound.
        self.log_bytes += message.len().max(16) as u64;
        let level = match level {
            log::Level::Debug => "debug",
            log::Level::Info => "info",
            log::Level::Warn => "warn",
        };
        self.logs.push(LogLine { level: name(level), message });
    }
}

/// A bound on CPU time, counted from the first tick that a run meets: most runs meet none, and reading that clock is a
/// system call.
#[derive(Debug)]
struct CpuLimit {
    most: Duration,
    from: Option<Duration>,
    is_reached: bool,
}

impl CpuLimit {
    fn reached(&mut self) -> bool {
        let now = thread_cpu();
        let used = now.saturating_sub(*self.from.get_or_insert(now));
        self.is_reached = used >= self.most;
        self.is_reached
    }
}

impl State {
    /// Bounds the run's CPU time, too.
    pub(super) fn limit_cpu(&mut self, most: Option<Duration>) {
        self.cpu = most.map(|most| CpuLimit { most, from: None, is_reached: false });
    }

    /// Makes it take turns with other runs, once it takes long.
    pub(super) fn take_turns(&mut self, part: Part) {
        self.turns = Some(part);
    }

    /// Whether that bound was reached.
    pub(super) fn has_reached_cpu(&self) -> bool {
        self.cpu.as_ref().is_some_and(|cpu| cpu.is_reached)
    }
}

/// Ends a run whose time is over, at each tick of the epochs. The clock decides and not the number
/// of ticks: on a busy machine they come late. One that goes on waits here for its turn.
pub(super) fn on_tick(mut store: StoreContextMut<'_, State>) -> Result<UpdateDeadline> {
    let state = store.data_mut();
    if let Some(turns) = &mut state.turns {
        turns.tick(&state.wall);
    }
    let is_over = state.cpu.as_mut().is_some_and(CpuLimit::reached) || state.wall.left().is_zero();
    Ok(if is_over { UpdateDeadline::Interrupt } else { UpdateDeadline::Continue(1) })
}

/// Table elements that a pool's slot has. Every host has the same, so that a growth fails alike on
/// all of them.
pub(super) const POOLED_TABLE: usize = Limits::MOST.table_elements as usize;

/// Sums over all memories and all tables of a component; wasmtime's own limits are each
/// for one. What is granted stays counted: that a growth fails by its own maximum is known before,
/// and the engine's word of a failure does not say of which growth it is.
impl ResourceLimiter for State {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            // The memory's own maximum refuses it, and the guest is told so: nothing of ours is reached.
            return Ok(false);
        }
        let wanted = self.memory_bytes + (desired - current) as u64;
        if wanted > self.limits.memory_bytes {
            return Err(Reached::Memory { wanted, granted: self.limits.memory_bytes }.into());
        }
        self.memory_bytes = wanted;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> Result<()> {
        // The machine has no memory for it. A guest that is told so would decide by that, and no replay would.
        if super::is_of_the_system(&error) { Err(error) } else { Ok(()) }
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        if maximum.is_some_and(|maximum| maximum < POOLED_TABLE && desired > maximum) {
            return Ok(false);
        }
        let wanted = self.table_elements + (desired - current) as u64;
        if wanted > self.limits.table_elements {
            return Err(Reached::Tables { wanted, granted: self.limits.table_elements }.into());
        }
        self.table_elements = wanted;
        Ok(true)
    }
}

impl types::Host for State {}

impl models::Host for State {
    fn score(
        &mut self,
        model: u32,
        rows: Vec<Vec<types::Value>>,
    ) -> Result<std::result::Result<Vec<f64>, models::ScoreError>> {
        self.in_time()?;
        let rows: Vec<Vec<Value>> = rows.into_iter().map(|row| row.into_iter().map(from_guest).collect()).collect();
        // Counted first, whatever the answer: a loop of calls that are refused has an end too.
        self.calls += 1;
        self.rows += rows.len() as u64;
        self.row_bytes += rows.iter().flatten().map(Value::recorded_bytes).sum::<u64>() + rows.len() as u64;
        let is_beyond = self.calls > self.limits.host_calls
            || self.rows > self.limits.host_call_rows
            || self.row_bytes > self.limits.transcript_bytes();
        let Scored { digest, answer, cause } = match is_beyond {
            true => CallError::LimitReached.into(),
            false => {
                let mut watch = Stopwatch::new();
                let answer = self.answer(model, &rows);
                self.calls_us += watch.lap_us();
                answer
            }
        };
        // One call beyond the limit is kept, to show it. Rows that were refused are not: they
        // may have no form in the record, or no end.
        if self.calls <= self.limits.host_calls + 1 {
            let is_kept = !is_beyond && rows.iter().flatten().all(|v| !matches!(v, Value::Number(x) if !x.is_finite()));
            let rows = if is_kept { rows } else { Vec::new() };
            self.transcript.push(ModelCall { model, digest, rows, answer: answer.clone(), cause });
        }
        Ok(answer.map_err(|error| match error {
            CallError::UnknownModel => models::ScoreError::UnknownModel,
            CallError::InvalidRow(why) => models::ScoreError::InvalidRow(why),
            CallError::Timeout => models::ScoreError::Timeout,
            CallError::Unavailable => models::ScoreError::Unavailable,
            CallError::LimitReached => models::ScoreError::LimitReached,
        }))
    }
}

impl log::Host for State {
    fn log(&mut self, level: log::Level, message: String) -> Result<()> {
        self.in_time()?;
        self.keep(level, message);
        Ok(())
    }
}

/// A value as the guest sees it.
pub(super) fn to_guest(value: &Value) -> types::Value {
    match value {
        Value::Missing => types::Value::Missing,
        Value::Boolean(b) => types::Value::Boolean(*b),
        Value::Integer(i) => types::Value::Integer(*i),
        Value::Number(x) => types::Value::Number(*x),
        Value::Text(t) => types::Value::Text(t.clone()),
    }
}

/// A value that the guest gave. Not yet known to be finite.
pub(super) fn from_guest(value: types::Value) -> Value {
    match value {
        types::Value::Missing => Value::Missing,
        types::Value::Boolean(b) => Value::Boolean(b),
        types::Value::Integer(i) => Value::Integer(i),
        types::Value::Number(x) => Value::Number(x),
        types::Value::Text(t) => Value::Text(t),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_an_end_also_where_they_are_empty() {
        let limits = Limits { log_bytes: 4096, ..Limits::default() };
        let mut state = State::new(limits, Budget::new(Duration::ZERO), Arc::default(), None);
        (0..100_000).for_each(|_| state.keep(log::Level::Info, String::new()));
        assert_eq!((state.logs.len(), state.logs_cut), (256, true), "16 bytes a line");
    }

    #[test]
    fn a_host_call_after_the_end_of_the_time_ends_the_run() {
        let mut state = State::new(Limits::default(), Budget::new(Duration::ZERO), Arc::default(), None);
        let ended = log::Host::log(&mut state, log::Level::Info, "late".to_owned()).expect_err("ended");
        assert_eq!(ended.downcast_ref::<Trap>(), Some(&Trap::Interrupt));
        let ended = models::Host::score(&mut state, 0, Vec::new()).expect_err("ended");
        assert_eq!(ended.downcast_ref::<Trap>(), Some(&Trap::Interrupt));
        assert!(state.logs.is_empty() && state.transcript.is_empty());
    }

    #[test]
    fn the_rows_of_all_calls_have_an_end_in_bytes() {
        let limits = Limits { host_call_rows: 4, ..Limits::default() };
        let mut state = State::new(limits, Budget::new(Duration::from_secs(3600)), Arc::default(), None);
        let row = || vec![vec![types::Value::Text("\u{1}".repeat(100))]];
        let mut call = |rows| models::Host::score(&mut state, 0, rows).expect("in time").expect_err("no such model");
        assert!((0..3).all(|_| matches!(call(row()), models::ScoreError::UnknownModel)), "600 bytes each, as JSON");
        assert!(matches!(call(vec![vec![types::Value::Text("\u{1}".repeat(400))]]), models::ScoreError::LimitReached));
        let kept: usize = state.transcript.iter().map(|call| call.rows.len()).sum();
        assert_eq!((state.transcript.len(), kept), (4, 3), "the call that goes beyond is shown without its rows");
    }

    #[test]
    fn a_growth_that_its_own_maximum_refuses_reaches_no_limit() {
        let limits = Limits { table_elements: 100, memory_bytes: 100, ..Limits::default() };
        let mut state = State::new(limits, Budget::new(Duration::ZERO), Arc::default(), None);
        for _ in 0..2 {
            assert!(!state.table_growing(10, 6_010, Some(20)).expect("refused, and no breach"));
            assert!(!state.memory_growing(10, 6_010, Some(20)).expect("refused, and no breach"));
        }
        assert!(state.table_growing(10, 20, Some(20)).expect("granted"));
        assert_eq!((state.table_elements, state.memory_bytes), (10, 0));
        // What a pool's slot has is no maximum of the guest's own.
        state.table_growing(0, POOLED_TABLE + 1, Some(POOLED_TABLE)).expect_err("a breach");
        state.memory_growing(0, 101, None).expect_err("a breach");
    }
}
