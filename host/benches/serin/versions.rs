//! Many versions in one folder: what a decision and the next version cost beside 1, 100 and 1,000 of them, how
//! long a start from compiled code takes, and the memory of each.

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;
use serin_core::manifest::{HASH_SECTION, MANIFEST_SECTION, Manifest};
use wasmparser::{BinaryReader, Parser, Payload};

use crate::client::{Requests, closed};
use crate::measure::median;
use crate::process::{Server, resident_mb};
use crate::table::{Row, Table};
use crate::world::{Failure, Folders, POINT, artifact};

/// How many versions there are.
const SIZES: [usize; 3] = [1, 100, 1_000];
/// Versions that are added one by one.
const ADDED: usize = 7;
/// The longest that a version may take to be loaded.
const PATIENCE: Duration = Duration::from_secs(600);
const COMPONENT_MODULE: u8 = 1;
const CUSTOM: u8 = 0;

/// Whether the versions differ in their manifests alone.
#[derive(Clone, Copy, PartialEq)]
pub enum Code {
    /// Yes.
    One,
    /// No: each has its own.
    Each,
}

/// What was measured beside so many versions.
struct Measured {
    start_s: f64,
    decision_ms: f64,
    reload_ms: f64,
    resident_mb: f64,
    mappings: f64,
}

/// Measures a folder with versions of one code, and one in which each has its own.
pub fn measure(lasts: Duration, table: &mut Table) -> Result<(), Failure> {
    let rules = std::fs::read(artifact("outreach-rules", "outreach-rules-1.0.0.wasm")?)?;
    for (code, title) in [
        (Code::One, "versions of one code in a folder, from compiled code"),
        (Code::Each, "versions with a code each in a folder, from compiled code"),
    ] {
        let mut rows = Vec::new();
        let mut alone: Option<Measured> = None;
        for size in SIZES {
            let now = beside(&rules, size, code, lasts)?;
            let Some(one) = &alone else {
                rows.extend([
                    Row::new("1: a decision, p50", now.decision_ms, "ms"),
                    Row::new("1: until another one is active", now.reload_ms, "ms"),
                ]);
                alone = Some(now);
                continue;
            };
            let more = (size - 1) as f64;
            rows.extend([
                Row::new(format!("{size}: a decision, p50"), now.decision_ms, "ms")
                    .against("beside one", one.decision_ms)
                    .ratio_at_most(1.15),
                Row::new(format!("{size}: until another one is active"), now.reload_ms, "ms")
                    .against("beside one", one.reload_ms)
                    .ratio_at_most(1.5),
                Row::new(format!("{size}: all are active after a start"), now.start_s, "s").at_most(10.0),
                Row::new(
                    format!("{size}: resident, a version"),
                    (now.resident_mb - one.resident_mb) / more * 1e3,
                    "kB",
                ),
                Row::new(format!("{size}: mappings, a version"), (now.mappings - one.mappings) / more, ""),
            ]);
        }
        table.section(title, rows);
    }
    Ok(())
}

fn beside(rules: &[u8], size: usize, code: Code, lasts: Duration) -> Result<Measured, Failure> {
    crate::progress(&format!("{size} versions, {}", if code == Code::One { "of one code" } else { "a code each" }));
    let folders = Folders::lay_out()?;
    let write = |number: usize| -> Result<(), Failure> {
        let to = folders.path(&format!("plugins/outreach-rules-2.{number}.0.wasm"));
        let partial = to.with_extension("partial");
        std::fs::write(&partial, version(rules, number, code)?)?;
        Ok(std::fs::rename(partial, to)?)
    };
    // The demo's two are there already.
    let all = size + 1;
    (1..size).try_for_each(write)?;
    drop(all_active(&folders.config(), all)?);
    let (host, start_s) = all_active(&folders.config(), all)?;
    let body = |i: u32| {
        format!(
            r#"{{"decision_point":"{POINT}","entities":{{"borrower":"b-{i}","loan":"l-{i}"}},"context":{{"days_past_due":{}}}}}"#,
            i % 60
        )
    };
    let requests = Rc::new(Requests::post("/v1/decisions", (1..=64).map(body)));
    closed(&host.addresses[0], &requests, 1, lasts / 12)?;
    // Before anything else is loaded.
    let (resident_mb, mappings) = (resident_mb(host.pid()), mappings(host.pid()));
    let decision_ms = closed(&host.addresses[0], &requests, 1, lasts / 6)?.ms(50.0);
    let mut reloads = Vec::new();
    for added in 0..ADDED {
        let began = Instant::now();
        write(size + added)?;
        wait(&host, all + added + 1)?;
        reloads.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Measured { start_s, decision_ms, reload_ms: median(reloads), resident_mb, mappings })
}

