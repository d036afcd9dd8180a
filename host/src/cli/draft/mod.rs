//! The component of a Python strategy while its author waits: a draft.
//!
//! A build compiles and starts the whole interpreter, which takes ten seconds whatever the strategy is. Here it
//! has started already: the SDK makes a component without a strategy once (`guest-sdk/python/serin_guest/base.py`),
//! the strategy's files are loaded into it, and the memory that this leaves is the memory of the strategy's
//! component. Where that may differ from what a build makes, there is the build.

mod image;

use std::path::{Path, PathBuf};

use serin_core::limits::Limits;
use serin_core::manifest::Manifest;

use super::build_error::BuildError;
use super::build_scripted::{DraftFiles, ScriptedLanguage, merged};
use super::caches;
use crate::files;
use crate::sandbox::{Engines, Interpreter, LoadError};
use image::Image;

/// Bytes of a component without a strategy: an artifact's, before its modules are merged.
const MOST_BYTES: u64 = 256 << 20;
/// A refusal's code where the mistake is the author's: `base.py` has it, too.
const AUTHORS: u32 = 0;

/// An interpreter that waits for a strategy, kept from one save to the next.
#[derive(Default)]
pub(super) struct Drafts(Option<Started>);

struct Started {
    path: PathBuf,
    image: Image,
    interpreter: Interpreter,
}

impl Drafts {
    /// The bare component of the strategy in `dir`; none where only a build will do.
    ///
    /// # Errors
    /// The author's mistake, which a build would have, too.
    pub fn component(
        &mut self,
        engines: &Engines,
        dir: &Path,
        manifest: &Manifest,
    ) -> Result<Option<Vec<u8>>, BuildError> {
        let Some(cache) = caches::folder().filter(|_| ScriptedLanguage::of(dir) == Some(ScriptedLanguage::Python))
        else {
            return Ok(None);
        };
        let Some(DraftFiles { base, texts }) = ScriptedLanguage::Python.draft(dir, &cache.join("python"))? else {
            return Ok(None);
        };
        let mistake = |why: String| BuildError::Tool {
            tool: ScriptedLanguage::Python.folder(),
            dir: dir.to_owned(),
            status: None,
            why,
        };
        let limit = manifest.limits.over(Limits::default()).memory_bytes;
        match self.load(engines, base, &texts, limit) {
            Ok(component) => Ok(Some(component)),
            Err(LoadError::Refused { code: AUTHORS, message }) => {
                eprintln!("{}", in_folder(&message, dir));
                Err(mistake("the strategy does not load; what it said is above".to_owned()))
            }
            Err(error @ LoadError::TooSlow(_)) => Err(mistake(format!("{error}; does a module of it never end?"))),
            Err(why) => {
                let why = in_folder(&why.to_string(), dir);
                eprintln!("note: no draft is made, but a build, which takes longer: {why}");
                Ok(None)
            }
        }
    }

    fn load(&mut self, engines: &Engines, path: PathBuf, texts: &[String], limit: u64) -> Result<Vec<u8>, LoadError> {
        let started = match self.0.take_if(|started| started.path == path) {
            Some(started) => started,
            None => {
                let base = files::read_bounded(&path, MOST_BYTES).map_err(LoadError::unusable)?;
                let image = Image::of(merged(base)).map_err(LoadError::unusable)?;
                let interpreter = Interpreter::new(engines, &image.module, image.exports.clone())?;
                Started { path, image, interpreter }
            }
        };
        let started = self.0.insert(started);
        let loaded = started.interpreter.load(texts)?;
        if loaded.memory.len() as u64 > limit {
            // A build leaves less in it.
            return Err(LoadError::unusable(format!("{} bytes of memory are taken, of {limit}", loaded.memory.len())));
        }
        started.image.component(loaded).map_err(LoadError::unusable)
    }
}

/// An error of Python's with the author's own paths: `/0` is the strategy's folder, and `/1` that of the packages.
fn in_folder(message: &str, dir: &Path) -> String {
    let own = format!("  File \"{}/", dir.display());
    message.replace("  File \"/0/", &own).replace("  File \"/1/", "  File \"")
}
