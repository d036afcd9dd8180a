//! Engines: deterministic, metered, with pooled memory. Two of them, since a large guest
//! needs pool slots of a size that would waste address space on small ones.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use wasmtime::component::Component;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, Module, OptLevel, PoolingAllocationConfig, RegallocAlgorithm,
};

use super::cache::Cache;
use super::code::SharedCode;
use super::drafted::{Drafted, LastInterpreter};
use super::functions::FunctionCache;
use super::state::POOLED_TABLE;
use super::turns::Turns;

/// The stack of a thread on which guests run: [`WASM_STACK_BYTES`] are theirs, and the rest the host's own
/// frames and ONNX Runtime's.
pub const STACK_BYTES: usize = 4 << 20;
/// The part of it that a guest gets.
const WASM_STACK_BYTES: usize = 512 << 10;
/// The same where code is drafted, whose frames are larger.
const DRAFTED_STACK_BYTES: usize = 1 << 20;
/// The part that a guest gets which loads a strategy.
pub(super) const LOADING_STACK_BYTES: usize = 16 << 20;

/// How often epochs tick; the wall clock's resolution for guests.
pub const TICK: Duration = Duration::from_millis(1);

/// The niceness of what compiles beside decisions: a decision that is due gets nine tenths of a
/// core that both want, and on a machine that has nothing else to do nothing is lost. Nicer still,
/// and a host that is always busy would never finish loading a version.
const NICE: i32 = 10;

/// Which pool a guest runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// A compiled language's strategy: a few core instances, little memory.
    Small,
    /// One that carries an interpreter.
    Large,
}

impl Size {
    /// Bytes of linear memory that a pool slot has.
    pub fn memory_bytes(self) -> u64 {
        match self {
            Self::Small => 64 << 20,
            Self::Large => 512 << 20,
        }
    }

    /// Chooses by the artifact's size: an interpreter does not fit into 2 MiB.
    pub fn of(artifact_bytes: usize) -> Self {
        if artifact_bytes <= 2 << 20 { Self::Small } else { Self::Large }
    }
}

/// The engines of a host.
pub struct Engines {
    small: Engine,
    large: std::sync::OnceLock<Engine>,
    ticking: Arc<std::sync::Mutex<Vec<Engine>>>,
    settings: Settings,
    cache: Option<Cache>,
    in_memory: SharedCode,
    last_interpreter: LastInterpreter,
    turns: Arc<Turns>,
    functions: Arc<FunctionCache>,
    niceness: i32,
}

impl Engines {
    /// Engines that can hold `slots` instances at once, and the thread that ticks their
    /// epochs.
    ///
    /// # Errors
    /// What wasmtime refuses of the settings.
    pub fn new(slots: u32) -> wasmtime::Result<Self> {
        Self::of(Settings { slots, ..Settings::default() })
    }

