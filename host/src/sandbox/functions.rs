//! Compiled functions, so that an artifact whose interpreter another one had is compiled in a part of the time.
//!
//! The compiler asks for each function by the digest of all that its code follows from. The functions of all
//! artifacts are in one file beside the compiled ones, under the same MAC (`cache.rs`): what this host did not
//! write is not used. They are in memory only while something is compiled.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use wasmtime::CacheStore;

use super::cache::Cache;

/// The file's name.
const FILE: &str = "functions";
/// Bytes of the file. An interpreter's functions take some 30 MB; beyond it, those that nobody asked for go.
const MOST_BYTES: usize = 256 << 20;
/// New functions are not worth writing the file anew where they are no more than one in so many of its bytes.
const FEW: usize = 10;

/// Functions by their keys.
type Functions = HashMap<Vec<u8>, Vec<u8>>;

/// The functions of what is being compiled.
#[derive(Debug, Default)]
pub(super) struct FunctionCache {
    kept: RwLock<Functions>,
    session: Mutex<Session>,
}

#[derive(Debug, Default)]
struct Session {
    /// Compilations that run.
    running: usize,
    asked: HashSet<Vec<u8>>,
    new: Functions,
}

impl FunctionCache {
    /// Runs `compile` with the functions that `cache` has; those that are new are kept there then.
    pub fn with<T>(&self, cache: &Cache, compile: impl FnOnce() -> T) -> T {
        self.begin(cache);
        let compiled = compile();
        self.end(cache);
        compiled
    }

    fn begin(&self, cache: &Cache) {
        let mut session = self.session();
        if session.running == 0
            && let Some(bytes) = cache.signed(FILE, MOST_BYTES as u64)
        {
            *self.kept.write().unwrap_or_else(PoisonError::into_inner) = decode(&bytes);
        }
        session.running += 1;
    }

    fn end(&self, cache: &Cache) {
        let mut session = self.session();
        session.running -= 1;
        if session.running > 0 {
            return;
        }
        let Session { asked, new, .. } = std::mem::take(&mut *session);
        let mut kept = std::mem::take(&mut *self.kept.write().unwrap_or_else(PoisonError::into_inner));
        let size =
            |functions: &Functions| functions.iter().map(|(key, code)| key.len() + code.len() + 8).sum::<usize>();
        // A few are compiled sooner than all are written.
        if size(&new) <= size(&kept) / FEW {
            return;
        }
        if size(&kept) + size(&new) > MOST_BYTES {
            kept.retain(|key, _| asked.contains(key));
        }
        kept.extend(new);
        if size(&kept) <= MOST_BYTES {
            cache.sign(FILE, &encode(&kept));
        }
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CacheStore for FunctionCache {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        let code = self.kept.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()?;
        self.session().asked.insert(key.to_owned());
        Some(Cow::Owned(code))
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        let mut session = self.session();
        // Where nothing is kept, nothing is collected.
        if session.running > 0 {
            session.new.insert(key.to_owned(), value);
        }
        session.running > 0
    }
}

/// Each function as the lengths of key and code, then both.
fn encode(functions: &Functions) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, code) in functions {
        for length in [key.len(), code.len()] {
            bytes.extend_from_slice(&(length as u32).to_le_bytes());
        }
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(code);
    }
    bytes
}

fn decode(bytes: &[u8]) -> Functions {
    let mut functions = Functions::new();
    let mut rest = bytes;
    let next = |rest: &mut &[u8]| -> Option<(Vec<u8>, Vec<u8>)> {
        let (lengths, tail) = rest.split_first_chunk::<8>()?;
        let length = |at: usize| lengths[at..at + 4].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let (key, tail) = tail.split_at_checked(length(0))?;
        let (code, tail) = tail.split_at_checked(length(4))?;
        *rest = tail;
        Some((key.to_owned(), code.to_owned()))
    };
    while let Some((key, code)) = next(&mut rest) {
        functions.insert(key, code);
    }
    functions
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps one function in `dir`.
    fn keep(dir: &std::path::Path) {
        let cache = Cache::open(dir).expect("opens");
        let functions = FunctionCache::default();
        functions.with(&cache, || assert!(functions.insert(b"key", b"code".to_vec())));
        assert!(!functions.insert(b"later", b"code".to_vec()), "nothing is compiled");
    }

    fn kept(dir: &std::path::Path) -> Option<Vec<u8>> {
        let functions = FunctionCache::default();
        let cache = Cache::open(dir).expect("opens");
        functions.with(&cache, || functions.get(b"key").map(Cow::into_owned))
    }

    #[test]
    fn what_was_compiled_is_there_for_the_next() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(kept(dir.path()), None);
        keep(dir.path());
        assert_eq!(kept(dir.path()).as_deref(), Some(&b"code"[..]));
    }

    #[test]
    fn code_that_was_changed_or_is_of_another_folder_is_not_used() {
        let (dir, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let file = dir.path().join(FILE);
        keep(dir.path());
        let right = std::fs::read(&file).expect("reads");
        for at in [0, 40, right.len() - 1] {
            let mut wrong = right.clone();
            wrong[at] ^= 1;
            std::fs::write(&file, wrong).expect("writes");
            assert_eq!(kept(dir.path()), None, "byte {at}");
        }
        keep(other.path());
        std::fs::copy(other.path().join(FILE), &file).expect("copies");
        assert_eq!(kept(dir.path()), None);
        std::fs::write(&file, right).expect("writes");
        assert!(kept(dir.path()).is_some());
    }

    #[test]
    fn a_few_new_functions_do_not_write_all_of_them() {
        let dir = tempfile::tempdir().expect("a folder");
        let cache = Cache::open(dir.path()).expect("opens");
        for (key, bytes, is_written) in [("large", 1000, true), ("few", 50, false), ("many", 200, true)] {
            let functions = FunctionCache::default();
            functions.with(&cache, || functions.insert(key.as_bytes(), vec![0; bytes]));
            let kept = functions.with(&cache, || functions.get(key.as_bytes()).is_some());
            assert_eq!(kept, is_written, "{key}");
        }
    }

    #[test]
    fn functions_that_are_cut_off_are_none() {
        let bytes = encode(&Functions::from([(b"key".to_vec(), b"code".to_vec())]));
        assert_eq!(decode(&bytes).len(), 1);
        assert!((0..bytes.len()).all(|end| decode(&bytes[..end]).is_empty()));
    }
}
