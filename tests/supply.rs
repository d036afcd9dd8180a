//! What the host runs is what it was meant to run: compiled code that was kept, and the folder that it
//! is kept in.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Deployment, Host, wat};

/// Two decision points. The code of each strategy answers another number.
fn two() -> Deployment {
    let eight = "(i64.store (i32.const 1112) (i64.const 8)) (i32.const 1024)";
    wat::points(&[("one", wat::go("one", "", "(i32.const 1024)")), ("two", wat::go("two", "", eight))])
}

fn answers(host: &Host) -> [Value; 2] {
    ["one", "two"].map(|point| {
        let request = json!({ "decision_point": point, "entities": { "borrower": "b-1" }, "context": {} });
        host.decide(&request)["parameters"]["n"].clone()
    })
}

fn served(deployment: &Deployment) -> (String, [Value; 2]) {
    let host = Host::start(deployment).ready();
    let answers = answers(&host);
    let log = host.log();
    assert_eq!(host.stop(), Some(0));
    (log, answers)
}

#[test]
fn compiled_code_under_another_entrys_name_is_compiled_anew_and_each_plugin_answers_its_own() {
    let deployment = two();
    let (_, expected) = served(&deployment);
    assert_eq!(expected, [json!(7), json!(8)]);
    let kept = deployment.compiled();
    let [(one, _), (two, _)] = &kept[..] else { panic!("{} entries", kept.len()) };
    let aside = deployment.path().join("aside");
    for (from, to) in [(one, &aside), (two, one), (&aside, two)] {
        std::fs::rename(from, to).expect("renames");
    }
    let (log, answers) = served(&deployment);
    assert_eq!(answers, expected);
    assert_eq!(log.matches("compiled code that this host did not write").count(), 2, "{log}");
    assert_eq!(deployment.compiled(), kept, "written anew, and as it was");
}

#[test]
fn a_folder_or_key_that_others_could_use_is_not_trusted_and_that_is_said_once() {
    let deployment = two();
    let (_, expected) = served(&deployment);
    let folder = deployment.path().join("data/compiled");
    let mode = |path: &Path| std::fs::metadata(path).expect("is there").permissions().mode() & 0o777;
    for (what, bits, said) in [
        ("", 0o755, "others could use the folder of compiled code"),
        ("", 0o770, "others could use the folder of compiled code"),
        ("key", 0o644, "a key that is not this user's own alone"),
        ("key", 0o620, "a key that is not this user's own alone"),
    ] {
        let (before, key) = (deployment.compiled(), std::fs::read(folder.join("key")).expect("a key"));
        std::fs::set_permissions(folder.join(what), std::fs::Permissions::from_mode(bits)).expect("sets");
        std::fs::remove_file(deployment.config().with_extension("log")).expect("a log");
        let (log, answers) = served(&deployment);
        assert_eq!(answers, expected, "{what} {bits:o}");
        assert_eq!(log.matches(said).count(), 1, "{what} {bits:o}: {log}");
        assert_ne!(std::fs::read(folder.join("key")).expect("a key"), key, "another key");
        let renewed = deployment.compiled();
        assert!(renewed.iter().zip(&before).all(|(now, before)| now.1 != before.1), "{what} {bits:o}");
        assert_eq!((mode(&folder), mode(&folder.join("key"))), (0o700, 0o600));
    }
}

#[test]
fn a_folder_of_another_user_is_left_alone_and_the_host_serves_without_it() {
    let deployment = two();
    let (_, expected) = served(&deployment);
    let folder = deployment.path().join("data/compiled");
    let (before, other) = (deployment.compiled(), Some(54_321));
    if std::os::unix::fs::chown(&folder, other, None).is_err() {
        eprintln!("not tested: only root can give a folder away");
        return;
    }
    let (log, answers) = served(&deployment);
    assert_eq!(answers, expected);
    assert!(log.contains("the folder is another user's, and is not used"), "{log}");
    assert_eq!(deployment.compiled(), before, "nothing was read from it or written to it");
}
