//! Plots of an experiment over time, as inline SVG.

mod axis;
mod drawing;

use std::cmp::Reverse;

use indexmap::IndexMap;
use maud::{Markup, html};

use self::axis::{compact, ends, linear, powers, shares, time};
use self::drawing::{Plot, Points, STYLES};
use super::rounding::Shown;
use super::{Report, ReportedMetric};
use crate::experiments::{Effect, HistoryPoint};

/// Moments in a plot.
const MOST: usize = 200;

/// An experiment's recorded history.
pub(super) struct History<'a> {
    moments: &'a [HistoryPoint],
    /// It has ended.
    ended: bool,
    /// Units left their arm when a winner shipped.
    moved: bool,
    /// The phases in which a winner served.
    shipped: Vec<u32>,
}

impl<'a> History<'a> {
    pub(super) fn of(report: &'a Report) -> Self {
        let ships = report.changes.iter().filter(|change| change.command == "ship");
        Self {
            moments: &report.history,
            ended: matches!(report.state.as_str(), "aborted" | "concluded"),
            moved: report.since_ship.as_ref().is_some_and(|since| since.units.left_out.moved > 0),
            shipped: ships.map(|change| change.phase).collect(),
        }
    }

    /// A metric's effect over time in an arm against control.
    pub(super) fn effect(&self, metric: &ReportedMetric, arm: &str) -> Markup {
        let (factor, unit) = if metric.is_share { (100.0, "percentage points") } else { (1.0, "the metric's unit") };
        let says = format!("the difference and its interval, in {unit}");
        let last = |value: f64, effect: &Effect| match metric.is_share {
            true => {
                let [low, high] = effect.interval;
                format!("difference {}", Shown::Points.signed(effect.difference, high - low))
            }
            false => format!("difference {}", compact(value, value.abs() / 100.0)),
        };
        self.over_time(metric, arm, &last, &says, &|_| factor)
    }

    /// The cumulative total of a metric's effect over time.
    pub(super) fn total(&self, metric: &ReportedMetric, arm: &str) -> Markup {
        let says = "what the difference adds up to so far, times the arm's mature units";
        let unit = if metric.is_share { " units" } else { "" };
        let last = |value: f64, _: &Effect| format!("total {}{unit}", compact(value, value.abs() / 100.0));
        self.over_time(metric, arm, &last, says, &|effect| effect.units as f64)
    }

    fn over_time(
        &self,
        metric: &ReportedMetric,
        arm: &str,
        name: &dyn Fn(f64, &Effect) -> String,
        says: &str,
        times: &dyn Fn(&Effect) -> f64,
    ) -> Markup {
        let moments = thinned(self.moments);
        let of = |moment: &&HistoryPoint| {
            let found = moment.effects.iter().find(|effect| effect.metric == metric.name && effect.arm == arm)?;
            Some((moment.at_ms as f64, found.clone()))
        };
        let effects: Vec<(f64, Effect)> = moments.iter().filter_map(of).collect();
        let caption = [metric.name.clone(), format!(", {arm} against control: {says}")];
        let note = self.note(&effects, metric.arms.get(arm).map(|arm| arm.units));
        let plot = effect_plot(&effects, name, caption, times).map(|plot| Plot { note, ..plot });
        html! { @if let Some(plot) = plot { (plot.figure(&moments, &self.shipped)) } }
    }

    /// Notes data that the report includes and the plot does not.
    fn note(&self, effects: &[(f64, Effect)], units: Option<u64>) -> String {
        match effects.last() {
            Some((at, last)) if Some(last.units) != units => format!(
                " As of {}{}; what matured since is in the numbers above.",
                time(*at as u64, "%b %-d %H:%M"),
                if self.ended { ", when it was stopped" } else { "" }
            ),
            _ => String::new(),
        }
    }
}

