//! schemathesis against a running host: whatever the OpenAPI document allows is answered as
//! it says, whatever it does not allow is refused, and nothing is a 5xx.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Host, collections, root};

/// Where `make setup` installs it: in the build folder.
fn schemathesis() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a build folder");
    let program = target.join("schemathesis-venv/bin/schemathesis");
    assert!(program.exists(), "{} is not there; run 'make setup'", program.display());
    program
}

#[test]
fn the_host_is_what_its_openapi_document_says() {
    let deployment = collections();
    let host = Host::start(&deployment).ready();
    let fuzz = root().join("tests/fuzz");
    let ran = Command::new(schemathesis())
        .arg("--no-color")
        .arg("--config-file")
        .arg(fuzz.join("schemathesis.toml"))
        .arg("run")
        .arg(format!("http://{}/openapi.json", host.public.address))
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", &fuzz)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NO_PROXY", "127.0.0.1")
        .current_dir(deployment.path())
        .output()
        .expect("schemathesis runs");
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{said}\n{}", host.log());

    // That all was refused would satisfy the document, too.
    let decided = host.metric("serin_records_committed_total");
    assert!(decided > 200.0, "only {decided} decisions were made\n{said}");
    let internal = host.admin.get("/metrics").text.lines().any(|line| line.contains("reason=\"internal\""));
    assert!(!internal && !host.log().contains("panicked"), "{}", host.log());
    assert_eq!(host.stop(), Some(0));
}
