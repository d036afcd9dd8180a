//! The demo's deployment in a folder of its own: the same configuration, model, experiment and
//! artifacts, every borrower of the file, and a servicing row for each of their loans.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serin::app::{Reloader, ReloaderParts};
use serin::clock::{Clock as _, SystemClock};
use serin::config::Config;
use serin::decide::{BoundArm, DecisionRequest, DeploymentSnapshot, Thread, decide};
use serin::experiments::{Controller, Observer};
use serin::features::{EmbeddedStore, FeatureInput, LoadOptions, load_file};
use serin::ledger::{Durability, Ledger};
use serin::models::Runtime;
use serin::registry::{Archive, Folder};
use serin::sandbox::Engines;
use serin::telemetry::Metrics;
use serin_core::Name;
use serin_core::record::{Record, ServedBy};
use serin_core::value::Value;
use tempfile::TempDir;

/// The decision point of the demo.
pub const POINT: &str = "collections-outreach";
/// The arm whose decisions are measured: a strategy with a declared score.
pub const ARM: &str = "score";

/// Borrowers that are decided about in turn: enough that no row is special, and few enough that
/// a request is as warm in the cache as one that was just received.
const SUBJECTS: usize = 64;

/// What any of this may fail with.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The program that is measured: `SERIN_BENCH_PROGRAM`, or else the one that was built with this.
pub fn serin() -> String {
    std::env::var("SERIN_BENCH_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_serin").to_owned())
}

/// The folder of a deployment. Removed when it is dropped.
pub struct Folders(TempDir);

impl Folders {
    /// Lays a deployment out, and fills its feature store.
    pub fn lay_out() -> Result<Self, Failure> {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let demo = root().join("host/demo");
        for folder in ["plugins", "experiments", "models", "data"] {
            std::fs::create_dir(dir.path().join(folder))?;
        }
        for file in [
            "serin.toml",
            "experiments/outreach-score.toml",
            "models/default-risk.onnx",
            "models/default-risk.golden.json",
        ] {
            std::fs::copy(demo.join(file), dir.path().join(file))?;
        }
        for (plugin, file) in
            [("outreach-rules", "outreach-rules-1.0.0.wasm"), ("outreach-score", "outreach-score-1.1.0.wasm")]
        {
            std::fs::copy(artifact(plugin, file)?, dir.path().join("plugins").join(file))?;
        }
        let folders = Self(dir);
        folders.fill_features()?;
        Ok(folders)
    }

    /// `serin.toml`.
    pub fn config(&self) -> PathBuf {
        self.0.path().join("serin.toml")
    }

    /// A path inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Forgets what was decided, and the experiments that ran: they would hold their slots.
    pub fn forget(&self) -> Result<(), Failure> {
        for entry in std::fs::read_dir(self.path("data"))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("serin.db") {
                std::fs::remove_file(path)?;
            } else if name == "archive" {
                std::fs::remove_dir_all(path)?;
            }
        }
        Ok(())
    }

    fn fill_features(&self) -> Result<(), Failure> {
        let config = Config::load(&self.config())?;
        let store = EmbeddedStore::open(&self.path("data/features.db"))?;
        let now_ms = SystemClock.now_ms();
        let options = LoadOptions { now_ms, null: Vec::new() };
        load_file(
            &store,
            &config.views["borrower-profile"],
            &root().join("host/demo/borrowers.csv"),
            &options,
            |_| {},
        )?;
        let loan = |i: u64| {
            let values = [
                ("contacts_7d", Value::Integer((i % 3) as i64)),
                ("last_contact_days", Value::Number(1.5 + (i % 9) as f64)),
                ("promises_broken", Value::Integer((i % 2) as i64)),
                ("hardship_flag", Value::Boolean(false)),
                ("balance_due", Value::Number(120.0 + i as f64)),
                ("cease_contact", Value::Boolean(false)),
            ];
            FeatureInput {
                entity: format!("l-{i}"),
                event_time_ms: now_ms,
                values: values.map(|(name, value)| (Name::from(name), value)).into_iter().collect(),
            }
        };
        store.upsert(&"servicing".into(), (1..=2_000).map(loan))?;
        Ok(())
    }
}

/// An example's artifact, built where it is not there.
pub fn artifact(plugin: &str, file: &str) -> Result<PathBuf, Failure> {
    let dir = root().join("plugins").join(plugin);
    let path = dir.join("dist").join(file);
    if !path.exists() {
        let built = Command::new(serin()).args(["plugin", "build", "--quiet"]).arg(&dir).status()?;
        if !built.success() {
            return Err(format!("serin plugin build {}: {built}", dir.display()).into());
        }
    }
    Ok(path)
}

/// The deployment in this process, as `serve` builds it, and requests that the experiment's
/// arm serves.
pub struct World {
    /// The deployment.
    pub deployment: Arc<DeploymentSnapshot>,
    /// Requests of borrowers that are assigned to [`ARM`], with what was recorded of them.
    pub decided: Vec<(DecisionRequest, Record)>,
    reloader: Reloader,
}

