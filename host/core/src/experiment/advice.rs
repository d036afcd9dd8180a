//! What a valid spec can never do, and what its guardrails mean, in sentences for `serin check`, plans
//! and reports.

use super::{Experiment, Gate, Guardrail, Margin, Metric, OnBreach, Quantity, Role, Watched};
use crate::stats::{EVENTS, UNITS};

impl Experiment {
    /// What can never decide, hold or stop, with what would do. Empty for a sound spec.
    pub fn advice(&self) -> Vec<String> {
        let mut all = Vec::new();
        let goals = || self.metrics.iter().filter(|metric| metric.role == Role::Goal);
        if self.ships && goals().next().is_none() {
            all.push("on_success = \"ship\", and no metric has role = \"goal\": nothing can ever ship".to_owned());
        }
        for arm in self.arms.iter().filter(|arm| arm.weight <= 0.0) {
            all.push(format!("arm '{}': weight = 0: it takes no units and can show nothing", arm.name));
        }
        for (position, metric) in self.metrics.iter().enumerate() {
            let is_watched = self.guardrails.iter().any(|rail| rail.watched == Watched::Metric(position));
            if metric.role == Role::Guardrail && !is_watched {
                all.push(format!(
                    "metric '{}': role = \"guardrail\", and no [[guardrails]] entry names it: it keeps a significantly worse \
                     arm from shipping, and stops nothing; add [[guardrails]] metric = \"{0}\" with max_increase or \
                     max_decrease",
                    metric.name
                ));
            }
            if metric.role == Role::Goal || is_watched {
                all.extend(self.never_speaks(metric));
            }
        }
        let slowest = goals().max_by_key(|metric| metric.mature_ms(0));
        if let (Some(most), Some(goal)) = (self.max_duration_ms, slowest)
            && most <= goal.mature_ms(0)
        {
            all.push(format!(
                "max_duration passes before a unit is mature for '{}', whose window and lag are {}: nothing can be concluded",
                goal.name,
                humantime::format_duration(core::time::Duration::from_millis(goal.mature_ms(0)))
            ));
        }
        for rail in &self.guardrails {
            if let Margin::Difference { margin: 0.0, .. } = rail.margin {
                all.push(format!(
                    "guardrail '{}': a margin of 0 never holds, so no arm ships; give the largest change that you accept",
                    rail.name
                ));
            }
        }
        all
    }

    /// Why a metric cannot speak by its planned units.
    fn never_speaks(&self, metric: &Metric) -> Option<String> {
        let name = &metric.name;
        if !metric.is_limited() {
            return Some(format!(
                "metric '{name}': a sum or mean of values never speaks without a limit, because one unit may outweigh all \
                 others: give cap, such as the 99th percentile, or min and max"
            ));
        }
        let is_share = metric.limits() == Some([0.0, 1.0]);
        let need = if is_share { EVENTS as u64 } else { UNITS };
        let smaller = self.arms.iter().map(|arm| arm.weight).filter(|weight| *weight > 0.0).fold(1.0, f64::min);
        let units = (metric.planned_units as f64 * smaller) as u64;
        let has_exact = metric.limits().is_some();
        (units < need && !has_exact).then(|| {
            let would_do = (need as f64 / smaller).ceil();
            format!(
                "metric '{name}': planned_units = {} gives the smallest arm {units} units, and {need} are needed before it \
                 speaks; planned_units from {would_do} would do",
                metric.planned_units
            )
        })
    }

    /// What each guardrail stops for, and from when on an arm may ship; with what would let a change
    /// within the margin run on, where any change stops it.
    pub fn meanings(&self) -> Vec<String> {
        let hint = |rail: &Guardrail| match rail.margin {
            Margin::Difference { margin, is_relative: false, alarm: 0.0, .. } if margin > 0.0 => {
                format!("; with alarm = {margin} a change within the margin would not stop it")
            }
            _ => String::new(),
        };
        let meaning = |rail: &Guardrail| format!("guardrail '{}': {}{}", rail.name, rail.meaning(self), hint(rail));
        self.guardrails.iter().map(meaning).collect()
    }

    /// A ramp step that asks for guardrails that hold, where there are none.
    pub(super) fn gate_without_guardrails(&self) -> Option<String> {
        let step = self.ramp.iter().position(|step| step.gate == Gate::NonInferior)?;
        self.guardrails.is_empty().then(|| {
            format!(
                "ramp[{step}].gate = \"non_inferior\" asks that every guardrail holds, and there is none; add [[guardrails]], or \
                 take the gate out"
            )
        })
    }
}

impl Guardrail {
    /// What it stops for, and from when on an arm may ship, in a sentence.
    pub fn meaning(&self, spec: &Experiment) -> String {
        let stops = match self.on_breach {
            OnBreach::Abort => "stops the experiment",
            OnBreach::Pause => "pauses the experiment",
            OnBreach::DropArm => "drops the arm",
        };
        let (margin, is_relative, more_is_harm, alarm) = match self.margin {
            Margin::Count(most) => {
                return format!("{stops} at more than {most} events in an arm; an arm ships with at most {most}");
            }
            Margin::Difference { margin, is_relative, more_is_harm, alarm } => {
                (margin, is_relative, more_is_harm, alarm)
            }
        };
        let change = match (self.watched == Watched::ActionMix, more_is_harm) {
            (true, _) => "shift of an action's share",
            (false, true) => "increase",
            (false, false) => "decrease",
        };
        let metric = match self.watched {
            Watched::Metric(at) => spec.metrics.get(at),
            _ => None,
        };
        let is_share = metric.is_none_or(|metric| metric.limits() == Some([0.0, 1.0]));
        let amount = |value: f64| if is_share { points(value) } else { rounded(value).to_string() };
        let harm = match alarm {
            0.0 => format!("at any significant {change}"),
            alarm => format!("once the {change} is surely above {}", amount(alarm)),
        };
        let is_ratio = metric.is_some_and(|metric| matches!(metric.quantity, Quantity::Ratio(..)));
        let early = if is_ratio { " (of mature units)" } else { "" };
        let margin =
            if is_relative { format!("{} % of control's mean", rounded(margin * 100.0)) } else { amount(margin) };
        format!("{stops} {harm}{early}; an arm ships once the {change} is surely below {margin}")
    }
}

