//! What a host's files come to, in the plainest way.

use std::collections::{BTreeMap, BTreeSet};

/// The versions that there are.
pub const PINS: [&str; 3] = ["p@1.0.0", "p@1.1.0", "q@1.0.0"];
/// A version that there never is.
pub const NOWHERE: &str = "p@9.0.0";
/// What an experiment's arms run.
const ARMS: [&str; 2] = ["p@1.0.0", "q@1.0.0"];

/// What is in a file of the plugins folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// A version, and which of two artifacts that say to be it.
    Whole(&'static str, u8),
    /// A half of one.
    Half(&'static str),
    /// Something else.
    Garbage,
    /// None: the file of this name is a link that leads nowhere.
    Nowhere(&'static str),
}

/// `serin.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigFile {
    Text {
        pin: &'static str,
        /// Which of the tokens that come and go are in it.
        tokens: [bool; 2],
    },
    Broken,
    Absent,
}

/// An experiment's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spec {
    Valid {
        /// May be edited at any time.
        owner: &'static str,
        /// May not while it runs.
        salt: &'static str,
    },
    Broken,
}

/// What is there of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelFile {
    Whole,
    Half,
    Absent,
}

/// An experiment as it is listed: its file, its state, and whether it has an error.
pub type Listed = (String, &'static str, bool);

/// The files, and what a host has made of them.
#[derive(Debug, Clone)]
pub struct Model {
    pub plugins: BTreeMap<&'static str, Content>,
    pub config: ConfigFile,
    pub spec: Option<(&'static str, Spec)>,
    pub model: ModelFile,

    /// As which artifact each version was published, for ever.
    published: BTreeMap<&'static str, Content>,
    /// What can be served, by version.
    pub active: BTreeMap<&'static str, Content>,
    /// What could be served once, since the host was started.
    pub retired: BTreeSet<Content>,
    /// The pin in force.
    pub pin: &'static str,
    pub tokens: [bool; 2],
    /// The spec in force, with the name of its file.
    applied: Option<(&'static str, Spec)>,
    /// The applied file was gone, and has not been valid since.
    is_gone: bool,
    pub experiments: Vec<Listed>,
}

impl Model {
    /// A host that begins with one version and no experiment.
    pub fn new() -> Self {
        let mut model = Self {
            plugins: BTreeMap::from([("p-1.0.0.wasm", Content::Whole("p@1.0.0", 0))]),
            config: ConfigFile::Text { pin: "p@1.0.0", tokens: [true, false] },
            spec: None,
            model: ModelFile::Whole,
            published: BTreeMap::new(),
            active: BTreeMap::new(),
            retired: BTreeSet::new(),
            pin: "p@1.0.0",
            tokens: [true, false],
            applied: None,
            is_gone: false,
            experiments: Vec::new(),
        };
        model.settle();
        model
    }

    /// The host ends, and starts again.
    pub fn restart(&mut self) {
        self.active.clear();
        self.retired.clear();
        self.settle();
    }

    /// Has everything take effect.
    pub fn settle(&mut self) {
        loop {
            let before = (self.active.clone(), self.pin, self.applied, self.experiments.clone());
            self.load();
            self.configure();
            self.experiment();
            self.retire();
            if before == (self.active.clone(), self.pin, self.applied, self.experiments.clone()) {
                return;
            }
        }
    }

    /// The versions that something names.
    fn wanted(&self) -> BTreeSet<&'static str> {
        let mut wanted = BTreeSet::from([self.pin]);
        if let ConfigFile::Text { pin, .. } = self.config {
            wanted.insert(pin);
        }
        let is_valid = matches!(self.spec, Some((_, Spec::Valid { .. })));
        if is_valid || self.applied.is_some() {
            wanted.extend(ARMS);
        }
        wanted
    }

    fn load(&mut self) {
        for pin in self.wanted() {
            if let Some(content) = self.published.get(pin) {
                self.active.entry(pin).or_insert(*content);
            }
        }
        for content in self.plugins.values() {
            if let Content::Whole(pin, _) = *content
                && *self.published.entry(pin).or_insert(*content) == *content
            {
                self.active.insert(pin, *content);
            }
        }
        for content in self.active.values() {
            self.retired.remove(content);
        }
    }

    fn retire(&mut self) {
        let wanted = self.wanted();
        let gone: Vec<&str> = self.active.keys().copied().filter(|pin| !wanted.contains(pin)).collect();
        for pin in gone {
            if !self.is_present(self.active[pin]) {
                self.retired.extend(self.active.remove(pin));
            }
        }
    }

    fn is_present(&self, content: Content) -> bool {
        self.plugins.values().any(|other| *other == content)
    }

    fn configure(&mut self) {
        if let ConfigFile::Text { pin, tokens } = self.config {
            self.tokens = tokens;
            if self.active.contains_key(pin) {
                self.pin = pin;
            }
        }
    }

    /// Whether `serin.toml` is shown to have an error.
    pub fn has_config_error(&self) -> bool {
        !matches!(self.config, ConfigFile::Text { pin, .. } if pin == self.pin)
    }

    fn experiment(&mut self) {
        self.experiments.clear();
        let is_there = |name: &str| self.spec.is_some_and(|(file, _)| file == name);
        self.is_gone |= self.applied.is_some_and(|(name, _)| !is_there(name));
        let fits = ARMS.iter().all(|pin| self.active.contains_key(pin));
        let mut is_known = false;
        match self.spec {
            None => {}
            Some((file, spec @ Spec::Valid { salt, .. })) => {
                is_known = true;
                let is_moved = matches!(self.applied, Some((_, Spec::Valid { salt: before, .. })) if before != salt);
                if fits {
                    let in_force = if is_moved { self.applied.map_or(spec, |(_, before)| before) } else { spec };
                    self.applied = Some((file, in_force));
                }
                self.is_gone &= self.applied.is_some_and(|(name, _)| name != file);
                self.experiments.push((file.to_owned(), if fits { "running" } else { "waiting" }, fits && is_moved));
            }
            Some((file, Spec::Broken)) => {
                is_known = !self.is_gone && self.applied.is_some_and(|(name, _)| name == file);
                self.experiments.push((file.to_owned(), if is_known { "running" } else { "invalid" }, true));
            }
        }
        if let Some((name, _)) = self.applied.filter(|_| !is_known) {
            self.experiments.push((name.to_owned(), "spec_missing", false));
        }
        self.experiments.sort();
    }

    /// What may serve a decision.
    pub fn serving(&self) -> Vec<Content> {
        let runs = self.experiments.iter().any(|(_, state, _)| *state == "running");
        let arms = ARMS.into_iter().filter(|_| runs);
        arms.chain([self.pin]).filter_map(|pin| self.active.get(pin).copied()).collect()
    }

    /// The plugins as they are listed: content, state, whether it is stale, and its file.
    pub fn listed(&self) -> BTreeSet<(Content, &'static str, bool, Option<&'static str>)> {
        let mut listed = BTreeSet::new();
        for content in self.active.values() {
            let file = self.plugins.iter().find(|(_, other)| *other == content).map(|(file, _)| *file);
            listed.insert((*content, "active", file.is_none(), file));
        }
        for (file, content) in self.plugins.iter().rev() {
            let is_active = self.active.values().any(|active| active == content);
            if !is_active {
                listed.retain(|(other, ..)| other != content);
                listed.insert((*content, "failed", false, Some(*file)));
            }
        }
        listed.extend(self.retired.iter().map(|content| (*content, "retired", false, None)));
        listed
    }
}
