//! A host as a process, its files, and what may happen to them.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Value, json};

use super::load::Load;
use super::model::{ConfigFile, Content, Listed, Model, ModelFile, NOWHERE, PINS, Spec};
use crate::support::seeds::Random;
use crate::support::{Client, Deployment, Host, eventually, root, run, wat};

const BOUND: Duration = Duration::from_secs(20);
const FILES: [&str; 4] = ["copy.wasm", "p-1.0.0.wasm", "p-1.1.0.wasm", "q-1.0.0.wasm"];
const SPECS: [&str; 2] = ["e.toml", "f.toml"];
const MODEL: &str = "models/default-risk.onnx";

/// A token, and the entry of it: who looks, who asks for decisions, and two that come and go.
static TOKENS: LazyLock<[(String, String); 4]> = LazyLock::new(|| {
    [("boss", "read,audit"), ("app", "decide"), ("one", "decide"), ("two", "decide")].map(|(name, roles)| {
        let made = run(["token", "new", "--name", name, "--role", roles]);
        let entry = made.stderr.split_once("[[access.tokens]]").expect("an entry").1;
        (made.stdout.trim().to_owned(), format!("\n[[access.tokens]]{entry}"))
    })
});

/// Every content that a file may have, by its digest.
static CONTENTS: LazyLock<BTreeMap<Content, (String, Vec<u8>)>> = LazyLock::new(|| {
    let whole = PINS.into_iter().flat_map(|pin| [0, 1].map(|which| Content::Whole(pin, which)));
    let all = whole.chain(PINS.map(Content::Half)).chain([Content::Garbage]);
    all.map(|content| (content, bytes(content))).map(|(content, b)| (content, (serin_core::digest(&b), b))).collect()
});

fn bytes(content: Content) -> Vec<u8> {
    match content {
        Content::Nowhere(_) => Vec::new(),
        Content::Garbage => b"no artifact at all".to_vec(),
        Content::Half(pin) => {
            let whole = bytes(Content::Whole(pin, 0));
            // Versions begin alike: halves of one length would be the same file.
            let shorter = PINS.iter().position(|other| *other == pin).expect("a pin");
            whole[..whole.len() / 2 - shorter].to_vec()
        }
        Content::Whole(pin, which) => {
            let (name, version) = pin.split_once('@').expect("NAME@VERSION");
            let number = 10 + u32::from(which);
            let body = format!("(i64.store (i32.const 1112) (i64.const {number})) (i32.const 1024)");
            wat::guest(&wat::manifest(name, version, "p", "go"), &format!("{} {}", wat::PRELUDE, wat::decide(&body)))
        }
    }
}

/// What was chosen to happen: its name, and what does it.
type Chosen = (String, Box<dyn FnOnce(&mut World)>);

