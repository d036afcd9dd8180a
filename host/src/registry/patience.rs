//! Waiting for an artifact, but not for ever. Compiling cannot be interrupted, so it is done on a thread
//! that can be left.

use std::sync::Arc;
use std::time::Duration;

use super::artifact::{ArtifactError, Plugin};
use super::loading;
use crate::sandbox::Engines;

/// How long a command waits for an artifact: longer than a host, which serves a late one after all, since a busy
/// machine is no defect of the artifact.
const PATIENCE: Duration = Duration::from_secs(600);

/// A warning, if loading took longer than a host keeps others waiting for it.
pub fn late(took: Duration) -> Option<String> {
    let most = loading::PATIENCE;
    (took > most).then(|| {
        format!(
            "took {} s to load here; after {} s a host shows it as failed, and serves it when it is loaded all the same",
            took.as_secs(),
            most.as_secs()
        )
    })
}

/// [`Plugin::load`], unless it takes too long.
///
/// # Errors
/// What keeps the artifact from being served, the time that it takes included.
pub fn load_within_patience(engines: &Arc<Engines>, bytes: Vec<u8>) -> Result<Plugin, ArtifactError> {
    let engines = Arc::clone(engines);
    within(PATIENCE, move || Plugin::load(&engines, &bytes))
}

/// [`Plugin::link`], unless it takes too long.
///
/// # Errors
/// What keeps the artifact from being run, the time that it takes included.
pub fn link_within_patience(engines: &Arc<Engines>, bytes: Vec<u8>) -> Result<Plugin, ArtifactError> {
    let engines = Arc::clone(engines);
    within(PATIENCE, move || Plugin::link(&engines, &bytes))
}

/// Does the work on a thread of its own, which is left to itself when the time is over.
fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> Result<T, ArtifactError> + Send + 'static,
) -> Result<T, ArtifactError> {
    let (done, result) = crossbeam_channel::bounded(1);
    let worker = std::thread::Builder::new().name("serin-load".into());
    worker
        .spawn(move || {
            // Fails only where nobody waits any more.
            let _ = done.send(work());
        })
        .map_err(|error| ArtifactError::Unread(format!("no thread to load it on: {error}")))?;
    result.recv_timeout(limit).unwrap_or_else(|error| match error {
        crossbeam_channel::RecvTimeoutError::Timeout => Err(ArtifactError::TooSlow(limit.as_secs())),
        crossbeam_channel::RecvTimeoutError::Disconnected => {
            Err(ArtifactError::Panicked("the thread that loads it died".to_owned()))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_an_artifact_for_ever() {
        assert!(within(PATIENCE, || Ok(())).is_ok());
        let (_held, never) = crossbeam_channel::bounded::<()>(1);
        let late = within(Duration::from_millis(10), move || {
            let _ = never.recv();
            Ok(())
        });
        let Err(error) = late else { panic!("it never ends") };
        let error = error.to_string();
        assert!(error.starts_with("takes longer than 0 s to load") && error.contains("try again"), "{error}");
        let died = within::<()>(PATIENCE, || panic!("a defect"));
        assert!(matches!(died, Err(ArtifactError::Panicked(_))), "{died:?}");
    }

    #[test]
    fn a_busy_machine_is_a_warning_and_no_mistake() {
        assert!(PATIENCE >= 5 * loading::PATIENCE, "a machine that is five times as slow as an idle one is busy");
        assert_eq!(late(loading::PATIENCE), None);
        assert!(late(Duration::from_secs(84)).is_some_and(|why| why.starts_with("took 84 s")));
    }
}
