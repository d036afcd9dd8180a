//! The head of a report's page: the state, the verdict, what follows, the checks, the ramp and the
//! progress.

use maud::{Markup, html};
use serin_core::numbers::grouped;

use super::formatting::{self, about, duration};
use super::rounding::{counted, percent, points, short, typeset};
use super::{Check, NextStep, Progress, Ramp, RampStep, Report, ReportedArmVerdict};

/// How a badge is coloured. Its words say the same.
#[derive(Clone, Copy)]
pub(super) enum Tone {
    Good,
    Bad,
    Warn,
    Open,
}

/// Words in a coloured frame, with a sign for those who do not see the colour.
pub(super) fn badge(tone: Tone, words: &str) -> Markup {
    let (class, sign) = match tone {
        Tone::Good => ("badge good", "\u{2713}"),
        Tone::Bad => ("badge bad", "\u{2717}"),
        Tone::Warn => ("badge warn", "!"),
        Tone::Open => ("badge open", "\u{25cb}"),
    };
    html! { span class=(class) { (sign) " " b { (words) } } }
}

fn decided(decision: &str) -> Markup {
    let tone = match decision {
        "ship" => Tone::Good,
        "stop" => Tone::Bad,
        _ => Tone::Open,
    };
    badge(tone, decision)
}

impl NextStep {
    /// It as a sentence without a period.
    pub(super) fn sentence(&self) -> String {
        let earliest = self.when.as_deref().map(|at| format!("; not before {}", formatting::minute(at)));
        format!("{}{}", self.what, earliest.unwrap_or_default())
    }
}

impl Check {
    fn title(&self) -> &str {
        match self.name.as_str() {
            "split" => "Split (SRM)",
            "left_in" => "Who is left in",
            "feeds" => "Feeds",
            "ledger" => "Ledger",
            other => other,
        }
    }
}

impl Report {
    /// The day of the experiment, counted from 1; none in reports of older hosts.
    fn day(&self) -> Option<i64> {
        let [from, to] = [self.outlook.started_at.as_deref()?, &self.as_of].map(str::parse::<jiff::Timestamp>);
        let seconds = to.ok()?.as_second().checked_sub(from.ok()?.as_second())?;
        Some(seconds.max(0) / 86_400 + 1)
    }

    /// The name, the state and the day.
    pub(super) fn heading(&self) -> Markup {
        let day = self.day().map(|day| format!("day {day}; "));
        html! {
            h1 { "Experiment " (self.experiment) }
            p.state {
                b { (self.state) } ", " (day.unwrap_or_default()) "phase " (self.phase) "; as of "
                (formatting::second(&self.as_of))
                @if !self.owner.is_empty() { "; owner " (self.owner) }
            }
            @if !self.description.is_empty() { p { (self.description) } }
        }
    }

    /// The verdict, by arm too, what follows, what forbids shipping, and the checks.
    pub(super) fn verdict_section(&self) -> Markup {
        let happened = self.happened();
        let class = happened.as_ref().map_or(self.verdict.decision.as_str(), |happened| happened.state);
        html! {
            section id="verdict" {
                div class={ "verdict " (class) } {
                    @if let Some(happened) = &happened {
                        b { (happened.state.to_uppercase()) } " " bdi { (happened.how) } br; (happened.since) ": "
                    }
                    b { (self.verdict.decision.to_uppercase()) } ": " (typeset(&self.verdict.why))
                    @for tolerated in self.tolerated() { "; it is " (tolerated) }
                    @if let Some(since) = &self.since_ship {
                        br; "Since then, against those held back: " (since.said())
                    }
                    @if let Some(next) = &self.outlook.next { br; b { "Next" } ": " (next.sentence()) "." }
                }
                @if !self.arms.is_empty() {
                    ul.plain {
                        @for arm in &self.arms {
                            @let is_said = arm.why == self.verdict.why;
                            li {
                                b { "Arm " (arm.arm) } " " (decided(&arm.decision)) " "
                                @if is_said { "as above" } @else { (typeset(&arm.why)) (arm.but()) }
                            }
                        }
                    }
                }
                @for why in &self.forbids { p { (badge(Tone::Bad, "forbids shipping")) " " (typeset(why)) } }
                (self.checks())
                @for warning in &self.warnings { p { b { "Warning:" } " " (typeset(warning)) } }
            }
        }
    }

    /// Where the arm that the verdict is about is worse, and its file tolerates it.
    pub(super) fn tolerated(&self) -> &[String] {
        self.arms.iter().find(|arm| arm.why == self.verdict.why).map_or(&[], |arm| &arm.tolerated)
    }