/// A host that has loaded all its versions, and the seconds that it took.
fn all_active(config: &Path, many: usize) -> Result<(Server, f64), Failure> {
    let began = Instant::now();
    let host = Server::serin(config)?;
    wait(&host, many)?;
    Ok((host, began.elapsed().as_secs_f64()))
}

fn wait(host: &Server, many: usize) -> Result<(), Failure> {
    let url = format!("http://{}/metrics", host.addresses[1]);
    let end = Instant::now() + PATIENCE;
    let line = format!("serin_artifacts{{state=\"active\"}} {many}");
    loop {
        let text = ureq::get(&url).call()?.body_mut().read_to_string()?;
        if text.lines().any(|known| known == line) {
            return Ok(());
        }
        if Instant::now() > end {
            let plugins = ureq::get(format!("http://{}/v1/plugins", host.addresses[1])).call()?;
            let plugins: Value = serde_json::from_reader(plugins.into_body().into_reader())?;
            let failed = plugins["plugins"].as_array().and_then(|all| all.iter().find(|p| p["state"] == "failed"));
            return Err(format!("{many} versions did not get active: {failed:?}").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn mappings(pid: u32) -> f64 {
    std::fs::read_to_string(format!("/proc/{pid}/maps")).map_or(f64::NAN, |maps| maps.lines().count() as f64)
}

/// Another version of an artifact: its manifest is replaced, and the hash of it that the code carries. With a code
/// each, the first module gets a section that no other version's has.
pub fn version(artifact: &[u8], number: usize, code: Code) -> Result<Vec<u8>, Failure> {
    let (mut text, mut hash) = (None, None);
    for payload in Parser::new(0).parse_all(artifact) {
        match payload? {
            Payload::CustomSection(section) if section.name() == MANIFEST_SECTION => {
                text = Some(std::str::from_utf8(section.data())?.to_owned());
            }
            Payload::CustomSection(section) if section.name() == HASH_SECTION => {
                hash = Some(section.data_offset()..section.data_offset() + section.data().len());
            }
            _ => {}
        }
    }
    let text = text.ok_or("no manifest")?.replace("version = \"1.0.0\"", &format!("version = \"2.{number}.0\""));
    let mut artifact = artifact.to_vec();
    artifact[hash.ok_or("no hash")?].copy_from_slice(&Manifest::parse(&text)?.hash);
    let mut reader = BinaryReader::new(&artifact, 0);
    let (mut made, mut is_marked) = (reader.read_bytes(8)?.to_vec(), code == Code::One);
    while !reader.eof() {
        let id = reader.read_u8()?;
        let length = reader.read_var_u32()? as usize;
        let mut content = reader.read_bytes(length)?.to_vec();
        if id == CUSTOM && BinaryReader::new(&content, 0).read_string()? == MANIFEST_SECTION {
            content = custom(MANIFEST_SECTION, text.as_bytes());
        }
        if id == COMPONENT_MODULE && !is_marked {
            is_marked = true;
            let mark = custom("version", &number.to_le_bytes());
            section(&mut content, CUSTOM, &mark);
        }
        section(&mut made, id, &content);
    }
    Ok(made)
}

fn section(to: &mut Vec<u8>, id: u8, content: &[u8]) {
    to.push(id);
    length(to, content.len());
    to.extend_from_slice(content);
}

fn custom(name: &str, data: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    length(&mut content, name.len());
    content.extend_from_slice(name.as_bytes());
    content.extend_from_slice(data);
    content
}

/// A length as WebAssembly writes it (LEB128).
fn length(to: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        to.push(length as u8 | 0x80);
        length >>= 7;
    }
    to.push(length as u8);
}
