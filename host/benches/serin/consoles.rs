//! The cost of open consoles to a decision: pairs of turns on one host, with none open and with ten.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use crate::client::{Requests, closed};
use crate::cpu::{Cpu, with_cpu};
use crate::measure::median;
use crate::process::Server;
use crate::table::{Row, Table};
use crate::world::{Failure, Folders, POINT};

/// Pairs of turns.
const PAIRS: usize = 9;
/// Consoles that are open.
const CONSOLES: usize = 10;
/// Connections that ask for decisions.
const CONNECTIONS: usize = 64;
/// Until what each console gets first is sent.
const SETTLES: Duration = Duration::from_millis(1_500);

/// A console's stream of changes, read to nowhere, as a browser with the overview open does.
struct Console(TcpStream);

impl Console {
    fn open(admin: &str, path: &str) -> Result<Self, Failure> {
        let mut stream = TcpStream::connect(admin)?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {admin}\r\naccept: text/event-stream\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        if &head != b"HTTP/1.1 200" {
            return Err(format!("{path}: {}", String::from_utf8_lossy(&head)).into());
        }
        let mut reader = stream.try_clone()?;
        std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        Ok(Self(stream))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // The host may have closed it.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// Where the overview's changes are streamed from, as the page says.
fn live(admin: &str) -> Result<String, Failure> {
    let page = ureq::get(format!("http://{admin}/")).call()?.body_mut().read_to_string()?;
    let found = page.split_once("data-live=\"").and_then(|(_, rest)| rest.split_once('"'));
    let (path, _) = found.ok_or("the overview does not say where its changes are")?;
    Ok(path.replace("&amp;", "&") + "&have=")
}

/// Measures the demo's point.
pub fn measure(lasts: Duration, table: &mut Table) -> Result<(), Failure> {
    let folders = Folders::lay_out()?;
    let host = Server::serin(&folders.config())?;
    let [address, admin] = [&host.addresses[0], &host.addresses[1]];
    let path = live(admin)?;
    let body = |i: u32| {
        format!(
            r#"{{"decision_point":"{POINT}","entities":{{"borrower":"b-{i}","loan":"l-{i}"}},"context":{{"days_past_due":{}}}}}"#,
            i % 60
        )
    };
    let requests = Rc::new(Requests::post("/v1/decisions", (1..=64).map(body)));
    let turn = lasts / 10;
    closed(address, &requests, CONNECTIONS, turn)?;
    let measured = || with_cpu(&host, || closed(address, &requests, CONNECTIONS, turn)).map(|(_, cpu)| cpu);
    let (mut without, mut beside) = (Vec::<Cpu>::new(), Vec::<Cpu>::new());
    for pair in 0..PAIRS {
        let open = || -> Result<Vec<Console>, Failure> {
            let consoles = (0..CONSOLES).map(|_| Console::open(admin, &path)).collect();
            std::thread::sleep(SETTLES);
            consoles
        };
        // Which comes first changes, so that neither has the fuller ledger each time.
        if pair % 2 == 0 {
            without.push(measured()?);
        }
        let consoles = open()?;
        beside.push(measured()?);
        drop(consoles);
        if pair % 2 == 1 {
            without.push(measured()?);
        }
    }
    let row = |what: &str, side: fn(&Cpu) -> f64| {
        let of = |all: &[Cpu]| median(all.iter().map(side).collect());
        let ratios = beside.iter().zip(&without).map(|(beside, without)| side(beside) / side(without)).collect();
        Row::new(what, of(&beside), "µs").against("without", of(&without)).ratio(median(ratios))
    };
    table.section(
        format!("CPU a decision beside {CONSOLES} open consoles, the median of {PAIRS} pairs"),
        vec![row("host and client", |cpu| cpu.whole()).ratio_at_most(1.05), row("  the host alone", |cpu| cpu.server)],
    );
    Ok(())
}
