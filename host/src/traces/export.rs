//! The thread that sends traces.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::{InstrumentationScope, Key};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;
use parking_lot::Mutex;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::settings::Settings;
use super::spans::spans;
use super::{DecisionTrace, Incoming};
use crate::clock::Clock;
use crate::files;
use crate::telemetry::Metrics;

/// Bytes of a collector's answer that are read.
const MAX_ANSWER: u64 = 64 << 10;

/// How often a thread that waits for more looks whether the host stops.
const LOOK: Duration = Duration::from_millis(50);

/// Starts the thread.
pub(super) fn start(
    settings: Settings,
    incoming: Incoming,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
) -> Result<(), String> {
    let why = Arc::default();
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Client::new(&settings, Arc::clone(&why))?)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(settings.timeout)
        .build()
        .map_err(|error| format!("OTEL_EXPORTER_OTLP_ENDPOINT: {error}; valid: a URL, like http://127.0.0.1:4318"))?;
    exporter.set_resource(&resource());
    let scope = InstrumentationScope::builder("serin").with_version(env!("CARGO_PKG_VERSION")).build();
    // The last that may fail: a runtime must not be dropped where another one waits.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("traces: {error}"))?;
    let sender = Sending { settings, incoming, clock, metrics, runtime, exporter, scope, why };
    let thread = std::thread::Builder::new().name("serin-traces".into()).spawn(move || sender.run());
    thread.map(drop).map_err(|error| format!("no thread for traces: {error}"))
}

/// What the environment says, and the host's name where it does not.
fn resource() -> Resource {
    let found = Resource::builder().build();
    let name = found.get(&Key::from_static_str("service.name")).map(|name| name.to_string());
    match name.is_none_or(|name| name.starts_with("unknown_service")) {
        true => Resource::builder().with_service_name("serin").build(),
        false => found,
    }
}

struct Sending {
    settings: Settings,
    incoming: Incoming,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    runtime: tokio::runtime::Runtime,
    exporter: SpanExporter,
    scope: InstrumentationScope,
    why: Arc<Mutex<Option<String>>>,
}

impl Sending {
    /// Sends until the host stops.
    fn run(self) {
        loop {
            crossbeam_channel::select! {
                recv(self.incoming.queue) -> first => match first {
                    Ok(first) => self.send_with_others(first),
                    Err(_) => return,
                },
                recv(self.incoming.stop) -> done => {
                    self.drain();
                    // Whoever asked may have gone on.
                    let _ = done.map(|done| done.send(()));
                    return;
                }
            }
        }
    }

    /// Waits for others, so that a request has many; not where the host stops.
    fn send_with_others(&self, first: Box<DecisionTrace>) {
        let mut batch = vec![first];
        let end = crossbeam_channel::after(self.settings.delay);
        while batch.len() < self.settings.batch && self.incoming.stop.is_empty() {
            crossbeam_channel::select! {
                recv(self.incoming.queue) -> trace => match trace {
                    Ok(trace) => batch.push(trace),
                    Err(_) => break,
                },
                recv(end) -> _ => break,
                default(LOOK) => {}
            }
        }
        self.send(&batch);
    }

    fn drain(&self) {
        loop {
            let batch: Vec<_> = self.incoming.queue.try_iter().take(self.settings.batch).collect();
            if batch.is_empty() {
                return;
            }
            self.send(&batch);
        }
    }

    fn send(&self, batch: &[Box<DecisionTrace>]) {
        let all = batch.iter().flat_map(|trace| spans(trace, &self.scope, &*self.clock)).collect();
        let sent = self.runtime.block_on(self.exporter.export(all));
        let reason = if sent.is_ok() { "sent" } else { "failed" };
        batch.iter().for_each(|_| Metrics::count(&self.metrics.traces, reason));
        if let Err(error) = sent {
            // The exporter's own error says only that it was the network's.
            let why = self.why.lock().take().unwrap_or_else(|| error.to_string());
            crate::telemetry::log_limited!(warn, why, "traces were not sent");
        }
    }
}

/// The exporter's client: blocking, since it has a thread of its own.
#[derive(Debug)]
struct Client {
    agent: ureq::Agent,
    /// Why the last call failed.
    why: Arc<Mutex<Option<String>>>,
}

impl Client {
    fn new(settings: &Settings, why: Arc<Mutex<Option<String>>>) -> Result<Self, String> {
        let mut tls = TlsConfig::builder();
        if let Some(ca) = &settings.ca {
            let found = certificates(ca).map_err(|why| {
                format!("OTEL_EXPORTER_OTLP_CERTIFICATE = \"{}\": {why}; valid: certificates in PEM", files::shown(ca))
            })?;
            tls = tls.root_certs(RootCerts::from(found));
        }
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(settings.timeout))
            .max_redirects(0)
            .http_status_as_error(false)
            .tls_config(tls.build())
            .build();
        Ok(Self { agent: config.into(), why })
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let (parts, mut body) = self.agent.run(Request::from_parts(parts, &body[..]))?.into_parts();
        let bytes = body.with_config().limit(MAX_ANSWER).read_to_vec()?;
        Ok(Response::from_parts(parts, bytes.into()))
    }
}

impl HttpClient for Client {
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        let sent = self.send(request);
        if let Err(error) = &sent {
            *self.why.lock() = Some(error.to_string());
        }
        Box::pin(std::future::ready(sent))
    }
}

/// The certificates of a file.
fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let pem = files::read_bounded(path, files::MAX_TEXT_BYTES).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| error.to_string())? {
            found.push(certificate);
        }
    }
    if found.is_empty() { Err("holds no certificate".to_owned()) } else { Ok(found) }
}
