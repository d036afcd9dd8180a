//! What a handler knows of a request that the audit says: the handler returns an answer, and the entry is written by who
//! called it.

use std::cell::RefCell;

/// What came of a request.
#[derive(Debug, Default)]
pub(super) struct CameOf {
    /// What it was about, beside its path, like a file's digest.
    pub(super) about: String,
    /// It was carried out before, and has changed nothing.
    pub(super) is_unchanged: bool,
}

/// An extension of the answer to a request that has changed nothing.
#[derive(Clone, Copy)]
pub(super) struct Unchanged;

tokio::task_local! {
    static CAME_OF: RefCell<CameOf>;
}

impl CameOf {
    /// Runs a handler, and hears what it says.
    pub(super) async fn heard<T>(handler: impl Future<Output = T>) -> (T, Self) {
        let heard = async {
            let answer = handler.await;
            (answer, CAME_OF.with(RefCell::take))
        };
        CAME_OF.scope(RefCell::default(), heard).await
    }

    /// Says it. Nobody hears it where the request is not audited.
    pub(super) fn say(self) {
        let _ = CAME_OF.try_with(|said| said.replace(self));
    }
}
