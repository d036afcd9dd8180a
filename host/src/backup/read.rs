//! Reads a backup: each file is compared with its length and digest while it is read.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

use super::contents::{CONTENTS, Contents, MAX_CONTENTS, Part};
use super::{BackupError, at};
use crate::digest::Hasher;
use crate::{files, ledger};

/// What becomes of a file's bytes.
pub(super) type Sink<'s> = dyn FnMut(&Part, &mut dyn Read) -> Result<(), BackupError> + 's;

/// Reads a backup whole, and gives each of its files to `sink`.
pub(super) fn read(file: &Path, sink: &mut Sink<'_>) -> Result<Contents, BackupError> {
    let (opened, _) = files::open_regular(file).map_err(at(file))?;
    let decoder = zstd::Decoder::new(BufReader::new(opened)).map_err(|e| broken(file, &e))?;
    let mut tar = tar::Archive::new(decoder);
    let mut entries = tar.entries().map_err(|e| broken(file, &e))?;
    let mut next = |expected: &str| {
        let entry = entries.next().ok_or_else(|| broken(file, &format_args!("'{expected}' is missing")))?;
        let entry = entry.map_err(|e| broken(file, &e))?;
        let is_expected = entry.header().entry_type().is_file() && &*entry.path_bytes() == expected.as_bytes();
        if is_expected { Ok(entry) } else { Err(broken(file, &format_args!("'{expected}' is missing"))) }
    };
    let mut json = Vec::new();
    next(CONTENTS)?.take(MAX_CONTENTS).read_to_end(&mut json).map_err(|e| broken(file, &e))?;
    let contents = Contents::parse(&json, ledger::SCHEMA).map_err(|why| BackupError::of(file, why))?;
    for part in &contents.files {
        let entry = next(&part.path)?;
        let mut checked = Checked { from: entry.take(part.bytes.saturating_add(1)), hasher: Hasher::new(), bytes: 0 };
        sink(part, &mut checked)?;
        // What the sink left.
        std::io::copy(&mut checked, &mut std::io::sink()).map_err(|e| broken(file, &e))?;
        let (bytes, digest) = (checked.bytes, checked.hasher.finish());
        if bytes != part.bytes || digest != part.digest {
            let why = format!("its '{}' was altered: {digest}, and {} is in its {CONTENTS}", part.path, part.digest);
            return Err(broken(file, &why));
        }
    }
    if let Some(more) = entries.next() {
        more.map_err(|e| broken(file, &e))?;
        return Err(broken(file, &"more follows than its contents name"));
    }
    // To the end, where the checksum of the whole is.
    std::io::copy(&mut tar.into_inner(), &mut std::io::sink()).map_err(|e| broken(file, &e))?;
    Ok(contents)
}

fn broken(file: &Path, why: &dyn std::fmt::Display) -> BackupError {
    BackupError::of(file, format!("is no whole backup: {why}; valid: a file that 'serin backup' has written"))
}

/// Reads, and notes what was read.
struct Checked<R> {
    from: R,
    hasher: Hasher,
    bytes: u64,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.hasher.write_all(&buffer[..read])?;
        self.bytes += read as u64;
        Ok(read)
    }
}

/// Writes a file whole, for the host's user alone.
pub(super) fn write_private(to: &Path, from: &mut dyn Read) -> Result<(), BackupError> {
    let written = || -> std::io::Result<()> {
        if let Some(dir) = to.parent() {
            files::create_private_dir(dir)?;
        }
        let mut file: File = files::open_private(to)?;
        std::io::copy(from, &mut file)?;
        file.sync_all()
    };
    let mut written = written;
    written().map_err(at(to))
}
