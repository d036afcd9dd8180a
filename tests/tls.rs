//! TLS and HTTP/2 as clients and operators see them: certificates that fit and that do not, mutual
//! TLS, rotation, and what slow or hostile clients cannot do.

mod authority;
mod client;
mod cookie;
mod files;
mod handshakes;
mod many;
mod slow;

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::{Deployment, Host, collections};
pub(crate) use authority::{Authority, Pair, Until};

/// A request of the demo's decision point.
fn outreach(borrower: &str) -> Value {
    json!({
        "decision_point": "collections-outreach",
        "entities": { "borrower": borrower, "loan": "l-88" },
        "context": { "days_past_due": 12, "channel": "batch" },
    })
}

/// Puts a certificate and its key in place, the key for its owner alone.
fn put(deployment: &Deployment, pair: &Pair) {
    deployment.write("host.pem", &pair.cert);
    put_key(deployment, &pair.key, 0o600);
}

fn put_key(deployment: &Deployment, key: &str, mode: u32) {
    let beside = deployment.path().join("host.new");
    std::fs::write(&beside, key).expect("writes");
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(mode)).expect("sets");
    std::fs::rename(beside, deployment.path().join("host.key")).expect("renames");
}

/// The demo's deployment, with keys in `[server]` and in `[server.tls]`.
fn deployment(server: &str, tls: &str) -> Deployment {
    let deployment = collections();
    let section = format!("[server.tls]\ncert = \"host.pem\"\nkey = \"host.key\"\n{tls}\n\n[server]\n{server}");
    deployment.edit("serin.toml", "[server]", &section);
    deployment
}

/// A deployment over TLS whose certificate is of this CA.
fn encrypted(ca: &Authority, server: &str) -> Deployment {
    let deployment = deployment(server, "");
    put(&deployment, &ca.issue("serin.internal", Until::Later));
    deployment
}

fn start(deployment: &Deployment, ca: &Authority) -> Host {
    Host::start(deployment).over_tls(&client::trusting(&ca.pem, None)).ready()
}

fn closed(host: &Host, reason: &str) -> f64 {
    host.metric(&format!("serin_connections_closed_total{{reason=\"{reason}\"}}"))
}
