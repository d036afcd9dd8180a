//! Backups: taken while a host decides, restored elsewhere, and refused where they are not whole.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use serin::backup::{Places, write};
use serin::ledger::{LedgerReader, Reads as _};
use serin::registry::{Archive, Dropped};

use crate::experiments::{RUNNING, command, decide, deployment, why};
use crate::support::{self, Cli, Deployment, Host, collections, eventually, misbehaving, run};

fn serin(command: &str, file: &Path, deployment: &Deployment, more: &[&str]) -> Cli {
    let config = deployment.config();
    let args = [command, file.to_str().expect("a path"), "--config", config.to_str().expect("a path")];
    run(args.iter().chain(more))
}

#[track_caller]
fn done(cli: &Cli) -> &str {
    assert_eq!(cli.code, Some(0), "{}{}", cli.stdout, cli.stderr);
    &cli.stdout
}

#[track_caller]
fn refused(cli: &Cli, needle: &str) {
    assert!(cli.code == Some(1) && cli.stderr.contains(needle), "{:?}: {}{}", cli.code, cli.stdout, cli.stderr);
}

/// The same deployment on a machine that has nothing of its data.
fn elsewhere(deployment: &Deployment) -> Deployment {
    let other = Deployment::new(&deployment.read("serin.toml"));
    for folder in ["plugins", "experiments", "models"] {
        for entry in std::fs::read_dir(deployment.path().join(folder)).expect("reads") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
            other.write(&format!("{folder}/{name}"), std::fs::read(&path).expect("reads"));
        }
    }
    std::fs::remove_dir(other.path().join("data")).expect("nothing is in it");
    other
}

/// Each file below a folder, with its digest.
fn files(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false => drop(all.insert(path.clone(), serin_core::digest(&std::fs::read(&path).expect("reads")))),
        }
    }
    all
}

#[test]
fn a_restored_host_stands_where_the_one_stood_that_was_backed_up() {
    let deployment = deployment(RUNNING, false);
    deployment.write(
        "serin.toml",
        format!(
            "{}\n[features.profile]\nentity = \"borrower\"\ncolumns = {{ dti = \"number\" }}\n",
            deployment.read("serin.toml")
        ),
    );
    let host = Host::start(&deployment).ready();
    let decided: Vec<Value> = (0..20).map(|i| decide(&host, &format!("b-{i}"))).collect();
    let rows =
        json!({ "rows": [{ "entity": "b-1", "event_time": "2026-01-01T00:00:00Z", "values": { "dti": 0.25 } }] });
    assert_eq!(host.public.post("/v1/features/profile", &rows).status, 200);
    assert_eq!(command(&host, "pause", why()).0, 200);
    let shown = |host: &Host| {
        let mut shown = host.admin.get("/v1/experiments/e").json();
        // What a tick looks at is the host's own.
        shown
            .as_object_mut()
            .expect("an object")
            .retain(|key, _| ["state", "generation", "phase", "coverage", "history"].contains(&key.as_str()));
        shown
    };
    let before = shown(&host);
    assert_eq!(before["state"], "paused", "{before}");
    let file = deployment.path().join("the.backup");
    assert!(done(&serin("backup", &file, &deployment, &[])).contains("files of the archive"));
    let mode = std::fs::metadata(&file).expect("is there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let beside = std::fs::read_dir(deployment.path()).expect("reads").map(|entry| entry.expect("an entry").file_name());
    assert!(beside.into_iter().all(|name| !name.to_string_lossy().starts_with(".serin-backup")), "nothing is left");
    // What comes later is not in it.
    decide(&host, "late");
    assert_eq!(host.stop(), Some(0));

    let other = elsewhere(&deployment);
    done(&serin("restore", &file, &other, &[]));
    assert!(!other.path().join("data/compiled").exists(), "compiled code is not in it");
    let private = |path: &PathBuf| std::fs::metadata(path).expect("is there").permissions().mode() & 0o077 == 0;
    assert!(files(&other.path().join("data")).keys().all(private));
    let config = other.config();
    let replay = run(["replay", "--verify", "--format", "json", "--config", config.to_str().expect("a path")]);
    let replayed: Value = serde_json::from_str(done(&replay)).expect("JSON");
    assert_eq!(replayed["decisions"], 20, "{replayed}");
    let host = Host::start(&other).ready();
    assert_eq!(shown(&host), before);
    for decision in &decided {
        let record = host.record(decision);
        assert_eq!(record["decision_id"], decision["decision_id"]);
    }
    assert_eq!(host.admin.get("/v1/features/profile/b-1").json()["values"]["dti"]["value"], 0.25);
    let again = decide(&host, "b-3");
    assert_eq!(again["experiment"], decided[3]["experiment"], "and its units stay in their arms");
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn a_backup_under_load_holds_every_decision_that_was_answered_before_it_and_holds_up_none() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let (answered, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let file = deployment.path().join("the.backup");
    let (before, after) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let (host, answered, stop) = (&host, &answered, &stop);
                scope.spawn(move || {
                    let mut ids = Vec::new();
                    while !stop.load(Ordering::SeqCst) {
                        let decision = host.decide(&json!({
                            "decision_point": "collections-outreach", "context": { "days_past_due": 9 },
                            "entities": { "borrower": format!("b-{client}-{}", ids.len()), "loan": "l-1" },
                        }));
                        ids.push(decision["decision_id"].as_str().expect("an id").to_owned());
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                    ids
                })
            })
            .collect();
        let at_least = |many: usize| {
            eventually("decisions are made", Duration::from_secs(60), || {
                (answered.load(Ordering::SeqCst) >= many).then_some(())
            });
        };
        at_least(400);
        // Each client has noted at most one that is not counted yet.
        let before = answered.load(Ordering::SeqCst);
        done(&serin("backup", &file, &deployment, &[]));
        let after = answered.load(Ordering::SeqCst);
        assert!(after > before, "nobody waited for it");
        stop.store(true, Ordering::SeqCst);
        (before, clients.into_iter().map(|client| client.join().expect("answers")).collect::<Vec<_>>())
    });
    assert_eq!(host.stop(), Some(0));
    let other = elsewhere(&deployment);
    done(&serin("restore", &file, &other, &[]));
    let reader = LedgerReader::open(&other.path().join("data/serin.db")).expect("opens");
    let is_in = |id: &String| reader.decision(id).expect("reads").is_some_and(|stored| stored.parse().is_ok());
    let held: Vec<usize> = after.iter().map(|ids| ids.iter().take_while(|id| is_in(id)).count()).collect();
    assert!(held.iter().sum::<usize>() >= before, "{held:?} of {before}");
    // No hole: of each client's decisions the first ones are there, and none that follows a lost one.
    for (ids, held) in after.iter().zip(&held) {
        assert!(ids[*held..].iter().all(|id| !is_in(id)), "a hole after {held}");
    }
    drop(reader);
    let config = other.config();
    done(&run(["replay", "--verify", "--config", config.to_str().expect("a path")]));
}