    /// Engines for benchmarks, in which no guest is metered: nothing would end one that loops.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn without_limits(slots: u32) -> wasmtime::Result<Self> {
        Self::of(Settings { slots, unmetered: true, ..Settings::default() })
    }

    fn of(settings: Settings) -> wasmtime::Result<Self> {
        let small = build(Size::Small, &settings, None)?;
        let ticking = Arc::new(std::sync::Mutex::new(vec![small.clone()]));
        tick(Arc::downgrade(&ticking));
        Ok(Self {
            small,
            large: std::sync::OnceLock::new(),
            ticking,
            settings,
            cache: None,
            in_memory: SharedCode::default(),
            last_interpreter: LastInterpreter::default(),
            turns: Arc::new(Turns::on_half_of_the_processors()),
            functions: Arc::default(),
            niceness: 0,
        })
    }

    /// The same, with compiled code kept in `dir`. Without it, or where it cannot be had, all is
    /// compiled anew at every start.
    #[must_use]
    pub fn cached(mut self, dir: &Path) -> Self {
        match Cache::open(dir) {
            Ok(cache) => self.cache = Some(cache),
            Err(error) => tracing::warn!(%error, dir = %dir.display(), "compiled code is not kept"),
        }
        self
    }

    /// The same, with the compiled code that a host keeps in `dir`, where there is some. Nothing is
    /// changed there.
    #[must_use]
    pub fn reading_cache(mut self, dir: &Path) -> Self {
        self.cache = Cache::as_it_is(dir);
        self
    }

    /// The same, compiling with less priority than everything else: decisions are made meanwhile.
    #[must_use]
    pub fn beside_decisions(mut self) -> Self {
        self.niceness = NICE;
        self
    }

    /// Gives the calling thread the priority of what compiles. It never gets its own back.
    pub fn give_way(&self) {
        give_way(self.niceness);
    }

    /// The same, with slower code for large guests that is compiled in half the time: for who
    /// waits for it at every change. What it does, and its fuel, are the same; its frames are larger, and so is its stack.
    #[must_use]
    pub fn drafting(mut self) -> Self {
        self.settings.draft = true;
        self
    }

    /// The code of the versions that are in memory.
    pub(super) fn in_memory(&self) -> &SharedCode {
        &self.in_memory
    }

    /// A draft's code, where code is drafted; none of another component.
    ///
    /// # Errors
    /// What wasmtime says.
    pub(super) fn compile_draft(&self, engine: &Engine, component: &[u8]) -> wasmtime::Result<Option<Drafted>> {
        if !self.settings.draft {
            return Ok(None);
        }
        self.last_interpreter.compile(engine, component, |module| self.compile_module(engine, module))
    }

    /// The turns of runs that take long.
    pub(super) fn turns(&self) -> Arc<Turns> {
        Arc::clone(&self.turns)
    }

    /// A component's code: what was compiled before, or compiled now.
    ///
    /// # Errors
    /// That it is not a valid component.
    pub(super) fn compile(&self, engine: &Engine, component: &[u8]) -> wasmtime::Result<Component> {
        let Some(cache) = &self.cache else { return translate(engine, component, self.niceness) };
        if let Some(known) = cache.get(engine, component) {
            return Ok(known);
        }
        let compiled = self.functions.with(cache, || translate(engine, component, self.niceness))?;
        cache.put(engine, component, &compiled);
        Ok(compiled)
    }

    /// An engine for an interpreter that loads a strategy: with a deeper stack than a decision has, since it compiles
    /// the strategy's source. Its code is the large one's.
    ///
    /// # Errors
    /// What wasmtime refuses of the settings.
    pub(super) fn for_loading(&self) -> wasmtime::Result<Engine> {
        let mut config = configured(&self.settings, Some(&self.functions))?;
        config.max_wasm_stack(LOADING_STACK_BYTES).async_stack_size(LOADING_STACK_BYTES + STACK_BYTES);
        let engine = Engine::new(&config)?;
        self.ticking.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(engine.clone());
        Ok(engine)
    }

    /// A core module's code; functions that were compiled before are not compiled again.
    ///
    /// # Errors
    /// That it is not a valid module.
    pub(super) fn compile_module(&self, engine: &Engine, module: &[u8]) -> wasmtime::Result<Module> {
        let compile = || on_all_cores(self.niceness, || Module::new(engine, module));
        match &self.cache {
            Some(cache) => self.functions.with(cache, compile),
            None => compile(),
        }
    }

    /// The engine for guests of `size`; the large one is made when it is first needed.
    ///
    /// # Errors
    /// What wasmtime refuses of the settings.
    pub fn get(&self, size: Size) -> wasmtime::Result<&Engine> {
        if size == Size::Small {
            return Ok(&self.small);
        }
        if let Some(engine) = self.large.get() {
            return Ok(engine);
        }
        // Small guests share little, and are compiled in milliseconds.
        let engine = build(Size::Large, &self.settings, Some(&self.functions))?;
        self.ticking.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(engine.clone());
        Ok(self.large.get_or_init(|| engine))
    }
}

fn give_way(niceness: i32) {
    if niceness > 0 {
        // On Linux a thread's own. Where it is refused, compiling is no less right.
        let _ = rustix::process::setpriority_process(None, niceness);
    }
}

