//! What a guardrail stops at and what it lets ship, as a sentence.

use serin_core::experiment::{Guardrail, Margin, OnBreach, Watched};

use super::rounding::{percent, points, short};

/// The rule of a guardrail. `is_share` says whether what it watches is a share of units.
pub(super) fn rule(guardrail: &Guardrail, is_share: bool) -> String {
    let stops = match guardrail.on_breach {
        OnBreach::Abort => "stops the experiment",
        OnBreach::Pause => "pauses the experiment",
        OnBreach::DropArm => "drops the arm",
    };
    let amount = |value: f64| if is_share { points(value) } else { short(value) };
    match guardrail.margin {
        Margin::Count(most) => {
            format!("{stops} at more than {most} events in an arm; an arm ships with at most {most}")
        }
        Margin::Difference { margin, is_relative, more_is_harm, alarm } => {
            let change = match (&guardrail.watched, more_is_harm) {
                (Watched::ActionMix, _) => "shift of an action's share",
                (_, true) => "increase",
                (_, false) => "decrease",
            };
            let harm = match alarm == 0.0 {
                true => format!("at any significant {change}"),
                false => format!("once the {change} is surely above {}", amount(alarm)),
            };
            let margin = if is_relative { format!("{} of control's mean", percent(margin)) } else { amount(margin) };
            format!("{stops} {harm}; an arm ships once the {change} is surely below {margin}")
        }
    }
}

#[cfg(test)]
mod tests {
    use serin_core::experiment::Experiment;

    use super::*;

    #[test]
    fn a_rule_says_what_stops_and_what_ships() {
        let spec = |guardrail: &str| {
            let text = format!(
                "id = \"e\"\ndecision_point = \"p\"\nowner = \"o\"\n[[arms]]\nname = \"a\"\nstrategy = \"s@1.0.0\"\n\
                 weight = 0.5\n[[arms]]\nname = \"b\"\nstrategy = \"s@1.0.1\"\nweight = 0.5\n[[guardrails]]\n{guardrail}"
            );
            Experiment::parse(&text).expect("a spec").guardrails[0].clone()
        };
        let said = |guardrail: &str| rule(&spec(guardrail), true);
        assert_eq!(
            said("metric = \"failures\"\nmax_increase = 0.01"),
            "stops the experiment at any significant increase; an arm ships once the increase is surely below 1 percentage \
             point"
        );
        assert_eq!(
            said(
                "metric = \"failures\"\nmax_increase = 0.05\nmargin_type = \"relative\"\nalarm = 0.005\non_breach = \"drop_arm\""
            ),
            "drops the arm once the increase is surely above 0.5 percentage points; an arm ships once the increase is \
             surely below 5 % of control's mean"
        );
    }
}
