//! What the environment says of traces, in OpenTelemetry's own variables. The exporter reads headers, the compression
//! and the resource's attributes itself.

use std::path::PathBuf;
use std::time::Duration;

use super::TraceContext;

/// Traces that may wait, where the environment does not say.
const QUEUE: usize = 2048;
/// Traces of one request.
const BATCH: usize = 512;
/// How long a trace waits for others.
const DELAY: Duration = Duration::from_secs(5);
/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The most that any of these may be.
const MOST: u64 = 3_600_000;

/// How traces are sent.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub sampler: Sampler,
    pub queue: usize,
    pub batch: usize,
    pub delay: Duration,
    pub timeout: Duration,
    /// The CA of the collector's certificate; without it, the public CAs.
    pub ca: Option<PathBuf>,
}

/// Which traces are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sampler {
    /// The share of those that nobody has decided about.
    ratio: f64,
    /// Whether the caller's choice counts.
    by_parent: bool,
}

impl Sampler {
    /// Whether a trace is sent. Hosts with the same share choose the same traces.
    pub(super) fn samples(self, trace_id: [u8; 16], caller: Option<TraceContext>) -> bool {
        if let Some(caller) = caller.filter(|_| self.by_parent) {
            return caller.is_sampled;
        }
        let mut low = [0; 8];
        low.copy_from_slice(&trace_id[8..]);
        // 63 bits, as OpenTelemetry's own sampler has it.
        let place = (u64::from_be_bytes(low) >> 1) as f64 / (1_u64 << 63) as f64;
        // The last places round up to 1.
        place < self.ratio || self.ratio >= 1.0
    }

    fn parse(name: &str, share: Option<&str>) -> Result<Self, String> {
        let (by_parent, rest) = name.strip_prefix("parentbased_").map_or((false, name), |rest| (true, rest));
        let ratio = match rest {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => {
                let share = share.unwrap_or("1.0");
                share.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| {
                    format!("OTEL_TRACES_SAMPLER_ARG = \"{share}\"; valid: a share from 0 to 1, like 0.1")
                })?
            }
            _ => {
                return Err(format!(
                    "OTEL_TRACES_SAMPLER = \"{name}\"; valid: always_on, always_off, traceidratio, each also after \
                     parentbased_"
                ));
            }
        };
        Ok(Self { ratio, by_parent })
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// The variable for traces, or that for all signals, and its value.
fn otlp(name: &str) -> Option<(String, String)> {
    let names = [format!("OTEL_EXPORTER_OTLP_TRACES_{name}"), format!("OTEL_EXPORTER_OTLP_{name}")];
    names.into_iter().find_map(|name| variable(&name).map(|value| (name, value)))
}

/// Holds a variable to a list of `KEY=VALUE`: the exporter leaves out what is none, and with it perhaps a credential.
fn check_pairs(found: Option<(String, String)>) -> Result<(), String> {
    let Some((name, written)) = found else { return Ok(()) };
    let is_pair = |pair: &str| pair.split_once('=').is_some_and(|(key, _)| !key.trim().is_empty());
    match written.split(',').all(is_pair) {
        true => Ok(()),
        // It may be a secret.
        false => Err(format!("{name}: not a list of pairs; valid: KEY=VALUE,KEY=VALUE, percent-encoded")),
    }
}

/// A whole number from 1.
fn number(name: &str, written: Option<String>, default: u64) -> Result<u64, String> {
    let Some(written) = written else { return Ok(default) };
    let number = written.parse().ok().filter(|number| (1..=MOST).contains(number));
    number.ok_or_else(|| format!("{name} = \"{written}\"; valid: a whole number from 1 to {MOST}"))
}

impl Settings {
    /// The settings; none where traces go nowhere.
    pub(super) fn of_environment() -> Result<Option<Self>, String> {
        let is_off = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let Some((endpoint, url)) = otlp("ENDPOINT").filter(|_| !is_off) else { return Ok(None) };
        if !(url.starts_with("http://") || url.starts_with("https://")) {
            return Err(format!("{endpoint} = \"{url}\"; valid: a URL, like http://127.0.0.1:4318"));
        }
        match variable("OTEL_TRACES_EXPORTER").as_deref() {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(other) => return Err(format!("OTEL_TRACES_EXPORTER = \"{other}\"; valid: otlp, none")),
        }
        for (name, valid) in [("PROTOCOL", &["http/protobuf"][..]), ("COMPRESSION", &["gzip", "none"])] {
            if let Some((name, written)) = otlp(name).filter(|(_, written)| !valid.contains(&&**written)) {
                return Err(format!("{name} = \"{written}\"; valid: {}", valid.join(", ")));
            }
        }
        check_pairs(otlp("HEADERS"))?;
        check_pairs(
            variable("OTEL_RESOURCE_ATTRIBUTES").map(|written| ("OTEL_RESOURCE_ATTRIBUTES".to_owned(), written)),
        )?;
        // Whoever sets these expects mutual TLS, and would not see that it is missing.
        if let Some((name, _)) = ["CLIENT_KEY", "CLIENT_CERTIFICATE"].into_iter().find_map(otlp) {
            return Err(format!("{name}: not supported; valid: a credential in OTEL_EXPORTER_OTLP_HEADERS"));
        }
        let sampler = variable("OTEL_TRACES_SAMPLER").unwrap_or_else(|| "parentbased_always_on".to_owned());
        let milliseconds = |name: &str, written, default: Duration| {
            number(name, written, default.as_millis() as u64).map(Duration::from_millis)
        };
        let size = |name: &str, default: usize| number(name, variable(name), default as u64).map(|size| size as usize);
        let (timeout_name, timeout) = otlp("TIMEOUT").unzip();
        let timeout_name = timeout_name.unwrap_or_default();
        let queue = size("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE)?;
        Ok(Some(Self {
            sampler: Sampler::parse(&sampler, variable("OTEL_TRACES_SAMPLER_ARG").as_deref())?,
            queue,
            batch: size("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH)?.min(queue),
            delay: milliseconds("OTEL_BSP_SCHEDULE_DELAY", variable("OTEL_BSP_SCHEDULE_DELAY"), DELAY)?,
            timeout: milliseconds(&timeout_name, timeout, TIMEOUT)?,
            ca: otlp("CERTIFICATE").map(|(_, path)| PathBuf::from(path)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sampler_takes_its_share_and_follows_the_caller_where_it_is_asked_to() {
        let of = |name: &str, share: Option<&str>| Sampler::parse(name, share);
        let id = |low: u64| {
            let mut id = [1; 16];
            id[8..].copy_from_slice(&low.to_be_bytes());
            id
        };
        let caller = |is_sampled| Some(TraceContext { trace_id: id(7), parent: Some([1; 8]), is_sampled });
        let tenth = of("traceidratio", Some("0.1")).expect("valid");
        let taken = (0..1000_u64).filter(|i| tenth.samples(id(i * (u64::MAX / 1000)), None)).count();
        assert!((99..=101).contains(&taken), "{taken}");
        assert!(of("always_on", None).expect("valid").samples(id(u64::MAX), caller(false)));
        let by_parent = of("parentbased_always_off", None).expect("valid");
        assert!(by_parent.samples(id(7), caller(true)) && !by_parent.samples(id(7), None));
        assert!(!of("parentbased_traceidratio", None).expect("valid").samples(id(7), caller(false)));
        for (name, share) in [("sometimes", None), ("traceidratio", Some("2")), ("traceidratio", Some("NaN"))] {
            assert!(of(name, share).expect_err("not valid").contains("valid:"));
        }
    }
}
