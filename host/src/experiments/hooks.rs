//! Webhooks: whoever asked to is told of what becomes of an experiment. Nobody waits for them: a
//! hook that hangs, or is not there, costs its own message and nothing else.

use std::sync::OnceLock;
use std::time::Duration;

use hmac::{Hmac, Mac as _};
use serde_json::Value;
use serin_core::experiment::{Experiment, NotifyEvent};
use sha2::Sha256;

use crate::telemetry::Metrics;

/// Messages that may wait.
const QUEUE: usize = 256;
/// Messages under way at once.
const WORKERS: usize = 4;
/// Tries of one message; the pause doubles from one to the next.
const TRIES: u32 = 5;
/// The first pause.
const PAUSE: Duration = Duration::from_millis(500);
/// How long one try may take.
const TIMEOUT: Duration = Duration::from_secs(5);

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
    /// Tells whoever the spec names of an event.
    pub fn send(&self, spec: &Experiment, event: NotifyEvent, body: &Value, metrics: &std::sync::Arc<Metrics>) {
        for hook in spec.notify.iter().filter(|hook| hook.events.contains(&event)) {
            let message =
                Message { url: hook.url.clone(), secret_env: hook.secret_env.clone(), body: body.to_string() };
            let queue = self.queue.get_or_init(|| start(metrics));
            if queue.try_send(message).is_err() {
                Metrics::count(&metrics.notifications, "dropped");
                tracing::warn!(url = hook.url, experiment = %spec.id, "too many messages wait; this one is dropped");
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
    let config = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).build();
    let agent: ureq::Agent = config.into();
    let mut pause = PAUSE;
    for tried in 1..=TRIES {
        let mut request = agent.post(&message.url).header("content-type", "application/json");
        if let Some(signature) = signature(message) {
            request = request.header("serin-signature", signature);
        }
        match request.send(&message.body) {
            Ok(_) => return Metrics::count(&metrics.notifications, "delivered"),
            Err(error) if tried == TRIES => {
                Metrics::count(&metrics.notifications, "failed");
                tracing::warn!(%error, url = message.url, "a message was not delivered, after {TRIES} tries");
            }
            Err(_) => {
                std::thread::sleep(pause);
                pause *= 2;
            }
        }
    }
}

/// HMAC-SHA256 of the body under the secret that the file names.
fn signature(message: &Message) -> Option<String> {
    let secret = std::env::var(message.secret_env.as_ref()?).ok()?;
    Some(signed(secret.as_bytes(), message.body.as_bytes()))
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
}
