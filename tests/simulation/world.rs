//! The host's parts, put together as a host puts them together, but for its threads: who does what
//! next is a step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use serde_json::json;
use serin::app::{Reloader, ReloaderParts};
use serin::clock::{Clock, SimulatedClock};
use serin::config::Config;
use serin::experiments::{CommandError, Controller, Motive, Observer, Proposal, carry_out};
use serin::features::EmbeddedStore;
use serin::ledger::{DecisionRow, Durability, Ledger};
use serin::registry::{Archive, Awaited, Folder, Scan};
use serin::sandbox::Engines;
use serin::telemetry::Metrics;
use serin_core::experiment::{Command, Experiment, Status};

use super::faults::Faults;
use super::files::{self, CONFIG, File, IDS};
use super::model::Model;
use crate::support::seeds::Random;
use crate::support::{Deployment, wat};

/// Who the person is.
pub const PERSON: &str = "ann";
/// When a simulation begins.
const BEGIN_MS: u64 = 1_700_000_000_000;

/// What all simulations of a process share: two strategies, compiled once, and a feature store.
struct Shared {
    deployment: Deployment,
    folder: Arc<Folder>,
    store: Arc<EmbeddedStore>,
}

static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let deployment = Deployment::new("");
    for name in ["p", "q"] {
        let (manifest, body) = (wat::manifest(name, "1.0.0", "p", "go"), wat::decide("(i32.const 1024)"));
        let artifact = wat::guest(&manifest, &format!("{} {body}", wat::PRELUDE));
        deployment.write(&format!("plugins/{name}-1.0.0.wasm"), artifact);
    }
    let archive = Archive::open(&deployment.path().join("data/archive")).expect("an archive");
    let engines = Arc::new(Engines::new(4).expect("engines"));
    let folder = Arc::new(Folder::new(deployment.path().join("plugins"), engines, archive, false));
    folder.scan(&Scan { wanted: &[], in_force: &[], trust: &Arc::default() }, BEGIN_MS);
    folder.wait(Awaited::All, Duration::from_secs(60));
    let store = Arc::new(EmbeddedStore::open(&deployment.path().join("data/features.db")).expect("a store"));
    Shared { deployment, folder, store }
});

/// The reloader's clock, at which somebody else may act while files are being put in force.
pub struct Interrupted {
    clock: Arc<SimulatedClock>,
    /// Readings of the clock until then.
    left: AtomicUsize,
    act: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Clock for Interrupted {
    fn now_ms(&self) -> u64 {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 0 {
            let act = self.act.lock().expect("nobody panicked").take();
            act.into_iter().for_each(|act| act());
        }
        self.clock.now_ms()
    }

    fn uptime_ms(&self) -> u64 {
        self.clock.uptime_ms()
    }

    fn entropy(&self) -> u64 {
        self.clock.entropy()
    }
}

/// What a host consists of until it restarts.
pub struct Parts {
    pub ledger: Arc<Ledger>,
    pub controller: Arc<Controller>,
    pub observer: Arc<Observer>,
    pub reloader: Reloader,
}

impl Parts {
    fn start(folder: &Deployment, clock: Arc<SimulatedClock>, interrupted: Arc<Interrupted>) -> Self {
        let metrics = Arc::new(Metrics::default());
        let mut config = Config::load(&folder.config()).expect("a valid configuration");
        config.fixed.plugins = SHARED.deployment.path().join("plugins");
        let path = folder.path().join("data/serin.db");
        let ledger = Arc::new(Ledger::open(&path, Durability::Process, Arc::clone(&metrics)).expect("opens"));
        let controller = Controller::open(Arc::clone(&ledger), clock, Arc::clone(&metrics)).expect("opens");
        let controller = Arc::new(controller);
        let observer = Arc::new(Observer::new(Arc::clone(&ledger)));
        let parts = ReloaderParts {
            folder: Arc::clone(&SHARED.folder),
            archive: Archive::open(&folder.path().join("data/archive")).expect("an archive"),
            store: Arc::clone(&SHARED.store),
            runtime: None,
            clock: Arc::<Interrupted>::clone(&interrupted),
            steady: interrupted,
            metrics,
            controller: Arc::clone(&controller),
            access: Arc::default(),
            observer: Arc::clone(&observer),
            tls: None,
        };
        let reloader = Reloader::new(config, parts);
        reloader.start();
        Self { ledger, controller, observer, reloader }
    }
}

/// A simulated host and what surrounds it.
pub struct World {
    pub random: Random,
    pub clock: Arc<SimulatedClock>,
    interrupted: Arc<Interrupted>,
    pub folder: Deployment,
    pub faults: Faults,
    pub model: Model,
    /// None only while it restarts.
    pub parts: Option<Parts>,
    /// Decisions that were made, and are not committed.
    pub decided: Vec<DecisionRow>,
    /// What the host judged, and has not carried out.
    pub proposals: Vec<Proposal>,
    /// The files as they are, and as the host has read them.
    pub files: BTreeMap<&'static str, File>,
    pub files_read: BTreeMap<&'static str, File>,
    /// Whose files were gone, and have not been valid since.
    pub gone: BTreeSet<&'static str>,
    /// What was recorded last is in force: nobody commanded anything since.
    pub is_settled: bool,
    /// Ids of outcomes so far, stored or not.
    pub outcomes: Vec<String>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let folder = Deployment::new(CONFIG);
        let random = Random::new(seed);
        let clock = Arc::new(SimulatedClock::new(BEGIN_MS, seed ^ 0x5e71));
        let mut model = Model::default();
        for id in IDS {
            folder.write(&format!("experiments/{id}.toml"), files::text(id, 0));
            for spec in 0..files::SPECS {
                let spec = files::parse(id, spec);
                let ramp: Vec<f64> = spec.ramp.iter().map(|step| step.coverage).collect();
                model.ramps.insert(spec.digest.to_string(), ramp);
            }
        }
        let interrupted = Arc::new(Interrupted {
            clock: Arc::clone(&clock),
            left: AtomicUsize::new(usize::MAX),
            act: Mutex::default(),
        });
        let parts = Parts::start(&folder, Arc::clone(&clock), Arc::clone(&interrupted));
        let faults = Faults::prepare(&folder.path().join("data/serin.db"));
        let files: BTreeMap<_, _> = IDS.map(|id| (id, File::Spec(0))).into();
        Self {
            random,
            clock,
            interrupted,
            folder,
            faults,
            model,
            parts: Some(parts),
            decided: Vec::new(),
            proposals: Vec::new(),
            files_read: files.clone(),
            gone: BTreeSet::new(),
            files,
            is_settled: true,
            outcomes: Vec::new(),
        }
    }

