//! `serin plugin check FILE --against OLD.wasm`: what has changed between two versions of a plugin, and
//! whether what refers to the old one still means the same.

use std::path::Path;

use serde_json::json;
use serin_core::manifest_changes::{ManifestChange, manifest_changes};
use serin_core::numbers::counted;
use serin_core::printable_to;

use super::Outcome;
use crate::files;
use crate::registry::{Contents, read, read_file};

/// Characters of a change that are printed: a text in it may be long.
const SHOWN: usize = 400;

/// Prints what has changed; says whether nothing of it breaks what refers to the old version.
pub(super) fn print(new: &Path, old: &Path) -> Outcome {
    let (was, is) = (contents(old)?, contents(new)?);
    let (changes, broken) = changes(&was, &is);
    tell(&was, &is, &changes, broken);
    Ok(broken == 0)
}

/// As [`print`], for programs, with how the new version's cases went.
pub(super) fn as_json(new: &Path, old: &Path, cases: &[(String, bool)]) -> Outcome {
    let (was, is) = (contents(old)?, contents(new)?);
    let (changes, broken) = changes(&was, &is);
    let side = |contents: &Contents| {
        json!({
            "name": &*contents.manifest.name, "version": contents.manifest.version.to_string(),
            "digest": &*contents.digest, "wit": contents.wit,
        })
    };
    let failed: Vec<&str> = cases.iter().filter(|(_, passes)| !passes).map(|(name, _)| &**name).collect();
    let all = json!({
        "old": side(&was), "new": side(&is), "compatible": broken == 0, "changes": changes,
        "cases": { "run": cases.len(), "failed": failed },
    });
    println!("{}", serde_json::to_string_pretty(&all)?);
    Ok(broken == 0 && failed.is_empty())
}

/// What has changed, and how many of the changes break something.
fn changes(was: &Contents, is: &Contents) -> (Vec<ManifestChange>, usize) {
    let mut changes = manifest_changes(&was.manifest, &is.manifest);
    if was.wit != is.wit {
        // What this host cannot run was refused when it was read.
        let text = format!("was serin:decision@{}; this host runs both", was.wit);
        changes.push(ManifestChange { what: "wit", name: is.wit.clone(), compatible: true, text });
    }
    if was.digest != is.digest && was.manifest.id() == is.manifest.id() {
        let text = "another artifact of the same version: a published version does not change; raise it".to_owned();
        changes.push(ManifestChange {
            what: "version",
            name: is.manifest.version.to_string(),
            compatible: false,
            text,
        });
    }
    let broken = changes.iter().filter(|change| !change.compatible).count();
    (changes, broken)
}

fn tell(was: &Contents, is: &Contents, changes: &[ManifestChange], broken: usize) {
    println!("{} against {}", is.manifest.id(), was.manifest.id());
    for change in changes {
        let mark = if change.compatible { "ok" } else { "BREAKS" };
        println!("  {mark:<7} {} {}: {}", change.what, change.name, printable_to(&change.text, SHOWN));
    }
    match (changes.len(), broken) {
        (0, _) => println!("nothing that is declared has changed"),
        (_, 0) => println!("compatible: what refers to {} means the same", was.manifest.id()),
        (many, broken) => {
            println!(
                "not compatible: {broken} of {} {} what refers to {}",
                counted(many as u64, "change"),
                if broken == 1 { "breaks" } else { "break" },
                was.manifest.id()
            )
        }
    }
}

fn contents(file: &Path) -> Result<Contents, String> {
    let bytes = read_file(file).map_err(|e| format!("{}: {e}", files::shown(file)))?;
    read(&bytes).map_err(|e| format!("{}: {e}", files::shown(file)))
}
