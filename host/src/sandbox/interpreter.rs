//! Runs an interpreter's core module once, for the memory that it leaves: what a strategy's own component starts with.

use std::time::Duration;

use wasmtime::{Engine, Instance, Module, Store, StoreLimits, StoreLimitsBuilder, Trap, Val};

use super::engine::LOADING_STACK_BYTES;
use super::{Engines, STACK_BYTES, Size, TICK};

/// How long a strategy may take to load.
const PATIENCE: Duration = Duration::from_secs(60);
/// How `decide` takes its context: a place and a length for each text and list, and between them a time and an offset.
const PARAMETERS: [&str; 12] = ["i32", "i32", "i64", "i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32"];

/// The names of what a core module exports.
#[derive(Debug, Clone)]
pub struct CoreExports {
    /// Its memory.
    pub memory: String,
    /// What makes room in it.
    pub realloc: String,
    /// The lifted `decide`.
    pub decide: String,
    /// What frees an answer of `decide`.
    pub post_return: Option<String>,
    /// The globals that change.
    pub globals: Vec<String>,
}

/// A compiled core module that waits for a strategy.
pub struct Interpreter {
    engine: Engine,
    module: Module,
    exports: CoreExports,
}

/// What is there once a strategy is loaded.
pub struct Loaded {
    /// All of the memory.
    pub memory: Vec<u8>,
    /// The bits of [`CoreExports::globals`].
    pub globals: Vec<u64>,
}

/// Why no strategy is there.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The module can't be used: it has another shape, it trapped, or it took too long.
    #[error("{0:#}")]
    Unusable(#[from] wasmtime::Error),
    /// It was not loaded in time.
    #[error("it was not loaded after {0} s")]
    TooSlow(u64),
    /// `decide` refused.
    #[error("{message}")]
    Refused {
        /// The refusal's code.
        code: u32,
        /// Its words.
        message: String,
    },
}

impl LoadError {
    /// The module can't be used, and why.
    pub fn unusable(why: impl std::fmt::Display) -> Self {
        Self::Unusable(wasmtime::Error::msg(why.to_string()))
    }
}

fn unusable(why: &str) -> LoadError {
    LoadError::unusable(why)
}

impl Interpreter {
    /// Compiles a module; what of it an earlier one had is not compiled again.
    ///
    /// # Errors
    /// That it is no valid module.
    pub fn new(engines: &Engines, module: &[u8], exports: CoreExports) -> Result<Self, LoadError> {
        let engine = engines.for_loading()?;
        let module = engines.compile_module(&engine, module)?;
        Ok(Self { engine, module, exports })
    }

    /// Starts an instance, and has its `decide` called with each of `texts` as the decision point.
    ///
    /// # Errors
    /// What it answered but a decision, or why it gave no answer.
    pub fn load(&self, texts: &[String]) -> Result<Loaded, LoadError> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("serin-loading".into());
            let thread = thread.stack_size(LOADING_STACK_BYTES + STACK_BYTES);
            let thread = thread.spawn_scoped(scope, || self.run(texts)).map_err(LoadError::unusable)?;
            thread.join().unwrap_or_else(|_| Err(unusable("the thread that loaded it died")))
        })
    }

    fn run(&self, texts: &[String]) -> Result<Loaded, LoadError> {
        let limits = StoreLimitsBuilder::new().memory_size(Size::Large.memory_bytes() as usize).build();
        let mut store = Store::new(&self.engine, limits);
        store.limiter(|limits| limits);
        store.set_fuel(u64::MAX)?;
        store.set_epoch_deadline((PATIENCE.as_millis() / TICK.as_millis()) as u64);
        let instance = Instance::new(&mut store, &self.module, &[])?;
        let function = |store: &mut Store<StoreLimits>, name: &str| {
            instance.get_func(store, name).ok_or_else(|| unusable("a function is not there"))
        };
        let memory =
            instance.get_memory(&mut store, &self.exports.memory).ok_or_else(|| unusable("it has no memory"))?;
        let realloc = function(&mut store, &self.exports.realloc)?.typed::<(i32, i32, i32, i32), i32>(&store)?;
        let decide = function(&mut store, &self.exports.decide)?;
        if !decide.ty(&store).params().map(|ty| ty.to_string()).eq(PARAMETERS) {
            return Err(unusable("its 'decide' takes something else than a context"));
        }
        let post_return = self.exports.post_return.as_ref().map(|name| function(&mut store, name)).transpose()?;
        for text in texts {
            let length = i32::try_from(text.len()).map_err(|_| unusable("the strategy is too large"))?;
            let place = realloc.call(&mut store, (0, 0, 1, length))?;
            memory.write(&mut store, place as u32 as usize, text.as_bytes()).map_err(wasmtime::Error::from)?;
            let mut given = [Val::I32(0); PARAMETERS.len()];
            (given[0], given[1], given[2]) = (Val::I32(place), Val::I32(length), Val::I64(0));
            // An empty list lies nowhere, but not at the null pointer.
            given[4..].iter_mut().step_by(2).for_each(|place| *place = Val::I32(8));
            let mut answer = [Val::I32(0)];
            decide.call(&mut store, &given, &mut answer).map_err(ended)?;
            let refused = refusal(memory.data(&store), answer[0].unwrap_i32() as u32 as usize)?;
            if let Some(post_return) = post_return {
                post_return.call(&mut store, &answer, &mut [])?;
            }
            if let Some((code, message)) = refused {
                return Err(LoadError::Refused { code, message });
            }
        }
        let globals = self.exports.globals.iter().map(|name| {
            let global = instance.get_global(&mut store, name).ok_or_else(|| unusable("a global is not there"))?;
            match global.get(&mut store) {
                Val::I32(number) => Ok(u64::from(number as u32)),
                Val::I64(number) => Ok(number as u64),
                Val::F32(bits) => Ok(u64::from(bits)),
                Val::F64(bits) => Ok(bits),
                _ => Err(unusable("a global is no number")),
            }
        });
        let globals = globals.collect::<Result<_, LoadError>>()?;
        Ok(Loaded { memory: memory.data(&store).to_vec(), globals })
    }
}

/// Why a call has no answer.
fn ended(error: wasmtime::Error) -> LoadError {
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => LoadError::TooSlow(PATIENCE.as_secs()),
        Some(Trap::UnreachableCodeReached) => {
            unusable("while it is loaded, it asks for what only a build has, such as printing or a folder's list")
        }
        _ => LoadError::Unusable(error),
    }
}

/// The refusal in an answer of `decide` at `place`; none where it is a decision.
fn refusal(memory: &[u8], place: usize) -> Result<Option<(u32, String)>, LoadError> {
    let beyond = || unusable("its answer lies beyond its memory");
    let word = |at: usize| {
        let bytes = memory.get(at..).and_then(|rest| rest.first_chunk::<4>()).ok_or_else(beyond)?;
        Ok::<_, LoadError>(u32::from_le_bytes(*bytes))
    };
    if *memory.get(place).ok_or_else(beyond)? == 0 {
        return Ok(None);
    }
    let (code, start, length) = (word(place + 4)?, word(place + 8)? as usize, word(place + 12)? as usize);
    let text = start.checked_add(length).and_then(|end| memory.get(start..end)).ok_or_else(beyond)?;
    Ok(Some((code, String::from_utf8_lossy(text).into_owned())))
}
