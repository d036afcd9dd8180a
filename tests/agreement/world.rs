//! A host over generated files, and what it says of them beside what `check` says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde_json::{Value, json};
use serin::app::{Finding, Host, HostError, Looks, Options, check};
use serin::clock::{Clock, SystemClock};
use serin::registry::{Awaited, Folder};
use tokio::runtime::Runtime;

use super::choices::{ABSENT, FILES, KEYS};
use crate::support::seeds::Random;
use crate::support::{Client, Deployment, root, wat, with_nonce};

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime"));

/// What people do between edits.
const COMMANDS: [&str; 6] = ["start", "pause", "resume", "promote", "abort", "conclude"];

/// The system's clock, on which the time that an edit has to be still is let pass.
#[derive(Default)]
struct HastenedClock {
    ahead_ms: AtomicU64,
}

impl Clock for HastenedClock {
    fn now_ms(&self) -> u64 {
        SystemClock.now_ms()
    }

    fn uptime_ms(&self) -> u64 {
        SystemClock.uptime_ms() + self.ahead_ms.load(Ordering::Relaxed)
    }

    fn entropy(&self) -> u64 {
        SystemClock.entropy()
    }
}

pub struct World {
    pub random: Random,
    clock: Arc<HastenedClock>,
    /// Which text of each key is written.
    chosen: Vec<usize>,
    folder: Deployment,
    /// None while it is stopped, and where its files keep it from starting.
    host: Option<Host>,
}

impl World {
    /// Files of which most keys have their first text, and a host that is about to be started on them.
    pub fn new(seed: u64) -> Self {
        let random = Random::new(seed);
        let mut world = Self {
            random,
            chosen: vec![0; KEYS.len()],
            folder: Deployment::new(""),
            host: None,
            clock: Arc::default(),
        };
        for (chosen, key) in world.chosen.iter_mut().zip(KEYS) {
            if world.random.one_in(12) {
                *chosen = world.random.below(key.texts.len());
            }
        }
        world.write();
        world
    }

    /// One thing that happens to the deployment: its name.
    pub fn step(&mut self) -> String {
        match self.random.below(10) {
            0 => {
                let told = self.edit();
                self.stop();
                format!("{told}, while the host is stopped")
            }
            1 => self.command(),
            // What was wrong is put right, as people would.
            2 | 3 => {
                self.chosen.fill(0);
                self.write();
                "everything as in the beginning".to_owned()
            }
            _ => self.edit(),
        }
    }

    /// Writes other texts for a key or two.
    fn edit(&mut self) -> String {
        let mut told = Vec::new();
        for _ in 0..1 + self.random.below(2) {
            let key = self.random.below(KEYS.len());
            let texts = KEYS[key].texts;
            self.chosen[key] = self.random.below(texts.len());
            told.push(format!("{} = {:?}", KEYS[key].name, texts[self.chosen[key]]));
        }
        self.write();
        told.join(", ")
    }

    fn command(&mut self) -> String {
        let (command, id) = (*self.random.pick(&COMMANDS), *self.random.pick(&["e", "e", "f"]));
        let Some(host) = &self.host else { return "nothing: the host is stopped".to_owned() };
        let mut body = json!({ "by": "ann", "reason": "a test" });
        if command == "conclude" {
            body["winner"] = "control".into();
        }
        let client = Client::new(&host.admin.to_string());
        let answer = client.post(&format!("/v1/experiments/{id}/{command}"), &body);
        format!("{command} {id}: {}", answer.status)
    }