#[test]
fn what_the_archive_would_drop_stays_while_a_backup_is_written() {
    let deployment = deployment("", false);
    deployment.remove("experiments/e.toml");
    let host = Host::start(&deployment).ready();
    decide(&host, "b-1");
    assert_eq!(host.stop(), Some(0));
    let data = deployment.path().join("data");
    let places = Places::of(&data.join("serin.db"), data.clone());
    let archive = Archive::open(&places.archive).expect("opens");
    let all = archive.files().expect("reads");
    let blobs = all.iter().filter(|file| file.starts_with("blobs/")).count();
    assert!(blobs > 1, "{all:?}");
    // As a host would whose records have all expired, from the first page of the ledger to the last file.
    let mut looks = 0;
    let file = deployment.path().join("the.backup");
    let written = write(&places, &file, 1, &mut |_, _| {
        looks += 1;
        assert_eq!(archive.expire(&HashSet::new(), u64::MAX).expect("reads"), Dropped::default());
    });
    let written = written.expect("is written");
    assert_eq!((written.archived, written.damaged), (all.len(), Vec::new()));
    assert!(looks > blobs, "{looks}");
    let packed = unpacked(&std::fs::read(&file).expect("reads"));
    assert!(all.iter().all(|file| packed.iter().any(|(path, _)| *path == format!("archive/{file}"))), "{all:?}");
    // It is dropped afterwards.
    assert_eq!(archive.expire(&HashSet::new(), u64::MAX).expect("reads").blobs, blobs);
}

