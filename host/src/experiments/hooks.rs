//! Webhooks: notifications of changes of an experiment, as CloudEvents in binary mode, signed as Standard Webhooks has
//! it. Nothing waits for them: a hook that hangs or is down affects only its own messages.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ct_codecs::{Base64, Decoder as _, Encoder as _};
use hmac::{Hmac, Mac as _};
use serde_json::Value;
use serin_core::experiment::{Experiment, NotifyEvent};
use sha2::Sha256;

use crate::clock::{Clock, decision_id};
use crate::telemetry::Metrics;

/// Messages that may wait.
const QUEUE: usize = 256;
/// Concurrent deliveries.
const WORKERS: usize = 4;
/// Attempts to deliver a message; the pause doubles after each.
const TRIES: u32 = 5;
/// The first pause.
const PAUSE: Duration = Duration::from_millis(500);
/// How often it is looked whether the last messages are sent when the host stops: for two seconds, enough for two attempts.
const LOOKS: u32 = 100;
/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// The timeout of one attempt.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The timeout for resolving a name, and for connecting.
const CONNECT: Duration = Duration::from_secs(2);

struct Message {
    url: String,
    secret_env: Option<String>,
    body: String,
    /// What says what the message is: attributes of CloudEvents.
    attributes: Arc<[(&'static str, String)]>,
    /// Its id, the same at each attempt and for each hook.
    id: String,
}

/// Sends messages, from threads of its own.
#[derive(Default)]
pub struct Notifier {
    queue: OnceLock<crossbeam_channel::Sender<Message>>,
    /// Messages that wait or are being sent.
    under_way: Arc<AtomicUsize>,
}

impl Notifier {
    /// Notifies the spec's webhooks of an event.
    pub fn send(
        &self,
        spec: &Experiment,
        event: NotifyEvent,
        body: &Value,
        metrics: &Arc<Metrics>,
        clock: &Arc<dyn Clock>,
    ) {
        let mut hooks = spec.notify.iter().filter(|hook| hook.events.contains(&event)).peekable();
        if hooks.peek().is_none() {
            return;
        }
        let now_ms = clock.now_ms();
        let id = decision_id(&**clock, now_ms);
        let attributes: Arc<[_]> = attributes(spec, event, &id, now_ms).into();
        for hook in hooks {
            let message = Message {
                url: hook.url.clone(),
                secret_env: hook.secret_env.clone(),
                body: body.to_string(),
                attributes: Arc::clone(&attributes),
                id: id.clone(),
            };
            let queue = self.queue.get_or_init(|| start(metrics, clock, &self.under_way));
            self.under_way.fetch_add(1, Ordering::SeqCst);
            if queue.try_send(message).is_err() {
                self.under_way.fetch_sub(1, Ordering::SeqCst);
                Metrics::count(&metrics.notifications, "dropped");
                let hook = redacted(&hook.url);
                tracing::warn!(hook, experiment = %spec.id, "too many messages wait; this one is dropped");
            }
        }
    }

    /// Gives what is under way a moment when the host stops, and says what was not delivered by then.
    pub fn stop(&self) {
        let count = || self.under_way.load(Ordering::SeqCst);
        for _ in (0..LOOKS).take_while(|_| count() > 0) {
            std::thread::sleep(LOOK);
        }
        let lost = count();
        if lost > 0 {
            tracing::warn!(
                messages = lost,
                "messages to webhooks were not delivered before the host stopped, and are lost"
            );
        }
    }
}

/// The attributes of an event, as headers.
fn attributes(spec: &Experiment, event: NotifyEvent, id: &str, now_ms: u64) -> Vec<(&'static str, String)> {
    // The body has the time, too, so that one that cannot be written is no loss.
    let time = jiff::Timestamp::from_millisecond(now_ms as i64).ok().map(|time| ("ce-time", time.to_string()));
    let all = [
        ("ce-specversion", "1.0".to_owned()),
        ("ce-id", id.to_owned()),
        ("ce-source", format!("/v1/experiments/{}", spec.id)),
        ("ce-subject", spec.id.to_string()),
        ("ce-type", format!("serin.experiment.{}.v1", event.as_str())),
    ];
    all.into_iter().chain(time).collect()
}

/// The workers end with the sender.
fn start(
    metrics: &Arc<Metrics>,
    clock: &Arc<dyn Clock>,
    under_way: &Arc<AtomicUsize>,
) -> crossbeam_channel::Sender<Message> {
    let (sender, receiver) = crossbeam_channel::bounded::<Message>(QUEUE);
    for _ in 0..WORKERS {
        let (receiver, metrics, clock) = (receiver.clone(), Arc::clone(metrics), Arc::clone(clock));
        let under_way = Arc::clone(under_way);
        let work = move || {
            for message in receiver {
                deliver(&message, &metrics, &*clock);
                under_way.fetch_sub(1, Ordering::SeqCst);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("serin-notify".into()).spawn(work) {
            tracing::error!(%error, "no thread for messages");
        }
    }
    sender
}

fn deliver(message: &Message, metrics: &Metrics, clock: &dyn Clock) {
    let secret = match secret(message.secret_env.as_deref()) {
        Ok(secret) => secret,
        Err(error) => {
            Metrics::count(&metrics.notifications, "unsigned");
            tracing::error!(%error, hook = redacted(&message.url), "a message is not sent, since it cannot be signed");
            return;
        }
    };
    let mut pause = PAUSE;
    for tried in 1..=TRIES {
        match send(message, secret.as_ref(), clock.now_ms() / 1000) {
            Ok(()) => return Metrics::count(&metrics.notifications, "delivered"),
            Err(error) if tried == TRIES => {
                Metrics::count(&metrics.notifications, "failed");
                let hook = redacted(&message.url);
                tracing::warn!(error, hook, "a message was not delivered, after {TRIES} tries");
            }
            Err(_) => {
                std::thread::sleep(pause);
                pause *= 2;
            }
        }
    }
}

/// Sends a message once. Only a 2xx means delivered. Redirects are not followed, because the file
/// does not name their target.
fn send(message: &Message, secret: Option<&Secret>, now_s: u64) -> Result<(), String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .max_redirects(0)
        .http_status_as_error(false)
        .build()
        .into();
    let mut request = agent.post(&message.url).header("content-type", "application/json");
    for (name, value) in &*message.attributes {
        request = request.header(*name, value);
    }
    request = request.header("webhook-id", &message.id).header("webhook-timestamp", now_s.to_string());
    if let Some(secret) = secret {
        request = request.header("serin-signature", secret.serin_signature(&message.body));
        request = request.header("webhook-signature", secret.standard_signature(message, now_s));
    }
    match request.send(&message.body) {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) if answer.status().is_redirection() => {
            Err(format!("it answered {}, and redirects are not followed", answer.status().as_u16()))
        }
        Ok(answer) => Err(format!("it answered {}", answer.status().as_u16())),
        // The client's error may contain the address.
        Err(error) => Err(error.to_string().replace(&message.url, redacted(&message.url))),
    }
}

/// Scheme, host and port of a hook. The path and the part before an `@` may be secret.
fn redacted(url: &str) -> &str {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let end = url[after_scheme..].find(['/', '?', '#', '\\']).map_or(url.len(), |at| after_scheme + at);
    let host = url[..end].rfind('@').map_or(after_scheme, |at| at + 1);
    if host > after_scheme { &url[host..end] } else { &url[..end] }
}

/// Checks that the secrets that a spec names are set.
///
/// # Errors
/// The hook whose variable is not set.
pub fn check(spec: &Experiment) -> Result<(), String> {
    for (i, hook) in spec.notify.iter().enumerate() {
        secret(hook.secret_env.as_deref()).map_err(|why| format!("notify[{i}].secret_env: {why}"))?;
    }
    Ok(())
}

/// What signs messages.
struct Secret {
    /// As it is in the environment.
    written: String,
    /// The key of Standard Webhooks: `whsec_` and base64, or any text as it is.
    key: Vec<u8>,
}

/// How Standard Webhooks marks a secret.
const MARK: &str = "whsec_";

/// The secret that signs messages; none if the file names none.
fn secret(variable: Option<&str>) -> Result<Option<Secret>, String> {
    let Some(variable) = variable else { return Ok(None) };
    let written = std::env::var(variable).ok().filter(|secret| !secret.is_empty()).ok_or_else(|| {
        match variable.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_') {
            true => {
                format!(
                    "the environment variable '{variable}' is not set; set it for the host, or leave secret_env out"
                )
            }
            // Not shown: it may be the secret itself.
            false => "no environment variable of that name is set; valid: the name of one that holds the secret, like \
                      HOOK_SECRET, and never the secret"
                .to_owned(),
        }
    })?;
    let key = match written.strip_prefix(MARK) {
        None => written.clone().into_bytes(),
        Some(key) => Base64::decode_to_vec(key, None).ok().filter(|key| !key.is_empty()).ok_or_else(|| {
            format!("the environment variable '{variable}' begins with {MARK} and goes on with what is not base64")
        })?,
    };
    Ok(Some(Secret { written, key }))
}

impl Secret {
    /// HMAC-SHA256 of the body under the secret as it is written.
    fn serin_signature(&self, body: &str) -> String {
        use std::fmt::Write as _;
        signed(self.written.as_bytes(), &[body]).iter().fold("sha256=".to_owned(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// The signature of Standard Webhooks: over id, time and body.
    fn standard_signature(&self, message: &Message, now_s: u64) -> String {
        let mac = signed(&self.key, &[&message.id, ".", &now_s.to_string(), ".", &message.body]);
        format!("v1,{}", Base64::encode_to_string(mac).unwrap_or_default())
    }
}

fn signed(key: &[u8], parts: &[&str]) -> Vec<u8> {
    // A key of any length is one.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    parts.iter().for_each(|part| mac.update(part.as_bytes()));
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_message_is_signed_as_rfc_4231_has_it() {
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let secret = super::Secret { written: "Jefe".to_owned(), key: Vec::new() };
        assert_eq!(secret.serin_signature("what do ya want for nothing?"), expected);
    }

    #[test]
    fn of_a_hooks_address_the_host_is_shown() {
        for (url, shown) in [
            ("https://hooks.example/services/T0/B0/secret", "https://hooks.example"),
            ("http://127.0.0.1:9000/hook?token=secret", "http://127.0.0.1:9000"),
            ("http://user:secret@host:80/", "host:80"),
            ("https://host?secret", "https://host"),
            ("https://host", "https://host"),
            ("https://us:er@secret@host/p@th", "host"),
        ] {
            assert_eq!(super::redacted(url), shown);
        }
    }
}
