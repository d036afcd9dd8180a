//! What access control costs: a token, with the identity in each row, and TLS on connections that stay open. Each is
//! measured in turns with the same host without it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest as _, Sha256};
use tokio_rustls::TlsConnector;

use crate::client::{Requests, closed_over};
use crate::cpu::{Cpu, with_cpu};
use crate::measure::median;
use crate::process::Server;
use crate::table::{Row, Table};
use crate::world::{Failure, Folders};

/// Turns of each.
const TURNS: usize = 9;
/// Connections.
const CONNECTIONS: usize = 64;

/// A host, how to reach it, and what to send.
struct Door {
    host: Server,
    tls: Option<TlsConnector>,
    requests: Rc<Requests>,
    // Its files: they go with it.
    _folders: Folders,
}

impl Door {
    fn knock(&self, lasts: Duration) -> Result<Cpu, Failure> {
        let address = &self.host.addresses[0];
        let load = || closed_over(self.tls.as_ref(), address, &self.requests, CONNECTIONS, lasts);
        with_cpu(&self.host, load).map(|(_, cpu)| cpu)
    }
}

/// Measures the demo's point.
pub fn measure(lasts: Duration, table: &mut Table) -> Result<(), Failure> {
    let (open, token, encrypted) = (without()?, with_token()?, with_tls()?);
    let turn = lasts / 20;
    let doors = [&open, &token, &encrypted];
    let mut used: [Vec<Cpu>; 3] = Default::default();
    for door in doors {
        door.knock(turn)?;
    }
    for _ in 0..TURNS {
        for (door, used) in doors.iter().zip(&mut used) {
            used.push(door.knock(turn)?);
        }
    }
    let row = |what: &str, door: usize, side: fn(&Cpu) -> f64| {
        let of = |door: usize| median(used[door].iter().map(side).collect());
        let ratios = used[door].iter().zip(&used[0]).map(|(cpu, plain)| side(cpu) / side(plain)).collect();
        Row::new(what, of(door), "µs").against("without", of(0)).ratio(median(ratios))
    };
    table.section(
        format!("CPU a decision over HTTP, {CONNECTIONS} connections that are kept, the median of {TURNS} turns"),
        vec![
            row("a token, its identity in each row: host and client", 1, |cpu| cpu.whole()).ratio_at_most(1.06),
            row("  the host alone", 1, |cpu| cpu.server),
            row("TLS: host and client", 2, |cpu| cpu.whole()).ratio_at_most(1.15),
            row("  the host alone", 2, |cpu| cpu.server),
        ],
    );
    Ok(())
}

fn requests(header: &str) -> Rc<Requests> {
    let body = |i: u32| {
        format!(
            r#"{{"decision_point":"collections-outreach","entities":{{"borrower":"b-{i}","loan":"l-{i}"}},"context":{{"days_past_due":{}}}}}"#,
            i % 60
        )
    };
    Rc::new(Requests::post_with(header, "/v1/decisions", (1..=64).map(body)))
}

fn without() -> Result<Door, Failure> {
    let folders = Folders::lay_out()?;
    Ok(Door { host: Server::serin(&folders.config())?, tls: None, requests: requests(""), _folders: folders })
}

fn with_token() -> Result<Door, Failure> {
    let folders = Folders::lay_out()?;
    let token = "serin_bench-token-that-is-as-long-as-those-that-are-made";
    let digest: String = Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect();
    let lines = format!("\n[[access.tokens]]\nname = \"app\"\nroles = [\"decide\"]\nsha256 = \"{digest}\"\n");
    std::fs::write(folders.config(), std::fs::read_to_string(folders.config())? + &lines)?;
    let requests = requests(&format!("authorization: Bearer {token}"));
    Ok(Door { host: Server::serin(&folders.config())?, tls: None, requests, _folders: folders })
}

fn with_tls() -> Result<Door, Failure> {
    let folders = Folders::lay_out()?;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (cert, key) = (folders.path("host.pem"), folders.path("host.key"));
    std::fs::write(&cert, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let text = std::fs::read_to_string(folders.config())?;
    let lines = "\n[server.tls]\ncert = \"host.pem\"\nkey = \"host.key\"\n";
    std::fs::write(folders.config(), text + lines)?;
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone())?;
    let tls = TlsConnector::from(Arc::new(client(roots)?));
    let is_ready = |address: &str| {
        let request = Rc::new(Requests::get("/readyz"));
        closed_over(Some(&tls), address, &request, 1, Duration::from_millis(1)).is_ok_and(|load| load.failed == 0)
    };
    let host = Server::ready(&folders.config(), is_ready)?;
    Ok(Door { host, tls: Some(tls), requests: requests(""), _folders: folders })
}

fn client(roots: RootCertStore) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