pub struct World {
    random: Random,
    folder: Deployment,
    model: Model,
    /// None only while it restarts.
    host: Option<Host>,
    load: Load,
    /// Files that links have led to so far.
    linked: usize,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let (random, model) = (Random::new(seed), Model::new());
        let folder = Deployment::new("");
        std::fs::create_dir(folder.path().join("store")).expect("a folder");
        let demo = root().join("host/demo").join("models/default-risk.golden.json");
        folder.write("models/default-risk.golden.json", std::fs::read(demo).expect("reads"));
        let mut world = Self { random, folder, model, host: None, load: Load::start(), linked: 0 };
        world.write_config();
        world.write_model();
        world.put("p-1.0.0.wasm");
        world.start();
        world.compare();
        world
    }

    fn start(&mut self) {
        let host = Host::start(&self.folder).ready();
        let allowed = self.allowed();
        let mut shared = self.load.shared();
        shared.allowed.extend(allowed);
        shared.client = Some(host.public.bearing(&TOKENS[1].0));
        // Who was answered finds the decision again, whatever has happened to the host.
        let last = shared.last.clone();
        drop(shared);
        if let Some(id) = last {
            let found = host.admin.bearing(&TOKENS[0].0).get(&format!("/v1/decisions/{id}"));
            assert_eq!(found.status, 200, "{}", found.text);
        }
        self.host = Some(host);
    }

    /// Takes the host away: whatever is asked for from now on may fail.
    fn take_down(&mut self) -> Host {
        let mut shared = self.load.shared();
        shared.client = None;
        shared.downs += 1;
        self.host.take().expect("it runs")
    }

    /// One thing that happens; its name.
    pub fn step(&mut self) -> String {
        // A decision may be served by what was in force before the step or is after it.
        let before = self.allowed();
        self.load.shared().allowed = before.clone();
        let mut next = self.model.clone();
        let (told, act) = self.choose(&mut next);
        next.settle();
        self.model = next;
        let after: BTreeSet<String> = self.allowed().union(&before).cloned().collect();
        self.load.shared().allowed = after;
        act(self);
        told
    }

    fn allowed(&self) -> BTreeSet<String> {
        self.model.serving().into_iter().map(|content| CONTENTS[&content].0.clone()).collect()
    }

    /// Chooses what happens: the model learns of it, and what is returned does it.
    fn choose(&mut self, next: &mut Model) -> Chosen {
        match self.random.below(20) {
            0..=7 => self.plugin(next),
            8..=10 => self.config(next),
            11..=13 => self.experiment(next),
            14 => {
                next.model =
                    *self.random.pick(&[ModelFile::Whole, ModelFile::Whole, ModelFile::Half, ModelFile::Absent]);
                (format!("the model is {:?}", next.model), Box::new(Self::write_model))
            }
            15 => {
                let (name, bits) = (*self.random.pick(&FILES), *self.random.pick(&[0o600, 0o644, 0o400]));
                (format!("{name} has mode {bits:o}"), Box::new(move |world| world.chmod(name, bits)))
            }
            16 => {
                let nothing = |world: &mut Self| world.folder.write("plugins/.hidden.wasm", "nothing to look at");
                ("a hidden file".to_owned(), Box::new(nothing))
            }
            _ if !matches!(next.config, ConfigFile::Text { .. }) => {
                next.config = ConfigFile::Text { pin: next.pin, tokens: next.tokens };
                ("serin.toml is put right".to_owned(), Box::new(Self::write_config))
            }
            17 => self.restart(next, false),
            18 => self.restart(next, true),
            _ => {
                let (told, act) = self.plugin(next);
                next.settle();
                next.restart();
                let killed = move |world: &mut Self| {
                    // In whatever it is about to do.
                    let host = world.take_down();
                    act(world);
                    host.kill();
                    world.start();
                };
                (format!("{told}, and at once it is killed"), Box::new(killed))
            }
        }
    }

    fn restart(&mut self, next: &mut Model, is_killed: bool) -> Chosen {
        let is_edited = self.random.one_in(2);
        let (told, act) = match is_edited {
            true => self.plugin(next),
            false => ("nothing else".to_owned(), Box::new(|_: &mut Self| ()) as Box<dyn FnOnce(&mut Self)>),
        };
        next.restart();
        let restarted = move |world: &mut Self| {
            let host = world.take_down();
            match is_killed {
                true => host.kill(),
                false => assert_eq!(host.stop(), Some(0)),
            }
            act(world);
            world.start();
        };
        let how = if is_killed { "killed" } else { "stopped" };
        (format!("{how}, then {told}, and started"), Box::new(restarted))
    }

    /// Something happens to an artifact's file.
    fn plugin(&mut self, next: &mut Model) -> Chosen {
        let name = *self.random.pick(&FILES);
        match self.random.below(8) {
            0 | 1 => {
                next.plugins.remove(name);
                (format!("{name} is deleted"), Box::new(move |world| world.put(name)))
            }
            2 => {
                let to = *self.random.pick(&FILES);
                let told = format!("{name} is renamed to {to}");
                let Some(content) = next.plugins.get(name).copied().filter(|_| to != name) else {
                    return (format!("{told}, if it were there"), Box::new(|_| ()));
                };
                next.plugins.remove(name);
                let content = if let Content::Nowhere(_) = content { Content::Nowhere(to) } else { content };
                next.plugins.insert(to, content);
                let path = |world: &Self, name: &str| world.folder.path().join("plugins").join(name);
                (told, Box::new(move |world| std::fs::rename(path(world, name), path(world, to)).expect("renames")))
            }
            3 => {
                next.plugins.insert(name, Content::Nowhere(name));
                (format!("{name} leads nowhere"), Box::new(move |world| world.link(name, "nowhere".into())))
            }
            way => {
                let pin = *self.random.pick(&PINS);
                let content = match self.random.below(8) {
                    0 => Content::Garbage,
                    1 => Content::Half(pin),
                    2 => Content::Whole(pin, 1),
                    _ => Content::Whole(pin, 0),
                };
                next.plugins.insert(name, content);
                let how = ["renamed into place", "written in place", "written in two halves", "linked"][way - 4];
                (format!("{name} is {content:?}, {how}"), Box::new(move |world| world.write_plugin(name, way - 4)))
            }
        }
    }

    fn config(&mut self, next: &mut Model) -> Chosen {
        next.config = match self.random.below(8) {
            0 => ConfigFile::Broken,
            1 => ConfigFile::Absent,
            _ => {
                let pin = *self.random.pick(&["p@1.0.0", "p@1.0.0", "p@1.1.0", "p@1.1.0", NOWHERE]);
                ConfigFile::Text { pin, tokens: [self.random.one_in(2), self.random.one_in(2)] }
            }
        };
        (format!("serin.toml is {:?}", next.config), Box::new(Self::write_config))
    }

    fn experiment(&mut self, next: &mut Model) -> Chosen {
        let file = next.spec.map_or(SPECS[0], |(file, _)| file);
        let before = next.spec;
        next.spec = match (self.random.below(6), before) {
            (0, _) => None,
            (1, Some((_, spec))) => Some((if file == SPECS[0] { SPECS[1] } else { SPECS[0] }, spec)),
            (2, _) => Some((file, Spec::Broken)),
            _ => {
                let (owner, salt) = (*self.random.pick(&["ann", "bob"]), *self.random.pick(&["s", "s", "s", "t"]));
                Some((file, Spec::Valid { owner, salt }))
            }
        };
        (format!("the experiment is {:?}", next.spec), Box::new(move |world| world.write_spec(before)))
    }

    fn write_config(&mut self) {
        let text = match &self.model.config {
            ConfigFile::Absent => return drop(std::fs::remove_file(self.folder.config())),
            ConfigFile::Broken => "[decision_points.p\n".to_owned(),
            ConfigFile::Text { pin, tokens } => {
                let come: String = (0..2).filter(|at| tokens[*at]).map(|at| TOKENS[2 + at].1.as_str()).collect();
                format!(
                    "[limits]\nwall_ms = 2000\n\n[models.default-risk.\"1.0.0\"]\npath = \"{MODEL}\"\n\n\
                     [decision_points.p]\nstrategy = \"{pin}\"\nentities = [\"borrower\"]\nactions = [\"go\", \"none\"]\n\
                     deadline = \"5s\"\nfallback = {{ action = \"none\" }}\n{}{}{come}",
                    TOKENS[0].1, TOKENS[1].1
                )
            }
        };
        self.folder.write("serin.toml", text);
    }

    fn write_model(&mut self) {
        let whole = std::fs::read(root().join("host/demo").join(MODEL)).expect("the demo's model");
        match self.model.model {
            ModelFile::Whole => self.folder.write(MODEL, whole),
            ModelFile::Half => self.folder.write(MODEL, &whole[..whole.len() / 2]),
            ModelFile::Absent => drop(std::fs::remove_file(self.folder.path().join(MODEL))),
        }
    }

    fn write_spec(&mut self, before: Option<(&'static str, Spec)>) {
        let path = |file: &str| self.folder.path().join("experiments").join(file);
        match (before, self.model.spec) {
            (Some((old, _)), None) => std::fs::remove_file(path(old)).expect("removes"),
            (Some((old, _)), Some((new, _))) if old != new => {
                std::fs::rename(path(old), path(new)).expect("renames");
            }
            (_, Some((file, Spec::Broken))) => self.folder.write(&format!("experiments/{file}"), "id = "),
            (_, Some((file, Spec::Valid { owner, salt }))) => {
                let arm = |name: &str, pin: &str| {
                    format!("\n[[arms]]\nname = \"{name}\"\nstrategy = \"{pin}\"\nweight = 0.5\n")
                };
                let text = format!(
                    "id = \"x\"\ndecision_point = \"p\"\nowner = \"{owner}\"\nsalt = \"{salt}\"\n{}{}",
                    arm("control", "p@1.0.0"),
                    arm("next", "q@1.0.0")
                );
                self.folder.write(&format!("experiments/{file}"), text);
            }
            (None, None) => {}
        }
    }

    /// Makes a file what the model has of it.
    fn put(&mut self, name: &str) {
        match self.model.plugins.contains_key(name) {
            true => self.write_plugin(name, 0),
            false => drop(std::fs::remove_file(self.folder.path().join("plugins").join(name))),
        }
    }

    fn write_plugin(&mut self, name: &str, way: usize) {
        let bytes = &CONTENTS[&self.model.plugins[name]].1;
        let path = self.folder.path().join("plugins").join(name);
        match way {
            0 => self.folder.write(&format!("plugins/{name}"), bytes),
            3 => {
                self.linked += 1;
                let target = self.folder.path().join("store").join(self.linked.to_string());
                std::fs::write(&target, bytes).expect("writes");
                self.link(name, target);
            }
            _ => {
                // A link would have its target written, and not everybody may write what is only to be read.
                if path.is_symlink() || std::fs::metadata(&path).is_ok_and(|meta| meta.permissions().readonly()) {
                    std::fs::remove_file(&path).expect("removes");
                }
                if way == 2 {
                    std::fs::write(&path, &bytes[..bytes.len() / 3]).expect("writes");
                }
                std::fs::write(&path, bytes).expect("writes");
            }
        }
    }

    fn link(&self, name: &str, target: PathBuf) {
        let (path, beside) = (self.folder.path().join("plugins").join(name), self.folder.path().join("link"));
        std::os::unix::fs::symlink(target, &beside).expect("links");
        std::fs::rename(beside, path).expect("renames");
    }

    fn chmod(&self, name: &str, bits: u32) {
        let path = self.folder.path().join("plugins").join(name);
        if path.exists() {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(bits)).expect("sets");
        }
    }

    /// Waits until the host's state is the model's, and looks at what came of the load.
    pub fn compare(&mut self) {
        let expected = Observed::of(&self.model);
        let mut seen = None;
        let is_same = || (*seen.insert(self.observe()) == expected).then_some(());
        let compared = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("the host's state is the model's", BOUND, is_same);
        }));
        if compared.is_err() {
            let log = self.host.as_ref().map(Host::log).unwrap_or_default();
            panic!("the model: {expected:#?}\nthe host: {seen:#?}\n{log}");
        }
        let allowed = self.allowed();
        let mut shared = self.load.shared();
        shared.allowed = allowed;
        assert_eq!(shared.wrong, Vec::<String>::new(), "decisions failed, or were made by what is not in force");
    }

    fn observe(&self) -> Observed {
        let host = self.host.as_ref().expect("it runs");
        let admin = host.admin.bearing(&TOKENS[0].0);
        let get = |path: &str| {
            let answer = admin.get(path);
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
            answer.json()
        };
        let (plugins, deployment) = (get("/v1/plugins"), get("/v1/deployment"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let plugin = |p: &Value| {
            let name = text(&p["digest"]);
            let known =
                CONTENTS.iter().find(|(_, (digest, _))| *digest == name).map(|(content, _)| format!("{content:?}"));
            let unread = name.strip_prefix("unread:").map(|file| format!("Nowhere({file:?})"));
            (
                known.or(unread).unwrap_or(name),
                text(&p["state"]),
                p["stale"] == true,
                p["file"].as_str().map(str::to_owned),
            )
        };
        let experiment = |e: &Value| (text(&e["file"]), text(&e["state"]), !e["error"].is_null());
        let mut experiments: Vec<_> = list(&get("/v1/experiments")["experiments"]).iter().map(experiment).collect();
        experiments.sort();
        let model = &deployment["models"][0];
        Observed {
            plugins: list(&plugins["plugins"]).iter().map(plugin).collect(),
            pin: text(&deployment["decision_points"][0]["strategy"]),
            is_ready: deployment["decision_points"][0]["unready"].is_null(),
            has_config_error: !deployment["config_error"].is_null(),
            experiments,
            model: (!model["digest"].is_null(), !model["error"].is_null()),
            tokens: [2, 3].map(|at| is_accepted(&host.public, &TOKENS[at].0)),
        }
    }

    /// The load has been served to the end.
    pub fn end(mut self) {
        let host = self.take_down();
        let answered = self.load.shared().answered;
        assert!(answered > 20, "only {answered} decisions were answered");
        assert_eq!(host.stop(), Some(0));
    }
}

fn is_accepted(public: &Client, token: &str) -> bool {
    let asked = public.bearing(token).post("/v1/decisions", &json!({}));
    // Of very many that are refused, some are told to wait.
    ![401, 429].contains(&asked.status)
}

/// The state of a host, in words.
#[derive(Debug, PartialEq, Eq)]
struct Observed {
    plugins: BTreeSet<(String, String, bool, Option<String>)>,
    pin: String,
    is_ready: bool,
    has_config_error: bool,
    experiments: Vec<(String, String, bool)>,
    /// Whether one serves, and whether its file has an error.
    model: (bool, bool),
    tokens: [bool; 2],
}

impl Observed {
    fn of(model: &Model) -> Self {
        let plugin = |(content, state, is_stale, file): (Content, &str, bool, Option<&str>)| {
            (format!("{content:?}"), state.to_owned(), is_stale, file.map(str::to_owned))
        };
        let experiment = |(file, state, has_error): &Listed| (file.clone(), (*state).to_owned(), *has_error);
        Self {
            plugins: model.listed().into_iter().map(plugin).collect(),
            pin: model.pin.to_owned(),
            is_ready: true,
            has_config_error: model.has_config_error(),
            experiments: model.experiments.iter().map(experiment).collect(),
            model: (true, model.model != ModelFile::Whole),
            tokens: model.tokens,
        }
    }
}