#[test]
fn a_restore_takes_nothing_away() {
    let deployment = deployment("", false);
    deployment.remove("experiments/e.toml");
    let host = Host::start(&deployment).ready();
    let first = decide(&host, "b-1");
    let file = deployment.path().join("the.backup");
    done(&serin("backup", &file, &deployment, &[]));
    let second = decide(&host, "b-2");
    refused(&serin("restore", &file, &deployment, &["--force"]), "another host is running on it");
    assert_eq!(host.stop(), Some(0));

    let data = deployment.path().join("data");
    let before = files(&data);
    refused(&serin("restore", &file, &deployment, &[]), "data/serin.db: is there already");
    assert_eq!(files(&data), before);
    let restored = serin("restore", &file, &deployment, &["--force"]);
    let aside =
        done(&restored).lines().find_map(|line| line.strip_prefix("what was there is in ")).expect("says where");
    let aside = Path::new(aside);
    let has = |ledger: &Path, decision: &Value| {
        let id = decision["decision_id"].as_str().expect("an id");
        LedgerReader::open(ledger).expect("opens").decision(id).expect("reads").is_some()
    };
    let (now, then) = (data.join("serin.db"), aside.join("serin.db"));
    assert_eq!([has(&now, &first), has(&now, &second)], [true, false]);
    assert_eq!([has(&then, &first), has(&then, &second)], [true, true]);
    assert!(aside.join("archive/blobs").is_dir());
    let host = Host::start(&deployment).ready();
    decide(&host, "b-3");
    assert_eq!(host.stop(), Some(0));

    // Cut off while files took their places.
    std::fs::write(data.join("restore-unfinished"), "").expect("writes");
    let said = unstarted(&deployment);
    assert!(said.contains("a restore was cut off; finish it"), "{said}");
    done(&serin("restore", &file, &deployment, &["--force"]));
    decide(&Host::start(&deployment).ready(), "b-4");
}

/// What `serve` says where it does not start.
#[track_caller]
fn unstarted(deployment: &Deployment) -> String {
    let log = deployment.path().join("unstarted.log");
    let mut child = Command::new(support::serin())
        .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--config"])
        .arg(deployment.config())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).expect("a file"))
        .spawn()
        .expect("serin runs");
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually("it ends", Duration::from_secs(20), || child.try_wait().expect("waits"))
    }));
    if ended.is_err() {
        child.kill().expect("kills");
        child.wait().expect("ends");
    }
    assert_eq!(ended.expect("a host that starts does not end").code(), Some(1));
    std::fs::read_to_string(&log).expect("reads")
}

/// The files of a backup, in order.
type Files = Vec<(String, Vec<u8>)>;

fn unpacked(backup: &[u8]) -> Files {
    let mut tar = tar::Archive::new(zstd::Decoder::new(backup).expect("zstd"));
    let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).expect("reads");
        (path, bytes)
    };
    tar.entries().expect("entries").map(read).collect()
}

fn packed(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).expect("zstd"));
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        // Not through `append_data`, which refuses the paths that this is about.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_cksum();
        tar.append(&header, &**bytes).expect("appends");
    }
    tar.into_inner().expect("ends").finish().expect("ends")
}

#[test]
fn a_file_that_is_no_whole_backup_changes_nothing() {
    let deployment = deployment("", false);
    deployment.remove("experiments/e.toml");
    let host = Host::start(&deployment).ready();
    decide(&host, "b-1");
    let file = deployment.path().join("the.backup");
    done(&serin("backup", &file, &deployment, &[]));
    assert_eq!(host.stop(), Some(0));
    let whole = std::fs::read(&file).expect("reads");
    let files_of = unpacked(&whole);
    assert_eq!((&*files_of[0].0, &*files_of[1].0), ("backup.json", "ledger.db"));
    let with = |change: &dyn Fn(&mut Files)| {
        let mut files = files_of.clone();
        change(&mut files);
        packed(&files)
    };
    let of_contents = |from: &str, to: &str| {
        with(&|files| {
            let text = String::from_utf8(files[0].1.clone()).expect("text");
            assert!(text.contains(from), "{text}");
            files[0].1 = text.replace(from, to).into_bytes();
        })
    };
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let schema = format!("\"ledger_schema\": {}", serin::ledger::SCHEMA);
    let cases = [
        ("empty", Vec::new(), "is no whole backup"),
        ("text", b"not a backup".to_vec(), "is no whole backup"),
        ("truncated", whole[..whole.len() / 2].to_vec(), "is no whole backup"),
        ("cut at its end", whole[..whole.len() - 4].to_vec(), "is no whole backup"),
        ("altered in its middle", flipped(whole.len() / 2), "is no whole backup"),
        ("altered near its end", flipped(whole.len() - 40), "is no whole backup"),
        ("an altered ledger", with(&|files| files[1].1[5000] ^= 1), "its 'ledger.db' was altered"),
        ("a file less", with(&|files| drop(files.pop())), "is missing"),
        ("a file more", with(&|files| files.push(("more".to_owned(), Vec::new()))), "more follows"),
        (
            "a file elsewhere",
            of_contents("\"features.db\"", "\"../serin.toml\""),
            "'../serin.toml' is no file of a backup",
        ),
        (
            "a newer form",
            of_contents("\"format\": 1", "\"format\": 2"),
            "and this program reads up to 1; restore it with serin",
        ),
        ("a newer ledger", of_contents(&schema, "\"ledger_schema\": 999"), "its ledger has schema 999"),
    ];
    let data = deployment.path().join("data");
    let before = files(&data);
    let fresh = elsewhere(&deployment);
    for (what, bytes, needle) in &cases {
        std::fs::write(&file, bytes).expect("writes");
        println!("{what}");
        refused(&serin("restore", &file, &deployment, &["--force"]), needle);
        refused(&serin("restore", &file, &fresh, &[]), needle);
        assert_eq!(files(&data), before, "{what}");
        assert!(!fresh.path().join("data").exists(), "{what}");
    }
    std::fs::write(&file, &whole).expect("writes");
    done(&serin("restore", &file, &fresh, &[]));
    decide(&Host::start(&fresh).ready(), "b-2");
}

