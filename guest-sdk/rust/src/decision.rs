//! What a strategy answers, over its own actions `A` and reasons `R`.

/// An action that the strategy would take, how probably, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate<A, R> {
    /// The action, with its parameters.
    pub action: A,
    /// The probability with which the host shall draw it.
    pub probability: f64,
    /// Reasons and their weights, most important first.
    pub reasons: Vec<(R, f64)>,
}

impl<A, R> Candidate<A, R> {
    /// The action with certainty, and no reason yet.
    pub fn new(action: A) -> Self {
        Self { action, probability: 1.0, reasons: Vec::new() }
    }

    /// Adds a reason.
    #[must_use]
    pub fn because(mut self, reason: R, weight: f64) -> Self {
        self.reasons.push((reason, weight));
        self
    }
}

/// What a strategy proposes: candidates, of which the host draws one.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision<A, R> {
    /// At least one; their probabilities sum to 1.
    pub candidates: Vec<Candidate<A, R>>,
}

impl<A, R> Decision<A, R> {
    /// Several candidates, each with its probability.
    pub fn of<C: Into<Candidate<A, R>>>(candidates: impl IntoIterator<Item = (f64, C)>) -> Self {
        let with = |(probability, candidate): (f64, C)| Candidate { probability, ..candidate.into() };
        Self { candidates: candidates.into_iter().map(with).collect() }
    }

    /// Several candidates, each with its weight; their probabilities are the weights divided by
    /// their sum. For what does not sum to 1 by itself, such as scores, or a softmax in 32 bits.
    ///
    /// ```
    /// use serin_guest::{Candidate, Decision};
    /// let decision: Decision<_, ()> =
    ///     Decision::normalized([(3.0, Candidate::new("call")), (1.0, Candidate::new("email"))]);
    /// assert_eq!(decision.candidates[0].probability, 0.75);
    /// ```
    pub fn normalized<C: Into<Candidate<A, R>>>(candidates: impl IntoIterator<Item = (f64, C)>) -> Self {
        let mut decision = Self::of(candidates);
        let total: f64 = decision.candidates.iter().map(|candidate| candidate.probability).sum();
        decision.candidates.iter_mut().for_each(|candidate| candidate.probability /= total);
        decision
    }

    /// The action of a decision that has one candidate; for tests.
    ///
    /// # Panics
    /// Where there is not exactly one.
    pub fn action(&self) -> &A {
        assert_eq!(self.candidates.len(), 1, "candidates in the decision");
        &self.candidates[0].action
    }

    /// The reasons of a decision that has one candidate, without weights; for tests.
    ///
    /// # Panics
    /// Where there is not exactly one.
    pub fn reasons(&self) -> Vec<&R> {
        assert_eq!(self.candidates.len(), 1, "candidates in the decision");
        self.candidates[0].reasons.iter().map(|(reason, _)| reason).collect()
    }
}

/// The strategy declines to decide. This is an answer, not a fault: the fallback serves.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal<R> {
    /// Why.
    pub reason: R,
    /// For people who read the record.
    pub message: String,
}

type Decided<A, R> = Result<Decision<A, R>, Refusal<R>>;

/// What holds a decision: a [`Decision`], or the one [`Candidate`] of the plain case.
pub trait Proposal {
    /// The plugin's actions.
    type Action;
    /// The plugin's reasons.
    type Reason;
    /// The decision.
    fn into_decision(self) -> Decision<Self::Action, Self::Reason>;
}

impl<A, R> Proposal for Candidate<A, R> {
    type Action = A;
    type Reason = R;
    fn into_decision(self) -> Decision<A, R> {
        Decision { candidates: vec![self] }
    }
}

impl<A, R> Proposal for Decision<A, R> {
    type Action = A;
    type Reason = R;
    fn into_decision(self) -> Self {
        self
    }
}

/// What a strategy's function may return: a [`Proposal`], or a `Result` of one or a
/// [`Refusal`].
pub trait Answer {
    /// The plugin's actions.
    type Action;
    /// The plugin's reasons.
    type Reason;
    /// The answer in its general form.
    ///
    /// # Errors
    /// The refusal, where the strategy declined.
    fn into_result(self) -> Decided<Self::Action, Self::Reason>;
}

impl<A, R> Answer for Candidate<A, R> {
    type Action = A;
    type Reason = R;
    fn into_result(self) -> Decided<A, R> {
        Ok(self.into_decision())
    }
}

impl<A, R> Answer for Decision<A, R> {
    type Action = A;
    type Reason = R;
    fn into_result(self) -> Decided<A, R> {
        Ok(self)
    }
}

impl<P: Proposal> Answer for Result<P, Refusal<P::Reason>> {
    type Action = P::Action;
    type Reason = P::Reason;
    fn into_result(self) -> Decided<P::Action, P::Reason> {
        self.map(P::into_decision)
    }
}

impl<A, R> From<Candidate<A, R>> for Decision<A, R> {
    fn from(candidate: Candidate<A, R>) -> Self {
        candidate.into_decision()
    }
}

impl<A, R> From<Candidate<A, R>> for Decided<A, R> {
    fn from(candidate: Candidate<A, R>) -> Self {
        candidate.into_result()
    }
}

impl<A, R> From<Decision<A, R>> for Decided<A, R> {
    fn from(decision: Decision<A, R>) -> Self {
        Ok(decision)
    }
}
