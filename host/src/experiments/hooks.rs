//! Webhooks: notifications of changes of an experiment. Nothing waits for them: a hook that hangs
//! or is down affects only its own messages.

use std::sync::OnceLock;
use std::time::Duration;

use hmac::{Hmac, Mac as _};
use serde_json::Value;
use serin_core::experiment::{Experiment, NotifyEvent};
use sha2::Sha256;

use crate::telemetry::Metrics;

/// Messages that may wait.
const QUEUE: usize = 256;
/// Concurrent deliveries.
const WORKERS: usize = 4;
/// Attempts to deliver a message; the pause doubles after each.
const TRIES: u32 = 5;
/// The first pause.
const PAUSE: Duration = Duration::from_millis(500);
/// The timeout of one attempt.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The timeout for resolving a name, and for connecting.
const CONNECT: Duration = Duration::from_secs(2);

struct Message {
    url: String,
    secret_env: Option<String>,
    body: String,
}

/// Sends messages, from threads of its own.
#[derive(Default)]
pub struct Notifier {
    queue: OnceLock<crossbeam_channel::Sender<Message>>,
}

impl Notifier {
    /// Notifies the spec's webhooks of an event.
    pub fn send(&self, spec: &Experiment, event: NotifyEvent, body: &Value, metrics: &std::sync::Arc<Metrics>) {
        for hook in spec.notify.iter().filter(|hook| hook.events.contains(&event)) {
            let message =
                Message { url: hook.url.clone(), secret_env: hook.secret_env.clone(), body: body.to_string() };
            let queue = self.queue.get_or_init(|| start(metrics));
            if queue.try_send(message).is_err() {
                Metrics::count(&metrics.notifications, "dropped");
                let hook = redacted(&hook.url);
                tracing::warn!(hook, experiment = %spec.id, "too many messages wait; this one is dropped");
            }
        }
    }
}

/// The workers end with the sender.
fn start(metrics: &std::sync::Arc<Metrics>) -> crossbeam_channel::Sender<Message> {
    let (sender, receiver) = crossbeam_channel::bounded::<Message>(QUEUE);
    for _ in 0..WORKERS {
        let (receiver, metrics) = (receiver.clone(), std::sync::Arc::clone(metrics));
        let work = move || receiver.iter().for_each(|message| deliver(&message, &metrics));
        if let Err(error) = std::thread::Builder::new().name("serin-notify".into()).spawn(work) {
            tracing::error!(%error, "no thread for messages");
        }
    }
    sender
}

fn deliver(message: &Message, metrics: &Metrics) {
    let signature = match signature(message) {
        Ok(signature) => signature,
        Err(error) => {
            Metrics::count(&metrics.notifications, "unsigned");
            tracing::error!(%error, hook = redacted(&message.url), "a message is not sent, since it cannot be signed");
            return;
        }
    };
    let mut pause = PAUSE;
    for tried in 1..=TRIES {
        match send(message, signature.as_deref()) {
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
fn send(message: &Message, signature: Option<&str>) -> Result<(), String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .max_redirects(0)
        .http_status_as_error(false)
        .build()
        .into();
    let mut request = agent.post(&message.url).header("content-type", "application/json");
    if let Some(signature) = signature {
        request = request.header("serin-signature", signature);
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

/// The secret that signs messages; none if the file names none.
fn secret(variable: Option<&str>) -> Result<Option<String>, String> {
    let Some(variable) = variable else { return Ok(None) };
    match std::env::var(variable) {
        Ok(secret) if !secret.is_empty() => Ok(Some(secret)),
        _ => Err(format!(
            "the environment variable '{variable}' is not set; set it for the host, or leave secret_env out"
        )),
    }
}

/// HMAC-SHA256 of the body under the secret that the file names; none if it names none.
fn signature(message: &Message) -> Result<Option<String>, String> {
    let secret = secret(message.secret_env.as_deref())?;
    Ok(secret.map(|secret| signed(secret.as_bytes(), message.body.as_bytes())))
}

fn signed(secret: &[u8], body: &[u8]) -> String {
    use std::fmt::Write as _;
    // A key of any length is one.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    mac.update(body);
    mac.finalize().into_bytes().iter().fold("sha256=".to_owned(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_message_is_signed_as_rfc_4231_has_it() {
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(super::signed(b"Jefe", b"what do ya want for nothing?"), expected);
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