/// Compiles on threads of its own: an interpreter takes seconds of each core.
fn on_all_cores<T: Send>(niceness: i32, compile: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new()
        .thread_name(|n| format!("serin-compile-{n}"))
        .start_handler(move |_| give_way(niceness))
        .build();
    match pool {
        Ok(pool) => pool.install(compile),
        Err(error) => {
            tracing::warn!(%error, "no threads to compile on; decisions may wait meanwhile");
            compile()
        }
    }
}

fn translate(engine: &Engine, component: &[u8], niceness: i32) -> wasmtime::Result<Component> {
    on_all_cores(niceness, || Component::new(engine, component))
}

/// Ticks from a thread of its own: a task on an async runtime stops ticking exactly when a
/// guest occupies the worker, which is when the tick is needed.
fn tick(engines: Weak<std::sync::Mutex<Vec<Engine>>>) {
    let ticker = move || {
        while let Some(engines) = engines.upgrade() {
            for engine in engines.lock().unwrap_or_else(std::sync::PoisonError::into_inner).iter() {
                engine.increment_epoch();
            }
            drop(engines);
            std::thread::sleep(TICK);
        }
    };
    // Without a ticker a wall limit could never fire; a host that cannot start one thread
    // cannot serve either.
    std::thread::Builder::new().name("serin-epochs".into()).spawn(ticker).expect("a thread for epochs");
}

fn deterministic() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .consume_fuel(true)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .wasm_backtrace_max_frames(None)
        .cranelift_regalloc_algorithm(RegallocAlgorithm::Backtracking)
        .max_wasm_stack(WASM_STACK_BYTES);
    config
}

/// What an engine is built for, besides the size of its guests.
#[derive(Default)]
struct Settings {
    /// Instances at once.
    slots: u32,
    /// For who waits for the compiler.
    draft: bool,
    /// For benchmarks.
    unmetered: bool,
}

/// What an engine's code follows from.
fn configured(settings: &Settings, functions: Option<&Arc<FunctionCache>>) -> wasmtime::Result<Config> {
    let mut config = deterministic();
    if let Some(functions) = functions {
        config.enable_incremental_compilation(Arc::<FunctionCache>::clone(functions))?;
    }
    if settings.unmetered {
        config.consume_fuel(false).epoch_interruption(false);
    }
    if settings.draft {
        config
            .cranelift_opt_level(OptLevel::None)
            .cranelift_regalloc_algorithm(RegallocAlgorithm::SinglePass)
            .max_wasm_stack(DRAFTED_STACK_BYTES);
    }
    Ok(config)
}

fn build(size: Size, settings: &Settings, functions: Option<&Arc<FunctionCache>>) -> wasmtime::Result<Engine> {
    let slots = settings.slots;
    let mut pool = PoolingAllocationConfig::new();
    // A memory keeps the image of the version that it was used for last, and to give it to another
    // one costs two mappings and an interrupt of all cores: a third of a small guest's run. With
    // several for each instance, some versions in turn each have their own. One costs 64 KiB that
    // stay resident; a large guest's costs megabytes.
    let (cores, tables, memories, instance_bytes, resident) = match size {
        Size::Small => (8, 8, 8, 1 << 20, 64 << 10),
        Size::Large => (100, 40, 1, 16 << 20, 2 << 20),
    };
    pool.total_component_instances(slots)
        .total_core_instances(slots * cores)
        .max_core_instances_per_component(cores)
        .max_component_instance_size(instance_bytes)
        .max_core_instance_size(instance_bytes)
        .total_memories(slots * memories)
        .max_memories_per_component(1)
        .max_memory_size(size.memory_bytes() as usize)
        .total_tables(slots * tables)
        .max_tables_per_component(tables)
        // A merged module has its own, and one with the host's functions.
        .max_tables_per_module(2)
        .table_elements(POOLED_TABLE)
        .linear_memory_keep_resident(resident)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    let mut config = configured(settings, functions)?;
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    match Engine::new(&config) {
        Ok(engine) => Ok(engine),
        Err(error) => {
            // Containers with little address space cannot reserve the pool. Slower is better
            // than not at all, and the operator is told.
            tracing::warn!(%error, "no pooled memory here; instances are allocated on demand, which is slower");
            Engine::new(&configured(settings, functions)?)
        }
    }
}