#[test]
fn without_a_ledger_there_is_nothing_to_back_up() {
    let deployment = deployment("", false);
    let file = deployment.path().join("the.backup");
    refused(&serin("backup", &file, &deployment, &[]), "data/serin.db: is not there: no host has served");
    assert!(!file.exists());
}

/// A deployment that a host has decided with once, and the artifact that its record needs.
fn decided() -> (Deployment, PathBuf) {
    let deployment = misbehaving();
    let host = Host::start(&deployment).ready();
    let decision = host.decide(&json!({ "decision_point": "misbehave", "entities": { "borrower": "b-1" } }));
    let digest = decision["strategy"]["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:"));
    let blob = deployment.path().join("data/archive/blobs").join(digest.expect("a digest"));
    assert_eq!(host.stop(), Some(0));
    (deployment, blob)
}

#[test]
fn a_backup_is_written_over_nothing_but_an_earlier_one() {
    let (deployment, _) = decided();
    let at = |name: &str| deployment.path().join(name);
    deployment.write("notes.txt", "not to be lost");
    std::fs::create_dir(at("folder")).expect("a folder");
    symlink(at("data/serin.db"), at("link-to-the-ledger")).expect("links");
    symlink(at("data"), at("link-to-the-data")).expect("links");
    symlink(at("serin.toml"), at("link-to-serin.toml")).expect("links");
    symlink(at("nowhere"), at("link-to-nowhere")).expect("links");
    symlink("/dev/null", at("link-to-a-device")).expect("links");
    let all = || {
        let folders = ["data", "plugins", "experiments", "models"].map(|folder| files(&at(folder)));
        (folders, deployment.read("serin.toml"), deployment.read("notes.txt"))
    };
    let before = all();
    for (name, what) in [
        ("data/serin.db", "is the ledger of this deployment"),
        ("data/serin.db-wal", "is the ledger of this deployment"),
        ("data/features.db", "is the feature store of this deployment"),
        ("data/new.backup", "is in the data folder"),
        ("data/archive/new.backup", "is in the data folder"),
        ("plugins/../data/serin.db", "is the ledger of this deployment"),
        ("link-to-the-ledger", "is the ledger of this deployment"),
        ("link-to-the-data/new.backup", "is in the data folder"),
        ("serin.toml", "is the configuration file"),
        ("plugins/../serin.toml", "is the configuration file"),
        ("link-to-serin.toml", "is the configuration file"),
        ("plugins/new.backup", "is in the plugins folder"),
        ("plugins/misbehave-1.0.0.wasm", "is in the plugins folder"),
        ("experiments/new.backup", "is in the experiments folder"),
        ("models/default-risk.onnx", "is a file of model default-risk@1.0.0"),
        ("models/new.backup", "is in the folder of model default-risk@1.0.0"),
        ("notes.txt", "is no backup, but another file"),
        ("data", "is in the data folder"),
        ("folder", "is no backup, but a folder"),
        ("link-to-nowhere", "is a link to what is not there"),
        ("link-to-a-device", "is not a regular file"),
    ] {
        let refusal = serin("backup", &at(name), &deployment, &[]);
        refused(&refusal, what);
        refused(&refusal, "; valid: a new file, or an earlier backup");
    }
    assert_eq!(all(), before, "nothing has changed");
    let copy = at("copy.db");
    std::fs::copy(at("data/serin.db"), &copy).expect("copies");
    refused(&serin("backup", &copy, &deployment, &[]), "is no backup, but a SQLite database");

    let file = at("the.backup");
    std::fs::write(&file, "").expect("as mktemp makes it");
    for _ in 0..2 {
        done(&serin("backup", &file, &deployment, &[]));
    }
    std::fs::create_dir(at("models/backups")).expect("a folder");
    done(&serin("backup", &at("models/backups/the.backup"), &deployment, &[]));
    std::fs::remove_dir_all(at("models/backups")).expect("removes");
    // Half of one is a backup that was cut off while it was copied.
    let bytes = std::fs::read(&file).expect("reads");
    std::fs::write(&file, &bytes[..bytes.len() / 2]).expect("cuts");
    done(&serin("backup", &file, &deployment, &[]));
    done(&serin("restore", &file, &elsewhere(&deployment), &[]));
}

