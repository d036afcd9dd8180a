//! The commands that an experiment's status allows.

use super::{Experiment, State, Status};

impl Status {
    /// The names of the commands that are possible, in the order in which they are told.
    pub fn possible(&self, spec: &Experiment) -> Vec<&'static str> {
        let names: &[&str] = match self.state {
            State::Draft => &["start", "abort"],
            State::Running => &["promote", "pause", "abort", "conclude"],
            State::Paused => &["resume", "promote", "abort", "conclude"],
            State::Shipped => &["abort", "conclude"],
            State::Aborted | State::Concluded => &[],
        };
        let is_open = !self.withdrawn && self.step + 1 < spec.ramp.len();
        names.iter().copied().filter(|name| *name != "promote" || is_open).collect()
    }

    /// The same as an error lists them.
    pub(super) fn possible_words(&self, spec: &Experiment) -> String {
        match self.possible(spec).join(", ") {
            none if none.is_empty() => "nothing; it has ended: start another id".to_owned(),
            names => names,
        }
    }

    /// The same as the end of a sentence: `resume, abort or conclude`.
    pub fn either(&self, spec: &Experiment) -> String {
        match self.possible(spec).split_last() {
            None => "nothing".to_owned(),
            Some((last, [])) => (*last).to_owned(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Command;

    /// A spec whose ramp has so many steps.
    fn spec(steps: usize) -> Experiment {
        let steps = (1..=steps).map(|at| format!("{{ coverage = {:?} }}", at as f64 / steps as f64));
        let ramp = steps.collect::<Vec<_>>().join(", ");
        let arm = |name: &str| format!("[[arms]]\nname = \"{name}\"\nstrategy = \"{name}@1.0.0\"\nweight = 0.5\n");
        let text = format!(
            "id = \"e\"\ndecision_point = \"p\"\nowner = \"o\"\nslot = [0.0, 1.0]\ncontrol = \"a\"\nramp = [{ramp}]\n{}{}",
            arm("a"),
            arm("b")
        );
        Experiment::parse(&text).expect("parses")
    }

    #[test]
    fn what_is_named_is_what_the_status_takes() {
        for steps in 1..=2 {
            let spec = spec(steps);
            let winner = spec.control.clone();
            let commands = [
                Command::Start,
                Command::Promote,
                Command::Pause,
                Command::Resume,
                Command::Abort,
                Command::Conclude { winner },
            ];
            let mut reached = vec![Status::default()];
            for at in 0.. {
                let Some(status) = reached.get(at).cloned() else { break };
                let mut taken = Vec::new();
                for command in &commands {
                    if let Ok(next) = status.after(command, &spec, 1) {
                        taken.push(command.as_str());
                        let next = Status { generation: 0, ..next };
                        if status.phase < 4 && !reached.contains(&next) {
                            reached.push(next);
                        }
                    }
                }
                let mut named = status.possible(&spec);
                named.sort_unstable();
                taken.sort_unstable();
                assert_eq!(named, taken, "{steps} steps: {status:?}");
            }
            assert!(reached.len() > 4, "{reached:?}");
        }
    }

    #[test]
    fn at_the_last_step_nothing_is_promoted() {
        let paused = Status { state: State::Paused, phase: 1, ..Status::default() };
        assert_eq!(paused.either(&spec(2)), "resume, promote, abort or conclude");
        assert_eq!(paused.either(&spec(1)), "resume, abort or conclude");
    }
}