    fn text(&self, key: &str) -> &'static str {
        let at = KEYS.iter().position(|known| known.name == key).unwrap_or_else(|| panic!("no key {key}"));
        KEYS[at].texts[self.chosen[at]]
    }

    fn write(&self) {
        for (file, template) in FILES {
            let text = KEYS.iter().enumerate().fold((*template).to_owned(), |text, (at, key)| {
                text.replace(&format!("<{}>", key.name), key.texts[self.chosen[at]])
            });
            self.put(file, (!text.starts_with(ABSENT)).then(|| text.into_bytes()));
        }
        for key in KEYS.iter().filter(|key| key.name.contains('/')) {
            self.put(key.name, bytes(key.name, self.text(key.name)));
        }
    }

    /// Makes a file what it should be; one that is so already is left alone.
    fn put(&self, file: &str, bytes: Option<Vec<u8>>) {
        let path = self.folder.path().join(file);
        match (bytes, std::fs::read(&path).ok()) {
            (None, Some(_)) => self.folder.remove(file),
            (Some(bytes), now) if now.as_ref() != Some(&bytes) => self.folder.write(file, bytes),
            _ => {}
        }
    }

    pub fn stop(&mut self) {
        if let Some(host) = self.host.take() {
            RUNTIME.block_on(host.stop());
        }
    }

    fn start(&mut self) -> Result<(), HostError> {
        let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let looks = Looks::WhenAsked;
        let options = Options { config: self.folder.config(), listen: any, admin: any, dev: false, looks };
        self.host = Some(RUNTIME.block_on(Host::start(options, Arc::<HastenedClock>::clone(&self.clock)))?);
        Ok(())
    }

    /// Holds what `check` says to what the host does.
    pub fn compare(&mut self) {
        let config = self.folder.config();
        if self.host.is_none()
            && let Err(error) = self.start()
        {
            let findings = check(&config);
            let error = error.to_string();
            let same = errors(&findings, "configuration").any(|why| error.contains(why));
            assert!(same, "the host does not start: {error}\ncheck says {findings:#?}");
            // Nobody would leave it so.
            self.chosen.fill(0);
            self.write();
            self.start().unwrap_or_else(|error| panic!("it starts with valid files: {error}"));
        }
        let host = self.host.as_ref().expect("it runs");
        host.reloader.reload();
        self.clock.ahead_ms.fetch_add(1_000, Ordering::Relaxed);
        let said = Said::by(host, self.folder.path());
        let findings = check(&config);
        said.agrees_with(&findings, self.folder.path());
    }
}

fn errors<'f>(findings: &'f [Finding], what: &'f str) -> impl Iterator<Item = &'f str> {
    findings.iter().filter(move |finding| finding.what.starts_with(what)).filter_map(|finding| finding.error.as_deref())
}

/// What the host says of its files.
#[derive(Debug)]
struct Said {
    config_error: Option<String>,
    unready: Vec<String>,
    warnings: BTreeSet<String>,
    /// By file, whether it is refused.
    plugins: BTreeMap<String, bool>,
    /// By file, what is wrong with it.
    experiments: BTreeMap<String, Option<String>>,
    /// The experiments that go on without a file.
    gone: BTreeSet<String>,
    /// By name and version, what is wrong with it.
    models: BTreeMap<String, Option<String>>,
}

