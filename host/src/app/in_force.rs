//! What the archive and the ledger say was in force when the host stopped: by `serve` continued,
//! by `check` compared with the files.

use serin_core::experiment::{Experiment, Status};

use crate::config::Config;
use crate::experiments::{Specs, recorded};
use crate::registry::Archive;

/// The kind under which the archive has applied specs whose files are gone.
pub(super) const GONE: &str = "gone";

/// The configuration of that generation.
pub(super) fn last_config(archive: &Archive, now: &Config) -> Option<Config> {
    let digests = archive.applied("generation", &archive.last_generation().to_string())?;
    let text = String::from_utf8(archive.get(digests.first()?)?).ok()?;
    let before = Config::parse(text, &now.path).ok()?;
    Some(Config { fixed: now.fixed.clone(), ..before })
}

/// The specs that were in force. They stay so until their files change.
pub(super) fn last_specs(archive: &Archive, config: &Config, status: impl Fn(&str) -> Status) -> Specs {
    let mut specs = Specs::default();
    for name in archive.names("experiment") {
        let text = archive.applied("experiment", &name).and_then(|digests| archive.get(digests.first()?));
        if let Some(text) = text.and_then(|bytes| String::from_utf8(bytes).ok())
            && let Ok(spec) = serin_core::caught(|| Experiment::parse(&text))
        {
            let status = status(&spec.id);
            let archived = |digest: &str| String::from_utf8(archive.get(digest)?).ok();
            let (spec, text) = recorded(&status, (spec, text), archived);
            specs.apply(config.fixed.experiments.join(&name), std::sync::Arc::new(spec), text);
        }
    }
    for name in archive.names(GONE) {
        specs.lose(config.fixed.experiments.join(&name));
    }
    specs
}
