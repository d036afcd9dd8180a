//! Writes a backup: the ledger as of one moment, then the archive, which by then has everything that the ledger refers to.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write as _};
use std::path::{Path, PathBuf};

use super::contents::{ARCHIVE, CONTENTS, Contents, FEATURES, FORMAT, LEDGER, Part};
use super::{BackupError, Places, at};
use crate::digest::Hasher;
use crate::ledger::LedgerReader;
use crate::registry::Archive;
use crate::signatures::{self, Signature, SignatureError};
use crate::{files, ledger, snapshot};

/// What a backup came to.
#[derive(Debug)]
pub struct Written {
    /// Bytes of the file.
    pub bytes: u64,
    /// Files of the archive that are in it.
    pub archived: usize,
    /// Files of the archive that were damaged and are not in it, and what is wrong with each.
    pub damaged: Vec<String>,
    /// What records need and is not in it, since the archive does not have it as it was, each by its name and digest.
    pub missing: Vec<String>,
    /// The ledger's schema, where it is an older one, of which it is not known what its records need.
    pub older: Option<i64>,
}

impl Written {
    /// Says whether every record in it comes with what it refers to, and every file as it was.
    pub fn is_whole(&self) -> bool {
        self.damaged.is_empty() && self.missing.is_empty()
    }
}

/// A file that goes into a backup.
struct Input {
    part: Part,
    from: From,
}

/// Where its bytes are.
enum From {
    /// In a file that does not change.
    File(PathBuf),
    /// Here: its file may be replaced at any time.
    Held(Vec<u8>),
}

