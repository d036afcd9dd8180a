//! Stands in for the host in native unit tests. Everything here is of the current thread,
//! so that tests in parallel do not meet.

use std::cell::RefCell;

use crate::bindings::{Level, ScoreError, Value};

type Fake = Box<dyn FnMut(&str, &[Vec<Value>]) -> Result<Vec<f64>, ScoreError>>;

thread_local! {
    static MODELS: RefCell<Option<Fake>> = const { RefCell::new(None) };
    static LINES: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
}

/// Runs `test` with `models` in place of the host's callable models. It gets the model's
/// name and the rows.
///
/// ```
/// use serin_guest::{Model, testing};
/// let uplift = Model::at(0, "uplift");
/// let scores = testing::with_models(|_, rows| Ok(vec![0.5; rows.len()]), || uplift.score([[1.0], [2.0]]));
/// assert_eq!(scores, Ok(vec![0.5, 0.5]));
/// ```
pub fn with_models<T>(
    models: impl FnMut(&str, &[Vec<Value>]) -> Result<Vec<f64>, ScoreError> + 'static,
    test: impl FnOnce() -> T,
) -> T {
    /// Puts the outer fake back even where the test panics.
    struct Restore(Option<Fake>);
    impl Drop for Restore {
        fn drop(&mut self) {
            MODELS.replace(self.0.take());
        }
    }
    let _restore = Restore(MODELS.replace(Some(Box::new(models))));
    test()
}

/// Runs `test`, and returns its result and the lines that it logged.
///
/// ```
/// let (_, lines) = serin_guest::testing::with_log(|| serin_guest::log::info("late"));
/// assert_eq!(lines[0].1, "late");
/// ```
pub fn with_log<T>(test: impl FnOnce() -> T) -> (T, Vec<(Level, String)>) {
    let outer = LINES.take();
    let result = test();
    (result, LINES.replace(outer))
}

pub(crate) fn keep_line(level: Level, message: &str) {
    LINES.with_borrow_mut(|lines| lines.push((level, message.to_owned())));
}

pub(crate) fn answer(model: &str, rows: &[Vec<Value>]) -> Result<Vec<f64>, ScoreError> {
    MODELS.with_borrow_mut(|fake| match fake {
        Some(fake) => fake(model, rows),
        None => panic!("model '{model}' was called, and no host is here; use serin_guest::testing::with_models"),
    })
}