fn effect_plot(
    effects: &[(f64, Effect)],
    name: &dyn Fn(f64, &Effect) -> String,
    [title, mut caption]: [String; 2],
    times: &dyn Fn(&Effect) -> f64,
) -> Option<Plot> {
    let line = points(effects.iter().map(|(at, effect)| (*at, effect.difference * times(effect))));
    let end = |i: usize| effects.iter().map(move |(at, effect)| (*at, effect.interval[i] * times(effect)));
    let (low, high): (Points, Points) =
        end(0).zip(end(1)).filter(|(low, high)| plottable(low.1) && plottable(high.1)).unzip();
    // Two points do not make a plot.
    let (last_at, last) = line.last().filter(|_| line.len() > 2)?;
    let (_, newest) = effects.iter().rev().find(|(at, _)| at == last_at)?;
    // The first intervals may be so wide that they would hide the others.
    let values = |quarter: usize| {
        let later = [&line, &low, &high].into_iter().flat_map(move |all| all.iter().skip(all.len() * quarter / 4));
        later.map(|point| point.1)
    };
    let (mut y, shown) = (linear(values(0)), linear(values(1).map(|value| value * 1.3)));
    let height = |axis| ends(axis).1 - ends(axis).0;
    if height(&shown) * 3.0 < height(&y) {
        y = shown;
        caption.push_str("; what is beyond the plot is cut at its edge");
    }
    let name = name(*last, newest);
    let band = low.into_iter().chain(high.into_iter().rev()).collect();
    Some(Plot { band, rule: Some(0.0), ..Plot::new([title, caption], 220, y, vec![(name, line)]) })
}

impl History<'_> {
    /// Units by arm, the arms' shares, and coverage.
    pub(super) fn allocation(&self) -> Markup {
        let moments = thinned(self.moments);
        let mut counts: IndexMap<&str, u64> = IndexMap::new();
        for moment in &moments {
            counts.extend(moment.units.iter().map(|(arm, n)| (arm.as_str(), *n)));
        }
        let (arms, rest) = largest(counts);
        let lines = |of: &dyn Fn(&HistoryPoint, &str) -> Option<f64>| -> Vec<(String, Points)> {
            let line =
                |arm: &str| points(moments.iter().filter_map(|moment| Some((moment.at_ms as f64, of(moment, arm)?))));
            arms.iter().map(|arm| ((*arm).to_owned(), line(arm))).collect()
        };
        let units = lines(&|moment, arm| moment.units.get(arm).map(|n| *n as f64));
        let y = linear(values(&units));
        let left = if self.moved { "; who moved with the winner is left out from that phase on" } else { "" };
        let caption = ["Units that are compared".to_owned(), format!(", by arm{left}{rest}")];
        let mut plots = vec![Plot::new(caption, 220, y, units)];
        let coverage = points(moments.iter().map(|moment| (moment.at_ms as f64, moment.coverage)));
        let change = moments.windows(2).any(|pair| pair[0].weights != pair[1].weights);
        if change {
            let mut weights = lines(&|moment, arm| moment.weights.get(arm).copied());
            for (_, points) in &mut weights {
                *points = stepped(points);
            }
            plots.push(Plot::new(
                ["Shares of units in force".to_owned(), format!(", by arm{rest}")],
                150,
                shares(values(&weights)),
                weights,
            ));
        }
        let mut constant = None;
        if coverage.iter().all(|point| point.1 == coverage[0].1) {
            // A line that never moves is not worth a plot.
            let first = coverage.first().filter(|_| moments.len() > 1);
            constant = first.map(|(_, share)| (share * 1000.0).round() / 10.0 + 0.0);
        } else {
            let lines = vec![("coverage".to_owned(), stepped(&coverage))];
            plots.push(Plot::new(
                ["Coverage", ": the share of the slot in use"].map(str::to_owned),
                110,
                shares(values(&lines)),
                lines,
            ));
        }
        html! {
            @for plot in plots { (plot.figure(&moments, &self.shipped)) }
            @if let Some(percent) = constant {
                p.small { b { "Coverage" } ": " (percent) " % of the slot, all the time." }
            }
        }
    }

    /// The sequential p-value of the split.
    pub(super) fn balance(&self) -> Markup {
        /// Smaller values are drawn at this one.
        const LEAST: f64 = 1e-12;
        let moments = thinned(self.moments);
        let p = moments.iter().filter(|moment| moment.srm_sequential_p.is_finite());
        let line: Points =
            p.map(|moment| (moment.at_ms as f64, moment.srm_sequential_p.clamp(LEAST, 1.0).log10())).collect();
        let least = line.iter().fold(-3.0, |least: f64, point| least.min(point.1)).floor();
        let rest = ": sequential p, on a log scale; below 0.01 the split is not as planned";
        let caption = ["Sample ratio mismatch", rest].map(str::to_owned);
        let plot = Plot::new(caption, 160, powers(least), vec![("p".to_owned(), line)]);
        Plot { rule: Some(-2.0), ..plot }.figure(&moments, &self.shipped)
    }

    /// Each action's share, by arm.
    pub(super) fn action_mix(&self) -> Markup {
        let moments = thinned(self.moments);
        let mut arms: IndexMap<&str, IndexMap<&str, u64>> = IndexMap::new();
        for (arm, actions) in moments.iter().flat_map(|moment| &moment.actions) {
            arms.entry(arm).or_default().extend(actions.iter().map(|(action, n)| (action.as_str(), *n)));
        }
        let plot = |(arm, counts): (&str, IndexMap<&str, u64>)| {
            let (actions, rest) = largest(counts);
            let part = |moment: &HistoryPoint, action: &str| {
                let actions = moment.actions.get(arm)?;
                let total: f64 = actions.values().map(|n| *n as f64).sum();
                Some((moment.at_ms as f64, actions.get(action).map_or(0.0, |n| *n as f64) / total))
            };
            let line = |action: &str| points(moments.iter().filter_map(|moment| part(moment, action)));
            let lines: Vec<_> = actions.into_iter().map(|action| (action.to_owned(), line(action))).collect();
            let caption = [arm.to_owned(), format!(": share of each action in the decisions so far{rest}")];
            Plot::new(caption, 200, shares(values(&lines)), lines).figure(&moments, &self.shipped)
        };
        html! { @for arm in arms { (plot(arm)) } }
    }
}