/// Writes a backup of a host, running or stopped, to `file`. `progress` gets the bytes that are done, and all of them.
///
/// # Errors
/// What keeps it from being whole; then `file` is as it was.
pub fn write(
    places: &Places,
    file: &Path,
    now_ms: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Written, BackupError> {
    let beside = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !beside.is_dir() {
        return Err(BackupError::of(file, format!("there is no folder {}", files::shown(beside))));
    }
    if !places.ledger.is_file() {
        return Err(BackupError::of(&places.ledger, "is not there: no host has served this deployment yet"));
    }
    // Held before the ledger is copied: what a record of the copy refers to is not dropped before it is packed.
    let archive = Archive::at(&places.archive);
    let _held = archive.as_ref().map(Archive::hold).transpose().map_err(at(&places.archive))?;
    // Both are removed when they are dropped, on whatever path.
    let stage = tempfile::Builder::new().prefix(".serin-backup-").tempdir_in(beside).map_err(at(beside))?;
    let mut inputs = vec![database(&places.ledger, stage.path(), LEDGER, progress)?];
    let ledger_schema = ledger::schema_version(&stage.path().join(LEDGER))?;
    if places.features.is_file() {
        inputs.push(database(&places.features, stage.path(), FEATURES, progress)?);
    }
    let (archived, damaged) = of_archive(&places.archive)?;
    // What an earlier version of this program has written is read once a host has migrated it.
    let is_known = ledger_schema == ledger::SCHEMA;
    let missing = if is_known { missing(&stage.path().join(LEDGER), &archived) } else { Vec::new() };
    let older = (!is_known).then_some(ledger_schema);
    let count = archived.len();
    inputs.extend(archived);
    let made = jiff::Timestamp::from_millisecond(now_ms as i64).map_err(|e| BackupError::of(file, e))?.to_string();
    let contents = Contents {
        format: FORMAT,
        serin: env!("CARGO_PKG_VERSION").to_owned(),
        made,
        ledger_schema,
        files: inputs.iter().map(|input| input.part.clone()).collect(),
    };
    let part = tempfile::Builder::new().prefix(".serin-backup-").tempfile_in(beside).map_err(at(beside))?;
    pack(&contents, &inputs, part.as_file(), progress).map_err(|(path, error)| BackupError::of(&path, error))?;
    part.as_file().sync_all().map_err(at(part.path()))?;
    let bytes = part.as_file().metadata().map_err(at(part.path()))?.len();
    part.persist(file).map_err(|e| BackupError::of(file, e.error))?;
    // The name is the folder's: without this a power cut could take it back.
    File::open(beside).and_then(|dir| dir.sync_all()).map_err(at(beside))?;
    Ok(Written { bytes, archived: count, damaged, missing, older })
}

fn database(from: &Path, stage: &Path, name: &str, progress: &mut dyn FnMut(u64, u64)) -> Result<Input, BackupError> {
    let copy = stage.join(name);
    snapshot::copy_database(from, &copy, progress).map_err(|error| match files::why_unopened(from) {
        Some(why) => BackupError::of(from, format!("{error}: {why}")),
        None => BackupError::of(from, error),
    })?;
    of_file(copy.clone(), name.to_owned()).map_err(at(&copy))
}

/// What the records of a ledger refer to and is not among the archive's files.
fn missing(ledger: &Path, archived: &[Input]) -> Vec<String> {
    let packed: HashSet<&str> =
        archived.iter().filter(|input| input.part.path.contains("/blobs/")).map(|input| &*input.part.digest).collect();
    let needed = LedgerReader::open(ledger).and_then(|reader| reader.references());
    let mut needed = match needed {
        Ok(needed) => needed,
        Err(error) => return vec![format!("what records that cannot be read refer to ({error})")],
    };
    needed.retain(|digest, _| !packed.contains(&**digest));
    needed.into_iter().map(|(digest, what)| format!("{what} ({digest})")).collect()
}

/// The archive's files. Pointers are read before blobs: what one points to was there before it. A signature follows its
/// blob.
fn of_archive(root: &Path) -> Result<(Vec<Input>, Vec<String>), BackupError> {
    let Some(archive) = Archive::at(root) else { return Ok((Vec::new(), Vec::new())) };
    let (mut inputs, mut damaged) = (Vec::new(), Vec::new());
    let mut packed = HashSet::new();
    for file in archive.files().map_err(at(root))? {
        let from = root.join(&file);
        let path = format!("{ARCHIVE}/{file}");
        let Some(digest) = file.strip_prefix("blobs/") else {
            inputs.extend(unless_gone(held(&from, path)).map_err(at(&from))?);
            continue;
        };
        if let Some(signed) = digest.strip_suffix(signatures::SUFFIX) {
            // Without its blob it says nothing.
            if packed.contains(signed) {
                match unless_gone(signature(&from, path)).map_err(at(&from))? {
                    Some(Ok(input)) => inputs.push(input),
                    Some(Err(why)) => damaged.push(format!("{}: {why}", files::shown(&from))),
                    None => {}
                }
            }
            continue;
        }
        let Some(blob) = unless_gone(of_file(from.clone(), path)).map_err(at(&from))? else { continue };
        match blob.part.digest == format!("sha256:{digest}") {
            true => {
                packed.insert(digest.to_owned());
                inputs.push(blob);
            }
            false => damaged.push(format!("{}: is not what its digest says", files::shown(&from))),
        }
    }
    Ok((inputs, damaged))
}

/// The signature of a blob, or what is wrong with it. By whom it may be is judged where it is used.
fn signature(file: &Path, path: String) -> std::io::Result<Result<Input, SignatureError>> {
    let input = held(file, path)?;
    let From::Held(bytes) = &input.from else { return Ok(Ok(input)) };
    let text = String::from_utf8_lossy(bytes);
    Ok(Signature::parse(&text).map(|_| input))
}

/// A host withdraws what is not applied any more, also meanwhile.
fn unless_gone<T>(input: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match input {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        input => input.map(Some),
    }
}

fn held(file: &Path, path: String) -> std::io::Result<Input> {
    let bytes = files::read_bounded(file, files::MAX_TEXT_BYTES)?;
    let part = Part { path, bytes: bytes.len() as u64, digest: crate::digest::digest(&bytes) };
    Ok(Input { part, from: From::Held(bytes) })
}

fn of_file(file: PathBuf, path: String) -> std::io::Result<Input> {
    let (mut from, bytes) = files::open_regular(&file)?;
    let mut hasher = Hasher::new();
    let hashed = std::io::copy(&mut from, &mut hasher)?;
    if hashed != bytes {
        return Err(std::io::Error::other("it changed while it was read"));
    }
    let part = Part { path, bytes, digest: hasher.finish() };
    Ok(Input { part, from: From::File(file) })
}

/// Writes the contents and each file. On an error, the path of the file it is about.
fn pack(
    contents: &Contents,
    inputs: &[Input],
    to: &File,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), (PathBuf, std::io::Error)> {
    let of_backup = |error| (PathBuf::from("the backup"), error);
    let mut encoder = zstd::Encoder::new(BufWriter::new(to), zstd::DEFAULT_COMPRESSION_LEVEL).map_err(of_backup)?;
    // A bit that flips in the contents is found by this; one in a file by its digest, too.
    encoder.include_checksum(true).map_err(of_backup)?;
    let mut tar = tar::Builder::new(encoder);
    let json = serde_json::to_vec_pretty(contents).map_err(|e| of_backup(e.into()))?;
    append(&mut tar, CONTENTS, json.len() as u64, &*json).map_err(of_backup)?;
    let (mut done, all) = (0, contents.bytes());
    for Input { part, from } in inputs {
        let appended = match from {
            From::Held(bytes) => append(&mut tar, &part.path, part.bytes, &**bytes),
            From::File(file) => files::open_regular(file)
                .and_then(|(file, _)| append(&mut tar, &part.path, part.bytes, BufReader::new(file).take(part.bytes))),
        };
        appended.map_err(|error| (PathBuf::from(&part.path), error))?;
        done += part.bytes;
        progress(done, all);
    }
    let encoder = tar.into_inner().map_err(of_backup)?;
    encoder.finish().and_then(|mut file| file.flush()).map_err(of_backup)
}

fn append<W: std::io::Write>(
    tar: &mut tar::Builder<W>,
    path: &str,
    bytes: u64,
    from: impl Read,
) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_entry_type(tar::EntryType::Regular);
    tar.append_data(&mut header, path, from)
}
