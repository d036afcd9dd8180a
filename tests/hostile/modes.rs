//! What others of the machine could read or write is narrowed where the host keeps it, and told where people do.

use std::os::unix::fs::PermissionsExt as _;

use super::{deployment, serves};
use crate::support::{Deployment, Host, run};

fn mode(deployment: &Deployment, name: &str) -> u32 {
    std::fs::metadata(deployment.path().join(name)).expect("is there").permissions().mode() & 0o7777
}

fn set(deployment: &Deployment, name: &str, mode: u32) {
    let path = deployment.path().join(name);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("sets");
}

#[test]
fn a_data_folder_that_is_open_to_everybody_is_narrowed_and_that_is_said() {
    let deployment = deployment();
    let host = Host::start(&deployment).ready();
    serves(&host);
    assert_eq!(host.stop(), Some(0));
    let open = [("data", 0o777), ("data/serin.db", 0o666), ("data/features.db", 0o644), ("data/archive/blobs", 0o777)];
    for (name, mode) in open {
        set(&deployment, name, mode);
    }
    set(&deployment, "plugins", 0o777);
    let config = deployment.config();
    let checked = run(["check", "--config", config.to_str().expect("a path")]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let narrow = [0o755, 0o640, 0o640, 0o755];
    for ((name, mode), narrow) in open.into_iter().zip(narrow) {
        let said = format!("/{name}: others can ");
        let is_said = |line: &str| {
            line.contains(&said) && line.contains(&format!("(mode {mode:o}); serve gives it mode {narrow:o}"))
        };
        assert!(checked.stderr.lines().any(is_said), "{name}: {}", checked.stderr);
    }
    let of_people = "plugins: others can write to it (mode 777); valid: chmod 775 ";
    assert!(checked.stderr.contains(of_people), "{}", checked.stderr);
    std::fs::remove_file(config.with_extension("log")).expect("a log");
    let host = Host::start(&deployment).ready();
    serves(&host);
    for ((name, _), narrow) in open.into_iter().zip(narrow) {
        assert_eq!(mode(&deployment, name), narrow, "{name}");
        assert!(host.log().contains(&format!("it has mode {narrow:o} now")), "{}", host.log());
    }
    assert!(host.log().contains(of_people), "{}", host.log());
    assert_eq!(mode(&deployment, "plugins"), 0o777, "it is people's");
    assert_eq!(host.stop(), Some(0));
    std::fs::remove_file(config.with_extension("log")).expect("a log");
    set(&deployment, "plugins", 0o775);
    let host = Host::start(&deployment).ready();
    assert!(!host.log().contains("others can"), "{}", host.log());
}
