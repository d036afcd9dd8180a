//! Standard output that nobody reads, or that cannot be written.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{Client, Deployment, Host, eventually, misbehaving, serin};

const BOUND: Duration = Duration::from_secs(60);

/// Where everything that is written fails, as on a full disk.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("a device").into()
}

/// A pipe whose reader is gone.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn serve(deployment: &Deployment, stdout: Stdio) -> Child {
    let any = "127.0.0.1:0";
    let mut command = Command::new(serin());
    command.args(["serve", "--listen", any, "--admin", any, "--config"]).arg(deployment.config());
    let log = File::create(deployment.path().join("unread.log")).expect("a log");
    command.stdout(stdout).stderr(log).spawn().expect("serin runs")
}

#[test]
fn a_host_serves_where_nobody_can_read_that_it_listens() {
    for stdout in [full, unread] {
        let deployment = misbehaving();
        let mut host = serve(&deployment, stdout());
        let address = eventually("the log has what could not be printed", BOUND, || {
            let log = deployment.read("unread.log");
            let line = log.lines().find(|line| line.contains("standard output cannot be written"))?.to_owned();
            Some(line.split_once("listens on http://")?.1.split_once(',')?.0.to_owned())
        });
        let client = Client::new(&address);
        eventually("it is ready", BOUND, || (client.get("/readyz").status == 200).then_some(()));
        let stopped = Command::new("kill").args(["-INT", &host.id().to_string()]).status().expect("kill runs");
        assert!(stopped.success());
        let ended = eventually("it stops", BOUND, || host.try_wait().expect("waits"));
        assert_eq!(ended.code(), Some(0), "{}", deployment.read("unread.log"));
    }
}

fn ended(args: &[&str], stdout: Stdio) -> (Option<i32>, String) {
    let mut command = Command::new(serin());
    command.env_remove("RUST_BACKTRACE").args(args).stdout(stdout).stderr(Stdio::piped());
    let output = command.spawn().and_then(Child::wait_with_output).expect("serin runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_command_says_that_it_cannot_print_and_ends_quietly_where_its_reader_has_seen_enough() {
    let deployment = misbehaving();
    let host = Host::start(&deployment).ready();
    let admin = format!("http://{}", host.admin.address);
    let path = |path: &Path| path.to_str().expect("a path").to_owned();
    let (config, artifact) =
        (path(&deployment.config()), path(&deployment.path().join("plugins/misbehave-1.0.0.wasm")));
    let commands: [&[&str]; 8] = [
        &["check", "--config", &config],
        &["check", "--format", "json", "--config", &config],
        &["replay", "--config", &config],
        &["status", "--admin", &admin],
        &["audit", "--admin", &admin],
        &["experiment", "list", "--admin", &admin],
        &["plugin", "inspect", &artifact],
        &["openapi"],
    ];
    for command in commands {
        let (code, said) = ended(command, full());
        assert_eq!(code, Some(1), "{command:?}: {said}");
        assert!(said.contains("serin: standard output cannot be written: No space left"), "{command:?}: {said}");
        assert!(!said.contains("panicked"), "{command:?}: {said}");
        let (code, said) = ended(command, unread());
        assert!(code == Some(0) && !said.contains("serin:") && !said.contains("panicked"), "{command:?}: {said}");
    }
    // Its exit status still says how it ended.
    let mut check = Command::new(serin());
    check.args(["check", "--config"]).arg(deployment.path().join("none.toml"));
    let code = check.stdout(Stdio::null()).stderr(full()).status().expect("serin runs").code();
    assert_eq!(code, Some(1));
}
