//! Reading and making files. Whatever is read has a bound and is a regular file, so that no device,
//! pipe or endless file of the system can fill the memory or hold up a thread; whatever the host
//! keeps about people is readable by its own user alone.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Error, ErrorKind, Read as _, Result};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{Access, OFlags, access};

/// The largest text file that is read: `serin.toml`, `plugin.toml`, an experiment, a case.
pub const MAX_TEXT_BYTES: u64 = 1 << 20;
/// The largest model, and the largest file of golden vectors.
pub const MAX_MODEL_BYTES: u64 = 1 << 30;

/// Bytes that are read beyond a file's length, to see that there are none.
const ROOM: usize = 64;

/// Opens a regular file to read it, and says how long it is. A symlink to a regular file is one.
///
/// # Errors
/// What the system says, or that it is no regular file.
pub fn open_regular(path: &Path) -> Result<(File, u64)> {
    // Looked at before it is opened, because opening some devices has an effect, and again after
    // it, because another file may have taken its place. Without O_NONBLOCK, opening a pipe waits.
    regular(&std::fs::metadata(path).map_err(|error| followed(path, error))?)?;
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    regular(&meta)?;
    Ok((file, meta.len()))
}

/// An error of a file that a path leads to: a link that leads nowhere is not a file that is not there.
fn followed(path: &Path, error: Error) -> Error {
    let is_link = || path.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
    match error.kind() == ErrorKind::NotFound && is_link() {
        true => Error::new(ErrorKind::NotFound, "is a link to what is not there, and not a regular file"),
        false => error,
    }
}

fn regular(meta: &std::fs::Metadata) -> Result<()> {
    if meta.is_file() { Ok(()) } else { Err(Error::new(ErrorKind::InvalidInput, "is not a regular file")) }
}

/// Reads a regular file of at most `most` bytes. A file that holds more than its length says, as
/// those of `/proc` do, is refused: it may have no end.
///
/// # Errors
/// What the system says, or what is wrong with the file.
pub fn read_bounded(path: &Path, most: u64) -> Result<Vec<u8>> {
    let (file, length) = open_regular(path)?;
    read_opened(file, length, most)
}

/// As [`read_bounded`], for a secret: it has to be this user's and nobody else's. One that root
/// owns, as orchestrators mount them, may be readable by a group of this user's too.
///
/// # Errors
/// As there, or who else can read or write it, and what to do.
pub fn read_private(path: &Path, most: u64) -> Result<Vec<u8>> {
    let (file, length) = open_regular(path)?;
    let meta = file.metadata()?;
    let (user, mode) = (rustix::process::geteuid().as_raw(), meta.mode() & 0o777);
    let refused = |why: String| Err(Error::new(ErrorKind::PermissionDenied, why));
    if meta.uid() != user && meta.uid() != 0 {
        return refused(format!(
            "belongs to another user; valid: chown it to this user, and chmod 600 {}",
            shown(path)
        ));
    }
    let forbidden = if meta.uid() == user { 0o077 } else { 0o037 };
    if mode & forbidden != 0 {
        return refused(format!("others can read or write it (mode {mode:o}); valid: chmod 600 {}", shown(path)));
    }
    read_opened(file, length, most)
}

fn read_opened(file: File, length: u64, most: u64) -> Result<Vec<u8>> {
    if length > most {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("{length} bytes; at most {most} are read")));
    }
    // With room for what some of those files give at least, or they are read as broken.
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default() + ROOM);
    file.take(length + ROOM as u64).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > length {
        return Err(Error::new(
            ErrorKind::InvalidData,
            format!(
                "says that it has {length} bytes, and holds more; it is still being written, or is no file of a disk"
            ),
        ));
    }
    Ok(bytes)
}

/// As [`read_bounded`], for text.
///
/// # Errors
/// As there, or that it is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> Result<String> {
    String::from_utf8(read_bounded(path, most)?).map_err(|_| Error::new(ErrorKind::InvalidData, "is not UTF-8 text"))
}