    fn checks(&self) -> Markup {
        let old = [Check {
            name: "split".to_owned(),
            ok: self.srm.sequential_p >= serin_core::analysis::SRM_ALPHA,
            says: format!("sequential {}", formatting::p_is(Some(self.srm.sequential_p))),
        }];
        let checks = if self.outlook.checks.is_empty() { &old[..] } else { &self.outlook.checks };
        let mark = |check: &Check| match (check.ok, check.name.as_str()) {
            (true, _) => badge(Tone::Good, "ok"),
            // As in lists of what needs a person: it is worth a look, and harms nobody.
            (false, "feeds") => badge(Tone::Warn, "not ok"),
            (false, _) => badge(Tone::Bad, "not ok"),
        };
        html! {
            ul.plain id="checks" {
                @for check in checks { li { b { (check.title()) } " " (mark(check)) " " (typeset(&check.says)) } }
            }
        }
    }

    /// The ramp's steps, the current one marked.
    pub(super) fn ramp_section(&self) -> Markup {
        let ramp = self.outlook.ramp.as_ref();
        // A constant coverage says less than the adaptive shares that stand in its place.
        let ramp = ramp.filter(|ramp| self.outlook.allocation.is_none() || ramp.steps.len() > 1);
        let Some(ramp) = ramp else { return html! {} };
        let is_over = matches!(self.state.as_str(), "aborted" | "concluded");
        html! {
            section id="ramp" {
                h2 { "Ramp" }
                p { (ramp.sentence(is_over)) }
                ol.steps {
                    @for (at, step) in ramp.steps.iter().enumerate() {
                        @if at + 1 == ramp.step && is_over {
                            li { (step.says()) " " b { "(its last)" } }
                        } @else if at + 1 == ramp.step {
                            li.now aria-current="step" { (step.says()) " " b { "(now)" } }
                        } @else {
                            li { (step.says()) }
                        }
                    }
                }
            }
        }
    }

    /// How far the first goal is towards its plan.
    pub(super) fn progress_section(&self) -> Markup {
        let Some(progress) = &self.outlook.progress else { return html! {} };
        let share = (progress.mature as f64 / progress.planned.max(1) as f64).clamp(0.0, 1.0);
        html! {
            section id="progress" {
                h2 { "Progress" }
                svg.bar viewBox="0 0 200 8" preserveAspectRatio="none" role="img"
                    aria-label={ (percent(share)) " of the planned units are mature" } {
                    rect width="200" height="8" fill="#d1d5db" {}
                    rect width=(format!("{:.1}", share * 200.0)) height="8" fill="#1f4e79" {}
                }
                p { (self.progress_sentence(progress)) "." }
            }
        }
    }

    pub(super) fn progress_sentence(&self, progress: &Progress) -> String {
        let Progress { metric, .. } = progress;
        let planned = grouped(progress.planned);
        let is_reached = progress.mature >= progress.planned;
        let of_plan = match is_reached {
            true => format!("{} are mature, and {planned} were planned", counted(progress.mature, "unit")),
            false => format!("{} of {planned} planned units are mature", grouped(progress.mature)),
        };
        let is_share = self.metrics.iter().any(|known| known.name == *metric && known.is_share);
        let left = match progress.days_left {
            Some(0.0) => String::new(),
            Some(days) => format!(", {} left at the pace so far", about(days)),
            None if matches!(self.state.as_str(), "running" | "paused") => {
                ", at a pace that is not known yet".to_owned()
            }
            None => ", and no more units enter".to_owned(),
        };
        let effect = progress.detectable.map(|effect| {
            let relative = progress.detectable_relative.map(|share| format!(" ({} of the mean)", percent(share)));
            let effect = if is_share { points(effect) } else { short(effect) };
            format!(
                "; the smallest effect that the planned units find with a power of 80 % is {effect}{}",
                relative.unwrap_or_default()
            )
        });
        format!(
            "'{metric}': {of_plan}{left}{}",
            effect.unwrap_or_else(|| "; too few units are mature to say which effect the plan finds".to_owned())
        )
    }
}

impl ReportedArmVerdict {
    /// Where it is worse, after a semicolon.
    pub(super) fn but(&self) -> String {
        self.tolerated.iter().map(|tolerated| format!("; it is {tolerated}")).collect()
    }
}

impl Ramp {
    fn sentence(&self, is_over: bool) -> String {
        let least = self.steps.get(self.step.saturating_sub(1)).map_or(0, |step| step.min_units);
        let entered = match least {
            0 => format!("{} entered", counted(self.units, "unit")),
            least if self.units >= least => {
                format!("{} entered, and {} were needed", counted(self.units, "unit"), grouped(least))
            }
            least => format!("{} of {} units entered", grouped(self.units), grouped(least)),
        };
        let begin = if is_over { "It ended at step" } else { "Step" };
        format!("{begin} {} of {}: {entered}.", self.step, self.steps.len())
    }
}

impl RampStep {
    fn says(&self) -> String {
        let mut parts = vec![format!("{} of the slot", percent(self.coverage))];
        if self.hold_ms > 0 {
            parts.push(format!("for {}", duration(self.hold_ms)));
        }
        if self.min_units > 0 {
            parts.push(counted(self.min_units, "unit"));
        }
        match self.gate.as_deref() {
            Some("fast") => parts.push("no guardrail shows harm".to_owned()),
            Some("non_inferior") => parts.push("every guardrail holds".to_owned()),
            _ => {}
        }
        parts.join(", ")
    }
}
