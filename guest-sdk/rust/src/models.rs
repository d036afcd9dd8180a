//! Models that a strategy calls with rows of its own.

use crate::bindings::{ScoreError, Value};

/// A callable model of the manifest; the generated `models` module has one function for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    position: u32,
    name: &'static str,
}

impl Model {
    /// The callable model at `position` in the manifest.
    pub const fn at(position: u32, name: &'static str) -> Self {
        Self { position, name }
    }

    /// The model's name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Scores rows that hold the model's inputs in the order of the model's own inputs; one score a row, in the
    /// same order. Ask for all rows at once: calls are limited, and each has its price.
    ///
    /// ```ignore
    /// let scores = models::uplift().score([[f.balance_due, 0.0], [f.balance_due, 1.0]])?;
    /// ```
    ///
    /// # Errors
    /// Why there are no scores. A strategy that can do without them should; the record holds the cause.
    pub fn score<R>(&self, rows: impl IntoIterator<Item = R>) -> Result<Vec<f64>, ScoreError>
    where
        R: IntoIterator,
        R::Item: Into<Value>,
    {
        let rows: Vec<Vec<Value>> = rows.into_iter().map(|row| row.into_iter().map(Into::into).collect()).collect();
        self.call(&rows)
    }

    #[cfg(target_arch = "wasm32")]
    fn call(&self, rows: &[Vec<Value>]) -> Result<Vec<f64>, ScoreError> {
        crate::bindings::score(self.position, rows)
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn call(&self, rows: &[Vec<Value>]) -> Result<Vec<f64>, ScoreError> {
        crate::testing::answer(self.name, rows)
    }
}

/// A row of values of several types: `row![f.balance_due, 3, true]`.
#[macro_export]
macro_rules! row {
    ($($value:expr),* $(,)?) => { ::std::vec![$($crate::Value::from($value)),*] };
}