/// The moments in order, thinned to what a plot can resolve.
fn thinned(history: &[HistoryPoint]) -> Vec<&HistoryPoint> {
    let mut moments: Vec<&HistoryPoint> = history.iter().collect();
    moments.sort_by_key(|moment| moment.at_ms);
    let last = moments.len().saturating_sub(1);
    if last < MOST { moments } else { (0..MOST).map(|i| moments[i * last / (MOST - 1)]).collect() }
}

fn values(lines: &[(String, Points)]) -> impl Iterator<Item = f64> {
    lines.iter().flat_map(|line| &line.1).map(|point| point.1)
}

fn plottable(value: f64) -> bool {
    value.abs() < 1e15
}

fn points(all: impl Iterator<Item = (f64, f64)>) -> Points {
    all.filter(|point| plottable(point.1)).collect()
}

/// A step function through the points.
fn stepped(points: &Points) -> Points {
    let mut steps: Points = points.iter().take(1).copied().collect();
    for pair in points.windows(2).filter(|pair| pair[0].1 != pair[1].1) {
        steps.extend([(pair[1].0, pair[0].1), pair[1]]);
    }
    steps.extend(points.last());
    steps
}

/// The largest entries, as many as there are styles, in their order; and a note about the rest.
fn largest(counts: IndexMap<&str, u64>) -> (Vec<&str>, String) {
    let mut ranked: Vec<_> = counts.into_iter().enumerate().collect();
    ranked.sort_by_key(|(_, (_, n))| Reverse(*n));
    let rest = ranked.len().saturating_sub(STYLES.len());
    ranked.truncate(STYLES.len());
    ranked.sort_by_key(|(place, _)| *place);
    let names = ranked.into_iter().map(|(_, (name, _))| name).collect();
    (names, if rest > 0 { format!("; smaller ones left out: {rest}") } else { String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NASTY: &str = "<i>\"&'";

    fn moment(i: u64) -> HistoryPoint {
        let n = i as f64 + 1.0;
        let effect = |arm: &str| Effect {
            metric: "orders".to_owned(),
            arm: arm.to_owned(),
            difference: 0.02 + (n * 1.7).sin() / (10.0 * n),
            interval: [0.02 - 1.0 / n.sqrt(), 0.02 + 1.0 / n.sqrt()],
            units: 40 * i,
        };
        let arms = |each: f64| [("control", each), (NASTY, each * 1.1)].map(|(arm, n)| (arm.to_owned(), n));
        let actions = [("offer", 30 * i + 1), (NASTY, 3 * i), ("none", i * i)].map(|(name, n)| (name.to_owned(), n));
        HistoryPoint {
            at_ms: 1_795_000_000_000 + i * 3_600_000,
            phase: 1 + (i > 60) as u32,
            coverage: if i > 60 { 0.5 } else { 0.1 },
            units: arms(40.0 * n).into_iter().map(|(arm, n)| (arm, n as u64)).collect(),
            weights: arms(0.45).into_iter().collect(),
            actions: arms(0.0).into_iter().map(|(arm, _)| (arm, actions.iter().cloned().collect())).collect(),
            srm_sequential_p: 10f64.powf(-n / 60.0),
            effects: vec![effect("control"), effect(NASTY)],
        }
    }

    fn history(n: u64) -> Vec<HistoryPoint> {
        (0..n).map(moment).collect()
    }

    fn history_of(moments: &[HistoryPoint]) -> History<'_> {
        History { moments, ended: false, moved: false, shipped: vec![2] }
    }

    fn metric(units: u64) -> ReportedMetric {
        serde_json::from_value(serde_json::json!({
            "name": "orders", "role": "goal", "method": "asymptotic_cs", "alpha": 0.05, "planned_units": 10,
            "arms": { NASTY: { "units": units, "mean": 0.1 } }, "left_out": {}, "comparisons": [],
        }))
        .expect("a metric")
    }

    /// Both plots of an effect.
    fn both(history: &History<'_>, units: u64, arm: &str) -> String {
        let metric = metric(units);
        history.effect(&metric, arm).into_string() + &history.total(&metric, arm).into_string()
    }

    fn over_time(history: &[HistoryPoint], arm: &str) -> String {
        let units = history.last().map_or(0, |moment| moment.effects[0].units);
        both(&history_of(history), units, arm)
    }

    fn allocation(history: &[HistoryPoint]) -> String {
        history_of(history).allocation().into_string()
    }

    fn all(history: &[HistoryPoint]) -> [String; 4] {
        let [balance, mix] = [history_of(history).balance(), history_of(history).action_mix()];
        [over_time(history, NASTY), allocation(history), balance.into_string(), mix.into_string()]
    }

    #[test]
    fn one_moment_is_no_history() {
        for n in 0..2 {
            assert_eq!(all(&history(n)), [const { String::new() }; 4]);
        }
        assert_eq!(over_time(&history(9), "no such arm"), "");
        assert_eq!(over_time(&history(2), NASTY), "", "two effects are no course");
        assert!(all(&history(3)).iter().all(|html| html.contains("<svg ")));
    }

    #[test]
    fn a_plot_needs_nothing_else_and_names_of_users_are_text() {
        for html in all(&history(300)) {
            assert!(!html.contains("http") && !html.contains("xmlns") && !html.contains("<i"), "{html}");
            let figures = html.matches("<figure>").count();
            for tag in
                ["<svg class=\"plot\"", "<p class=\"keys\"", "role=\"img\" aria-label=\"", "</figcaption>", "</figure>"]
            {
                assert_eq!(html.matches(tag).count(), figures, "{tag}");
            }
            assert!(html.len() < figures * 40_000, "{}", html.len());
        }
        // In a caption, an attribute and the drawing.
        assert!(allocation(&history(9)).contains("</svg>&lt;i&gt;&quot;&amp;'</span>"));
        assert_eq!(over_time(&history(9), NASTY).matches("&lt;i&gt;&quot;&amp;'").count(), 4);
    }

    #[test]
    fn each_arm_has_a_line_of_its_own_colour_and_dash() {
        let html = allocation(&history(300));
        let (units, coverage) = html.split_once("</figure>").unwrap_or_default();
        for (colour, dash) in [("#0072B2\" ", ""), ("#D55E00\" ", "stroke-dasharray=\"16 6\" ")] {
            // The line and the piece of it beside the name.
            assert_eq!(units.matches(&format!("stroke=\"{colour}{dash}stroke-width=\"4\"")).count(), 2);
        }
        assert!(coverage.contains(">\nshipped\n<"), "{coverage}");
        let mut bandit = history(9);
        bandit[5].weights["control"] = 0.7;
        assert!(allocation(&bandit).contains("Shares of units in force"));
    }

    #[test]
    fn a_number_beside_a_line_keeps_its_sign_and_its_digits() {
        for (difference, said) in
            [(-0.00138, "\u{2212}0.00138"), (-0.000_012_34, "\u{2212}1.23e-5"), (-98765.4, "\u{2212}98765")]
        {
            let mut history = history(3);
            for effect in history.iter_mut().flat_map(|moment| &mut moment.effects) {
                (effect.difference, effect.units) = (difference, 1_000_000);
            }
            let html = over_time(&history, NASTY);
            assert!(html.contains(&format!("</svg>difference {said}</span>")), "{said}: {html}");
            assert!(html.contains("</svg>total \u{2212}") && !html.contains('\u{2026}'), "{html}");
        }
    }

    #[test]
    fn what_is_not_in_a_plot_is_said_below_it() {
        let kept = history(9);
        let ended = |units: u64| both(&History { ended: true, ..history_of(&kept) }, units, NASTY);
        // In the caption and for those who hear it, of both plots.
        let said = "As of Nov 18 19:06, when it was stopped; what matured since is in the numbers above.";
        assert_eq!((ended(320).matches("As of").count(), ended(321).matches(said).count()), (0, 4), "{}", ended(321));
        let shipped = History { moved: true, ..history_of(&kept) }.allocation().into_string();
        assert!(shipped.contains("who moved with the winner is left out"), "{shipped}");
        assert!(shipped.contains("10 % of the slot, all the time") && !allocation(&kept).contains("moved"));
    }

    #[test]
    fn wide_intervals_at_first_do_not_hide_the_others() {
        // In the caption and for those who hear it; the total has nothing to cut.
        assert_eq!(over_time(&history(300), NASTY).matches("cut at its edge").count(), 2);
        assert_eq!(over_time(&history(4), NASTY).matches("cut at its edge").count(), 0);
    }

    #[test]
    fn more_than_can_be_told_apart_is_said_and_left_out() {
        let mut many = history(3);
        many.iter_mut().for_each(|moment| moment.units = (0..20).map(|i| (format!("arm{i}"), i)).collect());
        let html = allocation(&many);
        assert!(
            html.contains("smaller ones left out: 13.") && html.contains("arm19<") && !html.contains("arm12<"),
            "{html}"
        );
    }

    #[test]
    fn numbers_that_are_none_do_not_reach_the_page() {
        let mut wild = history(40);
        for (moment, value) in
            wild.iter_mut().zip([f64::NAN, f64::INFINITY, f64::MAX, -0.0, 0.0, f64::MIN].into_iter().cycle())
        {
            (moment.coverage, moment.srm_sequential_p) = (value, value);
            moment.weights.values_mut().for_each(|weight| *weight = value);
            moment.actions.values_mut().flat_map(IndexMap::values_mut).for_each(|n| *n = 0);
            for effect in &mut moment.effects {
                (effect.difference, effect.interval, effect.units) = (value, [-value, value], u64::MAX);
            }
        }
        let mut flat = history(40);
        for moment in &mut flat {
            (moment.at_ms, moment.coverage, moment.srm_sequential_p) = (u64::MAX, 0.0, 0.0);
            moment.units.values_mut().for_each(|n| *n = 0);
            for effect in &mut moment.effects {
                (effect.difference, effect.interval) = (0.0, [0.0; 2]);
            }
        }
        assert!(all(&flat).iter().all(|html| html.contains("<svg ")));
        for html in all(&wild).iter().chain(&all(&flat)) {
            assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
        }
    }
}
