//! Timing. Subjects take turns in short rounds, so that a noisy moment of the machine is
//! everybody's, and ratios are taken within a round.

use std::time::{Duration, Instant};

/// How long one subject runs in one round.
const TURN: Duration = Duration::from_millis(4);

/// Something to be timed.
pub type TimedCall<'a> = Box<dyn FnMut() + 'a>;

/// Microseconds a call, by subject and round.
pub struct Timed(Vec<Vec<f64>>);

/// Times `subjects` in `rounds` rounds.
pub fn interleaved(rounds: usize, mut subjects: Vec<TimedCall<'_>>) -> Timed {
    let calls: Vec<u32> = subjects.iter_mut().map(calls_in_a_turn).collect();
    let mut timed = Timed(vec![Vec::with_capacity(rounds); subjects.len()]);
    for _ in 0..rounds {
        for ((subject, calls), times) in subjects.iter_mut().zip(&calls).zip(&mut timed.0) {
            let started = Instant::now();
            (0..*calls).for_each(|_| subject());
            times.push(started.elapsed().as_secs_f64() * 1e6 / f64::from(*calls));
        }
    }
    timed
}

/// Doubles until a turn is full; it warms up, too.
fn calls_in_a_turn(subject: &mut TimedCall<'_>) -> u32 {
    let mut calls = 1;
    loop {
        let started = Instant::now();
        (0..calls).for_each(|_| subject());
        let took = started.elapsed();
        if took >= TURN / 2 {
            return (f64::from(calls) * TURN.as_secs_f64() / took.as_secs_f64()).max(1.0) as u32;
        }
        calls *= 2;
    }
}

impl Timed {
    /// The median round of a subject, in microseconds a call.
    pub fn us(&self, subject: usize) -> f64 {
        median(self.0[subject].clone())
    }

    /// The median over the rounds of a subject's time against the sum of others'.
    pub fn ratio(&self, subject: usize, to: &[usize]) -> f64 {
        let rounds = self.0[subject].iter().enumerate();
        median(rounds.map(|(round, us)| us / to.iter().map(|other| self.0[*other][round]).sum::<f64>()).collect())
    }
}

/// The median; NaN of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}
