//! libFuzzer on the bodies of requests, sent to a host in this process. Its strategies have no artifact here: what is
//! decided is the fallback's.

#![no_main]

#[path = "../../../host_readers.rs"]
mod host_readers;
#[path = "../../../readers.rs"]
mod readers;

use std::io::ErrorKind::Interrupted;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use serin::app::{Host, Looks, Options};
use serin::clock::SystemClock;

struct Served {
    agent: ureq::Agent,
    host: Host,
    _folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

static SERVED: OnceLock<Served> = OnceLock::new();

fn start() -> Served {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("makes");
        std::fs::write(path, bytes).expect("writes");
    };
    let config =
        include_str!("../../../../../host/demo/serin.toml").replace("deadline = \"250ms\"", "deadline = \"5s\"");
    write("serin.toml", config.as_bytes());
    write("plugins/README", b"none");
    write("models/default-risk.onnx", include_bytes!("../../../../../host/demo/models/default-risk.onnx"));
    write(
        "models/default-risk.golden.json",
        include_bytes!("../../../../../host/demo/models/default-risk.golden.json"),
    );
    let experiment = include_bytes!("../../../../../host/demo/experiments/outreach-score.toml");
    write("experiments/outreach-score.toml", experiment);
    let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let config = folder.path().join("serin.toml");
    let options = Options { config, listen: any, admin: any, dev: false, looks: Looks::WhenAsked };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let host = runtime.block_on(Host::start(options, Arc::new(SystemClock))).expect("starts");
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    Served { agent, host, _folder: folder, _runtime: runtime }
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    host_readers::request(input, |path, body| {
        let served = SERVED.get_or_init(start);
        let url = format!("http://{}{path}", served.host.listen);
        // libFuzzer's timer interrupts whoever waits for an answer, once in a while.
        let is_interrupted = |error: &ureq::Error| matches!(error, ureq::Error::Io(io) if io.kind() == Interrupted);
        loop {
            let sent = served.agent.post(&url).header("content-type", "application/json").send(body);
            let text = sent.and_then(|mut answer| Ok((answer.status().as_u16(), answer.body_mut().read_to_string()?)));
            match text {
                Err(error) if is_interrupted(&error) => {}
                answer => return answer.expect("an answer"),
            }
        }
    });
});