    pub fn host(&self) -> &Parts {
        self.parts.as_ref().expect("it runs")
    }

    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    pub fn passed_ms(&self) -> u64 {
        self.now_ms() - BEGIN_MS
    }

    /// Ends the host, and starts another one on what it left. What was not committed is lost.
    pub fn restart(&mut self) {
        let parts = self.parts.take().expect("it runs");
        parts.ledger.close();
        drop(parts);
        self.decided.clear();
        self.proposals.clear();
        self.parts = Some(Parts::start(&self.folder, Arc::clone(&self.clock), Arc::clone(&self.interrupted)));
        self.note_read();
        self.is_settled = true;
    }

    /// Has the files read and put in force. What `meanwhile` commands, when the reloader reads the
    /// clock for the given time, may come too late for it.
    pub fn reload(&mut self, meanwhile: Option<(usize, Meanwhile)>) {
        let is_interrupted = meanwhile.is_some();
        if let Some((readings, meanwhile)) = meanwhile {
            let controller = Arc::clone(&self.host().controller);
            *self.interrupted.act.lock().expect("nobody panicked") = Some(Box::new(move || meanwhile.act(&controller)));
            self.interrupted.left.store(readings, Ordering::SeqCst);
        }
        self.host().reloader.reload();
        self.note_read();
        self.interrupted.left.store(usize::MAX, Ordering::SeqCst);
        let was_left = self.interrupted.act.lock().expect("nobody panicked").take().is_some();
        self.is_settled = !is_interrupted || was_left;
    }

    /// The host has read the files.
    pub fn note_read(&mut self) {
        self.files_read = self.files.clone();
        for (id, file) in &self.files_read {
            match file {
                File::Spec(_) => drop(self.gone.remove(id)),
                File::Missing => drop(self.gone.insert(id)),
                File::Broken => {}
            }
        }
    }

    /// Has what was commanded put in force.
    pub fn apply(&mut self) {
        self.host().reloader.apply();
        self.note_read();
        self.is_settled = true;
    }

    /// The spec in force that a command is about; none where none ever was.
    pub fn spec(&self, id: &str) -> Option<Arc<Experiment>> {
        self.host().reloader.status.load().experiments.iter().find(|shown| *shown.id == *id)?.spec.clone()
    }
}

/// What happens while files are put in force.
#[derive(Debug, Clone)]
pub enum Meanwhile {
    /// A person's command.
    Person(Arc<Experiment>, Command),
    /// What the host judged before.
    Host(Vec<Proposal>),
}

impl Meanwhile {
    fn act(self, controller: &Controller) {
        match self {
            Self::Person(spec, command) => drop(person(controller, &spec, &command, None)),
            Self::Host(proposals) => drop(carry_out(controller, proposals)),
        }
    }
}

pub fn by_person() -> Motive {
    Motive { by: PERSON.into(), reason: "a test".into(), evidence: json!(null) }
}

/// Gives a person's command.
pub fn person(
    controller: &Controller,
    spec: &Experiment,
    command: &Command,
    judged: Option<u64>,
) -> Result<Status, CommandError> {
    controller.command(spec, command, by_person(), judged)
}
