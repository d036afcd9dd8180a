//! Units that have more decisions than any person would: mostly an id that stands for nobody.

/// Units that are named.
const NAMED: usize = 5;
/// Decisions of an experiment from which on shares are looked at.
const MIN_DECISIONS: u64 = 1000;
/// Decisions of a unit that are never too many.
const FEW: u64 = 50;
/// The share of the decisions from which on a unit is looked at.
const SHARE: f64 = 0.01;
/// So many times the decisions of the average unit are too many.
const TIMES: f64 = 10.0;

/// The units with the most decisions so far. Counts only grow, so the few with the most are kept
/// with a comparison at each decision.
#[derive(Debug, Default)]
pub(super) struct Busiest {
    units: Vec<(Box<str>, u64)>,
}

impl Busiest {
    /// Takes the number of decisions that a unit has now.
    pub fn count(&mut self, unit: &str, decisions: u64) {
        if decisions < FEW || (self.units.len() == NAMED && self.units.last().is_some_and(|last| last.1 >= decisions)) {
            return;
        }
        match self.units.iter_mut().find(|(known, _)| **known == *unit) {
            Some(known) => known.1 = decisions,
            None => {
                self.units.truncate(NAMED - 1);
                self.units.push((unit.into(), decisions));
            }
        }
        // Stable: of two with as many, the one that had them first.
        self.units.sort_by_key(|(_, decisions)| std::cmp::Reverse(*decisions));
    }

    /// The units with an absurd share of all decisions, most first: more than 1 %, at least 50, and
    /// more than 10 times those of the average unit.
    pub fn absurd(&self, decisions: u64, units: u64) -> impl Iterator<Item = (&str, u64)> {
        let average = decisions as f64 / units.max(1) as f64;
        let most = (SHARE * decisions as f64).max(TIMES * average);
        let is_absurd = move |of_unit: u64| decisions >= MIN_DECISIONS && of_unit as f64 > most;
        self.units.iter().filter(move |(_, n)| is_absurd(*n)).map(|(unit, n)| (&**unit, *n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_few_with_the_most_are_kept_and_only_an_absurd_share_is_told() {
        let mut busiest = Busiest::default();
        for n in 1..=400_u64 {
            busiest.count("undefined", n);
            for unit in 0..9_u64 {
                busiest.count(&format!("b-{unit}"), n / (unit + 2));
            }
        }
        let named = |decisions, units| busiest.absurd(decisions, units).map(|(unit, _)| unit).collect::<Vec<_>>();
        assert_eq!(named(2000, 1000), ["undefined", "b-0", "b-1", "b-2", "b-3"]);
        assert_eq!(named(15_000, 10_000), ["undefined", "b-0"], "more than 1 %");
        assert_eq!(named(999, 900), [""; 0], "too few to say");
        assert_eq!(named(2000, 20), [""; 0], "each has a hundred");
    }
}