/// Makes a folder, and those above it, for the host's user alone. One that is there stays as its
/// owner made it.
///
/// # Errors
/// What the system says.
pub fn create_private_dir(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens a file to write it, and makes it for the host's user alone where it is not there.
///
/// # Errors
/// What the system says.
pub fn open_private(path: &Path) -> Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Why a database that is there cannot be opened, where it is the system that says so: SQLite makes files beside one even
/// to read it, and tells of that only that it cannot.
pub fn why_unopened(database: &Path) -> Option<String> {
    let folder = database.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let needed =
        [(database, Access::READ_OK | Access::WRITE_OK, "read and written"), (folder, Access::WRITE_OK, "written")];
    needed.into_iter().find_map(|(path, mode, what)| {
        let error = Error::from(access(path, mode).err()?);
        Some(format!("{} cannot be {what}: {error}; SQLite needs that even to read", shown(path)))
    })
}

/// Who can do more with what the host keeps than its own user should let them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exposure {
    /// The mode.
    pub mode: u32,
    /// The mode that is private enough.
    pub narrow: u32,
    /// Whether it is this user's, who can narrow it.
    pub is_own: bool,
    is_dir: bool,
}

impl Exposure {
    /// Of a file that is kept for the host's user alone: others may do nothing with it, and its group may read it, which
    /// is somebody's decision. Of a folder: nobody else may put something into it. None where it is private enough or not
    /// there.
    pub fn of(path: &Path) -> Option<Self> {
        const STICKY: u32 = 0o1000;
        let meta = std::fs::metadata(path).ok()?;
        let (mode, is_dir) = (meta.mode() & 0o7777, meta.is_dir());
        // In a sticky folder, like /tmp, nobody takes another's file away.
        let forbidden = if !is_dir {
            0o027
        } else if mode & STICKY == 0 {
            0o022
        } else {
            0
        };
        let is_own = meta.uid() == rustix::process::geteuid().as_raw();
        // An orchestrator's volume is root's, and writable by a group of the host's user.
        let forbidden = if is_dir && !is_own && meta.uid() == 0 { forbidden & 0o007 } else { forbidden };
        (mode & forbidden != 0).then_some(Self { mode, narrow: mode & !forbidden, is_own, is_dir })
    }

    /// Takes from others what they should not have.
    ///
    /// # Errors
    /// What the system says.
    pub fn narrow(self, path: &Path) -> Result<()> {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(self.narrow))
    }

    /// What others can do.
    pub fn what(self) -> String {
        let what = if self.is_dir || self.mode & 0o022 != 0 { "write to it" } else { "read it" };
        format!("others can {what} (mode {:o})", self.mode)
    }
}

/// A path as it is printed and logged: on one line, whatever its name holds.
pub fn shown(path: &Path) -> String {
    serin_core::printable(&path.to_string_lossy())
}