/// A difference of shares in percentage points.
fn points(difference: f64) -> String {
    match rounded(difference * 100.0) {
        1.0 => "1 percentage point".to_owned(),
        many => format!("{many} percentage points"),
    }
}

/// A configured number without the last bits of its binary form.
fn rounded(value: f64) -> f64 {
    (value * 1e9).round() / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "id = \"e\"\ndecision_point = \"d\"\n[[arms]]\nname = \"a\"\nstrategy = \"p@1.0.0\"\nweight = 0.5\n\
        [[arms]]\nname = \"b\"\nstrategy = \"q@1.1.0\"\nweight = 0.5\n[[metrics]]\nname = \"m\"\nrole = \"goal\"\noutcome = \"m\"\nwindow = \"1d\"\n\
        [[guardrails]]\nmetric = \"failures\"\nmax_increase = 0.01\n";

    fn spec(text: &str) -> Experiment {
        Experiment::parse(text).expect("valid")
    }

    #[test]
    fn a_sound_spec_needs_no_advice_and_what_can_never_work_is_told() {
        assert_eq!(spec(GOOD).advice(), [""; 0]);
        let is_goal = "role = \"goal\"\noutcome = \"m\"\nwindow = \"1d\"\n";
        for (from, to, needle) in [
            (is_goal, "role = \"guardrail\"\noutcome = \"m\"\nwindow = \"1d\"\n", "no [[guardrails]] entry names it"),
            (is_goal, &format!("{is_goal}aggregate = \"sum\"\n"), "never speaks without a limit"),
            (
                is_goal,
                &format!("{is_goal}aggregate = \"mean\"\ncap = 5.0\nplanned_units = 400\n"),
                "from 1000 would do",
            ),
            ("max_increase = 0.01", "max_increase = 0.0", "a margin of 0 never holds"),
            ("weight = 0.5\n[[metrics]]", "weight = 0.0\n[[metrics]]", "takes no units"),
            ("id = \"e\"\n", "id = \"e\"\non_success = \"ship\"\n", ""),
        ] {
            let text = GOOD.replacen(from, to, 1);
            let text =
                if to.starts_with("weight = 0.0") { text.replacen("weight = 0.5", "weight = 1.0", 1) } else { text };
            let advice = spec(&text).advice();
            assert_eq!(advice.is_empty(), needle.is_empty(), "{to}: {advice:?}");
            assert!(advice.iter().all(|advice| advice.contains(needle)), "{to}: {advice:?}");
        }
        let nothing = GOOD
            .replace("role = \"goal\"", "role = \"secondary\"")
            .replace("id = \"e\"\n", "id = \"e\"\non_success = \"ship\"\n");
        assert!(spec(&nothing).advice()[0].contains("nothing can ever ship"));
    }

    #[test]
    fn a_gate_that_asks_for_guardrails_needs_one() {
        let ramp = GOOD.replace(
            "id = \"e\"\n",
            "id = \"e\"\nramp = [{ coverage = 0.1, gate = \"non_inferior\" }, { coverage = 1.0 }]\n",
        );
        assert!(Experiment::parse(&ramp).is_ok());
        let without = &ramp[..ramp.find("[[guardrails]]").expect("is there")];
        let error = Experiment::parse(without).expect_err("refused");
        assert!(error.contains("ramp[0].gate") && error.contains("add [[guardrails]]"), "{error}");
    }

    #[test]
    fn a_guardrail_says_what_stops_and_what_ships() {
        let meaning = |more: &str| {
            let spec = spec(&GOOD.replace("max_increase = 0.01", more));
            spec.guardrails[0].meaning(&spec)
        };
        assert_eq!(
            meaning("max_increase = 0.2"),
            "stops the experiment at any significant increase; an arm ships once the increase is surely below 20 \
             percentage points"
        );
        assert_eq!(
            meaning("max_increase = 0.07\nalarm = 0.01\non_breach = \"drop_arm\""),
            "drops the arm once the increase is surely above 1 percentage point; an arm ships once the increase is surely \
             below 7 percentage points"
        );
        assert!(
            meaning("max_increase = 0.05\nmargin_type = \"relative\"").ends_with("surely below 5 % of control's mean")
        );
        assert_eq!(
            meaning("max_count = 3\non_breach = \"pause\""),
            "pauses the experiment at more than 3 events in an arm; an arm ships with at most 3"
        );
        let hints =
            |more: &str| spec(&GOOD.replace("max_increase = 0.01", more)).meanings()[0].contains("with alarm = 0.2");
        assert!(hints("max_increase = 0.2") && !hints("max_increase = 0.2\nalarm = 0.1"));
    }
}