impl Said {
    /// Asks a host that has read its files.
    fn by(host: &Host, folder: &Path) -> Self {
        let admin = Client::new(&host.admin.to_string());
        let plugins: &Folder = &host.reloader.folder;
        // A version that is loaded may be what an experiment waited for.
        for _ in 0..2 {
            host.reloader.reload();
            plugins.wait(Awaited::All, Duration::from_secs(60));
        }
        host.reloader.reload();
        let get = |path: &str, list: &str| {
            let answer = admin.get(path);
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
            answer.json()[list].as_array().cloned().unwrap_or_else(|| panic!("{path} has no {list}"))
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let deployment = admin.get("/v1/deployment").json();
        let plugins = get("/v1/plugins", "plugins").into_iter().filter(|plugin| plugin["state"] != "retired");
        let plugins = plugins.filter_map(|plugin| Some((text(&plugin["file"])?, plugin["state"] != "active")));
        let (gone, listed): (Vec<_>, Vec<_>) =
            get("/v1/experiments", "experiments").into_iter().partition(|listed| listed["state"] == "spec_missing");
        let error = |listed: &Value| match listed["state"] == "waiting" {
            true => text(&listed["error"]).or(text(&listed["why"])),
            false => text(&listed["error"]),
        };
        // One that ended needs no file, and `check` reads files.
        let with_file = listed
            .iter()
            .filter(|listed| folder.join("experiments").join(text(&listed["file"]).unwrap_or_default()).exists());
        let experiments = with_file.map(|listed| (text(&listed["file"]).expect("a file"), error(listed)));
        let models = deployment["models"].as_array().expect("models").iter();
        let points = deployment["decision_points"].as_array().expect("points").iter();
        let warnings = deployment["warnings"].as_array().expect("warnings").iter();
        Self {
            config_error: text(&deployment["config_error"]),
            unready: points.filter_map(|point| text(&point["unready"])).collect(),
            warnings: warnings.filter_map(text).collect(),
            plugins: plugins.collect(),
            experiments: experiments.collect(),
            gone: gone
                .iter()
                .filter(|gone| !gone["started_at"].is_null())
                .map(|gone| text(&gone["file"]).expect("a file"))
                .collect(),
            models: models.map(|model| (text(&model["id"]).expect("an id"), text(&model["error"]))).collect(),
        }
    }

    fn agrees_with(&self, findings: &[Finding], folder: &Path) {
        let both = || format!("the host: {self:#?}\ncheck: {findings:#?}");
        if let Some(error) = &self.config_error {
            // A running experiment that it would not fit is a mistake of that experiment's file to `check`.
            let without_line = |why: &str| match why.strip_prefix("line ").and_then(|rest| rest.split_once(": ")) {
                Some((_, why)) => error.contains(why),
                None => error.contains(why),
            };
            let same = errors(findings, "").any(without_line);
            assert!(same, "serin.toml is refused: {error}\n{}", both());
            return;
        }
        // What is found once it is held to the artifacts has no other name than the file's.
        let of_config = || findings.iter().filter(|found| ["configuration", ""].contains(&&*found.what));
        let of_config: Vec<&str> = of_config().filter_map(|found| found.error.as_deref()).collect();
        assert_eq!(of_config.len(), self.unready.len(), "points that cannot be served\n{}", both());
        for why in &self.unready {
            let known = why.strip_prefix("fallback: ").unwrap_or(why);
            assert!(of_config.iter().any(|error| error.contains(known)), "{why}\n{}", both());
        }
        let file = |found: &Finding| found.file.rsplit('/').next().unwrap_or_default().to_owned();
        let is_there = |found: &&Finding, kind: &str| {
            found.what.starts_with(kind) && folder.join(format!("{kind}s")).join(file(found)).is_file()
        };
        let of = |kind: &'static str| findings.iter().filter(move |found| is_there(found, kind));
        let plugins: BTreeMap<_, _> = of("plugin").map(|found| (file(found), found.error.is_some())).collect();
        assert_eq!(plugins, self.plugins, "plugins\n{}", both());
        let experiments: BTreeMap<_, _> = of("experiment").map(|found| (file(found), found.error.clone())).collect();
        assert_eq!(experiments, self.experiments, "experiments\n{}", both());
        let is_gone = |found: &&Finding| found.warnings.iter().any(|warning| warning.starts_with("its file is gone"));
        let gone: BTreeSet<_> = findings.iter().filter(is_gone).map(file).collect();
        assert_eq!(gone, self.gone, "experiments without a file\n{}", both());
        let models = format!("{}/", folder.join("models").display());
        let model = |found: &Finding| {
            // The host names the file in its sentence, and never its folders.
            let error = found.error.as_ref().map(|error| format!("{}: {}", file(found), error.replace(&models, "")));
            Some((found.what.strip_prefix("model ")?.to_owned(), error))
        };
        assert_eq!(findings.iter().filter_map(model).collect::<BTreeMap<_, _>>(), self.models, "models\n{}", both());
        let warnings: BTreeSet<_> = findings[0].warnings.iter().cloned().collect();
        assert_eq!(warnings, self.warnings, "warnings\n{}", both());
    }
}

/// The bytes of an artifact or a model, in one of its forms.
fn bytes(file: &str, form: &str) -> Option<Vec<u8>> {
    let model = || std::fs::read(root().join("host/demo/models").join(file.replace("models/risk", "default-risk")));
    match form {
        ABSENT => None,
        "garbage" => Some(format!("{file} is no such thing").into_bytes()),
        _ if file.starts_with("models/") => Some(model().expect("the demo's model")),
        form => Some(artifact(file, form)),
    }
}

fn artifact(file: &str, form: &str) -> Vec<u8> {
    let (name, version) =
        file.trim_start_matches("plugins/").trim_end_matches(".wasm").split_once('-').expect("NAME-VERSION.wasm");
    let point = if name == "x" { "x" } else { "p" };
    let manifest = wat::manifest(name, version, point, if form == "declares" { "fly" } else { "go" });
    let feature = |column: &str| {
        format!("{manifest}\n[[features]]\nview = \"account\"\nname = \"{column}\"\ntype = \"number\"\n")
    };
    let manifest = match form {
        "reads" => feature("balance"),
        "unfit" => feature("nothing"),
        _ => manifest.clone(),
    };
    let artifact = wat::guest(&manifest, &format!("{} {}", wat::PRELUDE, wat::decide("(i32.const 1024)")));
    match form {
        "other" => with_nonce(&artifact, 1),
        "fails" => wat::with_cases(artifact, &json!([{ "name": "nothing", "expect": { "candidates": [] } }])),
        _ => artifact,
    }
}