/// A file's name without its folder, as it is printed, logged and answered.
pub fn shown_name(path: &Path) -> String {
    path.file_name().map_or_else(|| shown(path), |name| serin_core::printable(&name.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_within_its_bound_is_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("plain"), "text").expect("writes");
        std::os::unix::fs::symlink(at("plain"), at("link")).expect("links");
        assert_eq!(read_text(&at("link"), 4).expect("reads"), "text");
        let refused = |path: &Path| read_bounded(path, 3).expect_err("refused").to_string();
        assert_eq!(refused(&at("plain")), "4 bytes; at most 3 are read");
        for device in ["/dev/zero", "/dev/null", "/dev"] {
            std::os::unix::fs::symlink(device, at("device")).expect("links");
            assert_eq!(refused(&at("device")), "is not a regular file", "{device}");
            std::fs::remove_file(at("device")).expect("removes");
        }
        // These say that they are regular files of no length.
        for endless in ["/proc/self/pagemap", "/proc/self/maps", "/proc/self/environ"] {
            std::os::unix::fs::symlink(endless, at("proc")).expect("links");
            let error = read_bounded(&at("proc"), 1 << 30).expect_err("refused").to_string();
            assert!(error.contains("says that it has 0 bytes, and holds more"), "{endless}: {error}");
            std::fs::remove_file(at("proc")).expect("removes");
        }
        std::os::unix::fs::symlink(at("nowhere"), at("dangling")).expect("links");
        assert_eq!(refused(&at("dangling")), "is a link to what is not there, and not a regular file");
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a pipe");
        assert_eq!(refused(&at("pipe")), "is not a regular file", "and nobody waits for a writer");
        std::fs::write(at("bytes"), [0xff]).expect("writes");
        assert_eq!(read_text(&at("bytes"), 9).expect_err("refused").to_string(), "is not UTF-8 text");
    }

    #[test]
    fn what_is_made_is_the_hosts_own() {
        let dir = tempfile::tempdir().expect("a folder");
        let mode = |path: &Path| std::fs::metadata(path).expect("is there").permissions().mode() & 0o777;
        let folder = dir.path().join("data/archive");
        create_private_dir(&folder).expect("makes");
        assert_eq!((mode(&folder), mode(&dir.path().join("data"))), (0o700, 0o700));
        let file = folder.join("blob");
        open_private(&file).expect("opens");
        assert_eq!(mode(&file), 0o600);
        std::fs::write(&file, "kept").expect("writes");
        open_private(&file).expect("opens again");
        assert_eq!(std::fs::read(&file).expect("reads"), b"kept", "nothing is cut off");
    }

    #[test]
    fn a_secret_is_its_owners_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let secret = dir.path().join("key");
        std::fs::write(&secret, "secret").expect("writes");
        let read = |mode: u32| {
            std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).expect("sets");
            read_private(&secret, 6).map_err(|e| e.to_string())
        };
        for mode in [0o600, 0o400, 0o700] {
            assert_eq!(read(mode).as_deref(), Ok(&b"secret"[..]), "{mode:o}");
        }
        for mode in [0o640, 0o604, 0o602, 0o620, 0o644, 0o666] {
            let error = read(mode).expect_err("refused");
            assert!(
                error.starts_with(&format!("others can read or write it (mode {mode:o}); valid: chmod 600 ")),
                "{error}"
            );
        }
    }

    #[test]
    fn what_others_can_write_to_is_narrowed() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("ledger");
        std::fs::write(&file, "rows").expect("writes");
        let narrowed = |path: &Path, mode: u32| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("sets");
            let exposure = Exposure::of(path)?;
            assert!(exposure.is_own);
            exposure.narrow(path).expect("narrows");
            assert_eq!(Exposure::of(path), None);
            Some(exposure.narrow)
        };
        let of_file = [0o666, 0o644, 0o660, 0o640, 0o600].map(|mode| narrowed(&file, mode));
        assert_eq!(of_file, [Some(0o640), Some(0o640), Some(0o640), None, None]);
        let of_folder = [0o777, 0o775, 0o755, 0o700, 0o1777].map(|mode| narrowed(dir.path(), mode));
        assert_eq!(of_folder, [Some(0o755), Some(0o755), None, None, None]);
        assert_eq!(Exposure::of(&dir.path().join("none")), None);
    }

    #[test]
    fn a_name_is_printed_on_one_line_and_without_escapes() {
        let path = Path::new("plugins/a\nERROR forged\u{1b}[31m\u{202e}.wasm");
        assert_eq!(shown(path), "plugins/a\\nERROR forged\\u{1b}[31m\\u{202e}.wasm");
        assert_eq!(shown_name(path), "a\\nERROR forged\\u{1b}[31m\\u{202e}.wasm");
        assert_eq!(shown(Path::new("plugins/größe 1.wasm")), "plugins/größe 1.wasm");
    }
}