impl World {
    /// Loads the deployment, and decides once about everybody.
    pub fn open(folders: &Folders) -> Result<Self, Failure> {
        let config = Config::load(&folders.config())?;
        let archive = Archive::open(&folders.path("data/archive"))?;
        let engines = Arc::new(Engines::new(config.fixed.threads as u32 + 8).map_err(|e| e.to_string())?);
        let folder = Arc::new(Folder::new(config.fixed.plugins.clone(), engines, archive.clone(), false));
        let store = Arc::new(EmbeddedStore::open(&folders.path("data/features.db"))?);
        let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::default()));
        let ledger = Ledger::open(&folders.path("data/serin.db"), Durability::Process, Arc::clone(&metrics))?;
        let ledger = Arc::new(ledger);
        let observer = Arc::new(Observer::new(Arc::clone(&ledger)));
        let controller = Arc::new(Controller::open(ledger, clock.clone(), Arc::clone(&metrics))?);
        let runtime = Some(Runtime::load(config.fixed.threads, Arc::clone(&metrics))?);
        let parts = ReloaderParts {
            folder,
            archive,
            store,
            runtime,
            clock: clock.clone(),
            steady: clock,
            metrics,
            controller,
            observer,
            access: Arc::default(),
            tls: None,
        };
        let reloader = Reloader::new(config, parts);
        reloader.start();
        let deployment = reloader.deployment.load_full();
        if !deployment.unready().is_empty() {
            return Err(deployment.unready().join("; ").into());
        }
        let mut decided = Vec::new();
        for i in 1..=2_000 {
            let request = request(i);
            let record = decide(Thread::Deciding, &deployment, &request, &SystemClock, budget(), DEADLINE)?.record;
            let arm = record.routing.assignment.as_ref().map(|a| &*a.arm);
            if arm == Some(ARM) && record.answer.served_by == ServedBy::Arm && record.answer.degraded.is_empty() {
                decided.push((request, record));
            }
        }
        if decided.len() < SUBJECTS {
            return Err(format!("only {} of 2000 borrowers are served by arm '{ARM}'", decided.len()).into());
        }
        decided.truncate(SUBJECTS);
        Ok(Self { deployment, decided, reloader })
    }

    /// The same deployment with many experiments in the place of the one, each in a slot of its
    /// own.
    pub fn with_experiments(&self, folders: &Folders, many: usize) -> Result<Arc<DeploymentSnapshot>, Failure> {
        let file = folders.path("experiments/outreach-score.toml");
        let one = std::fs::read_to_string(&file)?;
        let written = |i: usize| folders.path(&format!("experiments/e-{i}.toml"));
        for i in 0..many {
            let slot = format!("slot = [{}, {}]", i as f64 / many as f64, (i + 1) as f64 / many as f64);
            let spec = one
                .replace("id = \"outreach-score\"", &format!("id = \"e-{i}\"\nreuse_slot = true"))
                .replace("slot = [0.0, 0.5]", &slot);
            std::fs::write(written(i), spec)?;
        }
        std::fs::remove_file(&file)?;
        self.reloader.reload();
        let deployment = self.reloader.deployment.load_full();
        // The files that follow are measured with the one.
        (0..many).try_for_each(|i| std::fs::remove_file(written(i)))?;
        std::fs::write(&file, one)?;
        let running = deployment.points[POINT].experiments.len();
        if running == many { Ok(deployment) } else { Err(format!("{running} of {many} experiments run").into()) }
    }

    /// The requests, as they are sent.
    pub fn bodies(&self) -> Vec<String> {
        self.decided.iter().map(|(request, _)| body(request)).collect()
    }

    /// The arm that is measured.
    pub fn arm(&self) -> &BoundArm {
        let arms = self.deployment.points[POINT].experiments.iter().flat_map(|e| &e.arms);
        arms.into_iter().find(|arm| &*arm.name == ARM).expect("the demo's experiment has the arm")
    }
}

/// Long enough that a busy machine's pauses never turn a measured decision into a fallback.
pub const DEADLINE: std::time::Duration = std::time::Duration::from_secs(5);

/// A decision's budget, begun now.
pub fn budget() -> serin::clock::Budget {
    serin::clock::Budget::new(DEADLINE)
}

/// The request about borrower `i`.
fn request(i: u64) -> DecisionRequest {
    let pairs = [("borrower", format!("b-{i}")), ("loan", format!("l-{i}"))];
    DecisionRequest {
        decision_point: POINT.to_owned(),
        entities: pairs.map(|(kind, id)| (kind.to_owned(), id)).into_iter().collect(),
        context: [
            ("days_past_due".to_owned(), Value::Integer(5 + (i % 50) as i64)),
            ("channel".to_owned(), Value::Text("batch".to_owned())),
        ]
        .into_iter()
        .collect(),
        ..DecisionRequest::default()
    }
}

fn body(request: &DecisionRequest) -> String {
    serde_json::json!({
        "decision_point": request.decision_point, "entities": request.entities, "context": request.context,
    })
    .to_string()
}
