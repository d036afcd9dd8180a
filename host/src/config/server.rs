//! The keys of `[server]` that bound connections and requests, and `[server.tls]`.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use serin_core::manifest::duration_ms;

use super::raw::{RawLedger, RawServer, RawTls};
use crate::http::ServerSettings;
use crate::tls::{MinVersion, TlsSettings};

/// The longest time that a key takes: an hour is more than any balancer waits.
const LONGEST: Duration = Duration::from_secs(3600);
/// Every connection's address is compared with them.
const MAX_PROXIES: usize = 256;

/// A number from 1 to `max`.
pub(super) fn bounded(key: &str, value: Option<usize>, default: usize, max: usize) -> Result<usize, String> {
    match value.unwrap_or(default) {
        n if (1..=max).contains(&n) => Ok(n),
        n => Err(format!("server.{key} = {n}; valid: 1 to {max}")),
    }
}

fn time(key: &str, value: Option<&String>, default: Duration, least: Duration) -> Result<Duration, String> {
    let Some(text) = value else { return Ok(default) };
    let time = duration_ms(text).map(Duration::from_millis).map_err(|e| format!("server.{key}: {e}"))?;
    match (least..=LONGEST).contains(&time) {
        true => Ok(time),
        false => Err(format!("server.{key} = \"{text}\"; valid: {}ms to 1h", least.as_millis())),
    }
}

pub(super) fn settings(raw: &RawServer, ledger: &RawLedger) -> Result<ServerSettings, String> {
    let default = ServerSettings::default();
    let max_body_bytes = bounded("max_body_bytes", raw.max_body_bytes, default.max_body_bytes, 1 << 30)?;
    // Where only the body's bound is raised, four such bodies have to fit.
    let room = default.max_bytes_in_flight.max(4 * max_body_bytes);
    let max_bytes_in_flight = bounded("max_bytes_in_flight", raw.max_bytes_in_flight, room, 1 << 40)?;
    if max_bytes_in_flight < max_body_bytes {
        return Err(format!(
            "server.max_bytes_in_flight = {max_bytes_in_flight}: no body of server.max_body_bytes = {max_body_bytes} \
             would fit; valid: {max_body_bytes} or more"
        ));
    }
    let max_connections = bounded("max_connections", raw.max_connections, default.max_connections, 1 << 20)?;
    let per_peer = raw.max_connections_per_peer;
    let max_connections_per_peer =
        bounded("max_connections_per_peer", per_peer, max_connections.div_ceil(2), max_connections)?;
    let (none, some) = (Duration::ZERO, Duration::from_millis(10));
    Ok(ServerSettings {
        max_body_bytes,
        max_bytes_in_flight,
        max_connections,
        max_connections_per_peer,
        header_timeout: time("header_timeout", raw.header_timeout.as_ref(), default.header_timeout, some)?,
        body_timeout: time("body_timeout", raw.body_timeout.as_ref(), default.body_timeout, some)?,
        stall_timeout: time("stall_timeout", raw.stall_timeout.as_ref(), default.stall_timeout, some)?,
        idle_timeout: time("idle_timeout", raw.idle_timeout.as_ref(), default.idle_timeout, some)?,
        shutdown_delay: time("shutdown_delay", raw.shutdown_delay.as_ref(), default.shutdown_delay, none)?,
        drain_timeout: time("drain_timeout", raw.drain_timeout.as_ref(), default.drain_timeout, some)?,
        admin_timeout: time("admin_timeout", raw.admin_timeout.as_ref(), default.admin_timeout, some)?,
        clock_tolerance: clock_tolerance(ledger.clock_tolerance.as_deref(), default.clock_tolerance)?,
        admin_hosts: admin_hosts(&raw.admin_hosts)?,
        trusted_proxies: trusted_proxies(&raw.trusted_proxies)?,
    })
}

fn clock_tolerance(text: Option<&str>, default: Duration) -> Result<Duration, String> {
    let Some(text) = text else { return Ok(default) };
    let key = "ledger.clock_tolerance";
    let tolerance = duration_ms(text).map(Duration::from_millis).map_err(|e| format!("{key}: {e}"))?;
    if tolerance > LONGEST {
        return Err(format!("{key} = \"{text}\"; valid: 0s to 1h, like 5m"));
    }
    Ok(tolerance)
}

/// Names without ports, in lower case: as `Host` headers are compared with them.
fn admin_hosts(names: &[String]) -> Result<Vec<String>, String> {
    let valid = |name: &String| {
        let is_name = !name.is_empty()
            && name.len() <= 253
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        match is_name {
            true => Ok(name.to_ascii_lowercase()),
            false => Err(format!(
                "server.admin_hosts: {name:?} is not a host name; valid: names without scheme and port, like serin.internal"
            )),
        }
    };
    names.iter().map(valid).collect()
}

fn trusted_proxies(networks: &[String]) -> Result<Vec<IpNet>, String> {
    if networks.len() > MAX_PROXIES {
        return Err(format!("server.trusted_proxies: {} of them; valid: at most {MAX_PROXIES}", networks.len()));
    }
    let valid = |text: &String| {
        let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        network.ok_or_else(|| {
            format!("server.trusted_proxies: {text:?} is no address; valid: addresses and networks, like 10.0.0.0/8")
        })
    };
    networks.iter().map(valid).collect()
}

/// `[server.tls]`. The files are read where they are used.
pub(super) fn tls(raw: Option<&RawTls>, dir: &Path) -> Result<Option<TlsSettings>, String> {
    let Some(raw) = raw else { return Ok(None) };
    let file = |key: &str, path: &String| match path.is_empty() {
        true => Err(format!("server.tls.{key} = \"\": not a path; valid: that of a PEM file, like tls/host.pem")),
        false => Ok(dir.join(path)),
    };
    let min_version = match raw.min_version.as_deref() {
        None | Some("1.2") => MinVersion::Tls12,
        Some("1.3") => MinVersion::Tls13,
        Some(other) => return Err(format!("server.tls.min_version = \"{other}\"; valid: 1.2, 1.3")),
    };
    Ok(Some(TlsSettings {
        cert: file("cert", &raw.cert)?,
        key: file("key", &raw.key)?,
        client_ca: raw.client_ca.as_ref().map(|path| file("client_ca", path)).transpose()?,
        min_version,
    }))
}
