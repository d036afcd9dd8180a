//! Why a version is not among those that can be served.

use std::collections::BTreeMap;

use serin_core::experiment::Pin;

use super::{ArtifactState, Folder, VersionsByPin};

/// Versions that are not among those that can be served.
#[derive(Debug, Clone, Default)]
pub struct Unserved {
    /// Those that are being loaded.
    pub loading: Vec<Pin>,
    /// Those whose file, or what the archive has of them, was refused, and why.
    pub refused: BTreeMap<Pin, String>,
}

/// Bytes of a refusal that are told where the version is named.
const MAX_WHY: usize = 400;

impl Unserved {
    /// Notes why a version was refused; with the file, where it is of one.
    pub fn refuse(&mut self, pin: Pin, file: Option<&str>, why: &str) {
        let of_file = file.map_or_else(String::new, |file| format!("{file}: "));
        self.refused.insert(pin, serin_core::clipped(&format!("{of_file}{why}"), MAX_WHY).into_owned());
    }
}

impl Folder {
    /// The versions that cannot be served now.
    pub fn unserved(&self) -> Unserved {
        let mut unserved =
            Unserved { loading: self.loading().into_iter().map(|(pin, _)| pin).collect(), ..Unserved::default() };
        let inner = self.inner();
        for broken in inner.broken.values() {
            if let Some(pin) = &broken.pin {
                unserved.refuse(pin.clone(), None, &broken.why);
            }
        }
        // A file is what a person can put right, and so it goes first.
        for status in inner.statuses.values().filter(|status| status.state == ArtifactState::Failed) {
            if let (Some(pin), Some(why)) = (&status.pin, &status.error) {
                unserved.refuse(pin.clone(), status.file.as_deref(), why);
            }
        }
        unserved
    }
}

/// What is said of a version that is being loaded.
pub const COMPILING: &str = "is being compiled";

/// Why a version is not among those that can be served. How long it has been compiled is left out:
/// the text is part of the deployment's fingerprint, and every second would be another deployment.
pub fn absent(pin: &Pin, versions: &VersionsByPin, unserved: &Unserved) -> String {
    if unserved.loading.contains(pin) {
        return COMPILING.to_owned();
    }
    if let Some(why) = unserved.refused.get(pin) {
        return format!("was refused: {why}");
    }
    let missing = format!(
        "{}; copy {}-{}.wasm into the plugins folder, or name one that is loaded",
        similar(pin, versions),
        pin.name,
        pin.version
    );
    let listed = |known: &mut dyn Iterator<Item = &Pin>| known.map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match versions.len() {
        0 => format!("is not there{missing}; loaded: none"),
        1..=LISTED => format!("is not there{missing}; loaded: {}", listed(&mut versions.keys())),
        _ => match listed(&mut versions.keys().rev().filter(|known| known.name == pin.name).take(LISTED)) {
            none if none.is_empty() => {
                format!("is not there, and no other version of {} is{missing}; GET /v1/plugins has all", pin.name)
            }
            newest => format!("is not there{missing}; the newest of {}: {newest}; GET /v1/plugins has all", pin.name),
        },
    }
}

/// The loaded version that was probably meant.
fn similar(pin: &Pin, versions: &VersionsByPin) -> String {
    let known: Vec<String> = versions.keys().map(ToString::to_string).collect();
    let similar = serin_core::most_similar(&pin.to_string(), known.iter().map(String::as_str));
    similar.map(|similar| format!("; did you mean '{similar}'?")).unwrap_or_default()
}

/// How many versions an error lists.
const LISTED: usize = 8;