#[test]
fn a_backup_says_what_its_records_need_and_it_does_not_have() {
    let (deployment, blob) = decided();
    let file = deployment.path().join("the.backup");
    let replayed = || {
        let config = deployment.config();
        run(["replay", "--verify", "--config", config.to_str().expect("a path")])
    };
    std::fs::write(&blob, "altered").expect("writes");
    let written = serin("backup", &file, &deployment, &[]);
    assert_eq!(written.code, Some(1), "{}", written.stderr);
    let says = |text: &str, needles: &[&str]| assert!(needles.iter().all(|needle| text.contains(needle)), "{text}");
    says(
        &written.stderr,
        &["is not what its digest says", "warning: artifact misbehave@1.0.0 (sha256:", "records need it"],
    );
    says(&written.stdout, &["without artifact misbehave@1.0.0 (sha256:", "records that need them cannot be replayed"]);
    let replay = replayed();
    assert_eq!(replay.code, Some(1), "{}", replay.stdout);
    says(&replay.stderr, &["artifact: artifact sha256:", "(misbehave@1.0.0) was altered in the archive"]);
    assert!(!replay.stderr.contains("replayed"), "it was not: {}", replay.stderr);

    std::fs::remove_file(&blob).expect("removes");
    let written = serin("backup", &file, &deployment, &[]);
    assert_eq!(written.code, Some(1), "{}", written.stderr);
    says(&written.stderr, &["warning: artifact misbehave@1.0.0 (sha256:", "records need it"]);
    let replay = replayed();
    assert_eq!(replay.code, Some(1), "{}", replay.stdout);
    says(&replay.stderr, &["(misbehave@1.0.0) is not in the archive"]);
    assert!(!replay.stderr.contains("replayed"), "it was not: {}", replay.stderr);
    // It is written all the same: what it has is worth more than nothing.
    done(&serin("restore", &file, &elsewhere(&deployment), &[]));
}

#[test]
fn a_ledger_of_an_earlier_version_is_backed_up_restored_and_read_once_a_host_has_been_there() {
    let deployment = deployment(RUNNING, false);
    let host = Host::start(&deployment).ready();
    (0..3).for_each(|i| drop(decide(&host, &format!("b-{i}"))));
    assert_eq!(host.stop(), Some(0));
    let older = "ALTER TABLE decisions DROP COLUMN unit_kind; ALTER TABLE outcomes DROP COLUMN unit_kind;
                 ALTER TABLE outcomes DROP COLUMN unit; PRAGMA user_version = 10;";
    let ledger = rusqlite::Connection::open(deployment.path().join("data/serin.db")).expect("opens");
    ledger.execute_batch(older).expect("takes back what schema 11 has added");
    drop(ledger);
    let file = deployment.path().join("the.backup");
    assert!(done(&serin("backup", &file, &deployment, &[])).contains("of schema 10, so what its records need was not"));
    let other = elsewhere(&deployment);
    let restored = serin("restore", &file, &other, &[]);
    assert!(done(&restored).contains("its ledger is of schema 10; serin serve"), "{}", restored.stdout);
    let config = other.config();
    let replay = || run(["replay", "--verify", "--config", config.to_str().expect("a path")]);
    refused(&replay(), "schema 10 is older than what this program reads (11); serin serve brings it to 11");
    assert_eq!(Host::start(&other).ready().stop(), Some(0));
    done(&replay());
}
