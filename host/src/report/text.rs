//! A report as text: what came of it first, then what it rests on.

use std::fmt::{self, Formatter};

use serin_core::numbers::{counted, grouped};

use super::feeds;
use super::formatting::{self, RAILS, Rail, line, number, p_is, probability};
use super::rounding::{means, percent, typeset};
use super::{Report, ReportedGuardrail, ReportedMetric, ReportedSegment, SinceEnd, SinceShip};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // Files, people and applications have said parts of it, and terminals obey some characters.
        f.write_str(&serin_core::inert(&Text(self).to_string()))
    }
}

/// A report as its lines, with the texts in it as they were said.
struct Text<'r>(&'r Report);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.lines(f)
    }
}

impl Report {
    fn lines(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.first_lines(f)?;
        self.changes(f)?;
        self.tried(f)?;
        if let Some(since) = &self.since_ship {
            writeln!(f, "\nas of the ship, {}", formatting::minute(&since.shipped_at))?;
        }
        if !self.guardrails.is_empty() {
            heading(f, "guardrails", RAILS)?;
        }
        for guardrail in &self.guardrails {
            rail(f, guardrail)?;
        }
        self.fairness(f)?;
        for metric in self.goals_first() {
            measured(f, metric)?;
        }
        self.unit_lines(f)?;
        self.segments(f)?;
        self.shadows(f)?;
        self.actions(f)?;
        self.since_ship.as_ref().map_or(Ok(()), |since| since_ship(f, since))
    }
}

impl Report {
    /// What came of it.
    fn first_lines(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let as_of = formatting::second(&self.as_of);
        writeln!(f, "{}  {} (phase {}), as of {as_of}", self.experiment, self.state, self.phase)?;
        if !self.description.is_empty() {
            writeln!(f, "{}", line(&self.description))?;
        }
        let owner = if self.owner.is_empty() { String::new() } else { format!("owner {}; ", line(&self.owner)) };
        writeln!(f, "{owner}spec {}\n", self.spec_digest)?;
        let verdict = format!("{}: {}", self.verdict.decision.to_uppercase(), typeset(&self.verdict.why));
        let tolerated: String = self.tolerated().iter().map(|tolerated| format!("; it is {tolerated}")).collect();
        let verdict = format!("{verdict}{tolerated}");
        match self.happened() {
            None => writeln!(f, "{verdict}")?,
            Some(happened) => {
                let mut state = happened.state.to_owned();
                state[..1].make_ascii_uppercase();
                writeln!(f, "{state} {}\n{}: {verdict}", happened.how, happened.since)?;
            }
        }
        if let Some(since) = &self.since_ship {
            writeln!(f, "Since then, against those held back: {}", since.said())?;
        }
        for arm in &self.arms {
            let why = match arm.why == self.verdict.why {
                true => "as above".to_owned(),
                false => format!("{}{}", typeset(&arm.why), arm.but()),
            };
            writeln!(f, "  {:<24} {}: {why}", arm.arm, arm.decision)?;
        }
        for why in &self.forbids {
            writeln!(f, "forbids shipping: {}", typeset(why))?;
        }
        if let Some(next) = &self.outlook.next {
            writeln!(f, "next: {}", next.sentence())?;
        }
        if let Some(allocation) = &self.outlook.allocation {
            writeln!(f, "shares: {}", allocation.line())?;
        }
        if let Some(progress) = &self.outlook.progress {
            writeln!(f, "progress: {}", self.progress_sentence(progress))?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {}", typeset(warning))?;
        }
        for line in self.since_end.iter().flat_map(SinceEnd::lines) {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }

    fn unit_lines(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> = self.srm.counts.iter().map(|(arm, n)| format!("{arm} {n}")).collect();
        let [once, always] = [self.srm.p, Some(self.srm.sequential_p)].map(p_is);
        writeln!(f, "\nunits      {}", formatting::units(&self.units))?;
        if let Some(before) = formatting::before_entry(self) {
            writeln!(f, "           {before}")?;
        }
        for line in [feeds::too_late(self), feeds::feeds(self)].into_iter().flatten() {
            writeln!(f, "           {line}")?;
        }
        if let Some(excluded) = formatting::excluded(self) {
            writeln!(f, "           {excluded}")?;
        }
        writeln!(f, "balance    {}; SRM {once} (once), {always} (sequential)", counts.join(", "))
    }
}

/// Columns of a heading's note. What is longer, terminals break where they like.
const WIDTH: usize = 100;

/// A heading, and below it how to read what follows.
fn heading(f: &mut Formatter<'_>, title: &str, note: &str) -> fmt::Result {
    writeln!(f, "\n{title}")?;
    let mut line = String::new();
    for word in note.split(' ') {
        if !line.is_empty() && line.chars().count() + word.chars().count() >= WIDTH {
            writeln!(f, " {line}")?;
            line.clear();
        }
        line.push(' ');
        line.push_str(word);
    }
    writeln!(f, " {line}")
}

fn rail(f: &mut Formatter<'_>, guardrail: &ReportedGuardrail) -> fmt::Result {
    let rail = Rail::of(guardrail);
    write!(f, "  {:<24} {:<13} {}: ", guardrail.metric, guardrail.state, guardrail.arm)?;
    if let Some(count) = rail.count {
        return writeln!(f, "{count}");
    }
    if let (true, Some(why)) = (rail.kind == "count", &guardrail.why) {
        return writeln!(f, "{}", typeset(why));
    }
    if let Some(action) = &rail.action {
        write!(f, "share of '{action}' ")?;
    }
    let [(control, of_control), (arm, of_arm)] = &rail.means;
    writeln!(f, "{arm} of {of_arm} units, {control} of {of_control} in control")?;
    if rail.margin != "-" {
        let change = if rail.kind == "mix" { "largest shift" } else { rail.kind.as_str() };
        let alarm = rail.alarm_alpha.map(|part| format!(" ({part} for the alarm)")).unwrap_or_default();
        let above = if rail.above == "> 0" { "above 0" } else { &format!("above {}", rail.above) };
        // Why it is inconclusive is in these numbers.
        writeln!(
            f,
            "  {:<24} {change} {above} and below {}; alarm {}, margin {}; p {}, alpha {}{}",
            "", rail.below, rail.alarm, rail.margin, rail.p, rail.alpha, alarm
        )
    } else if let Some(why) = &guardrail.why {
        writeln!(f, "  {:<24} {}", "", typeset(why))
    } else {
        Ok(())
    }
}

/// Units that entered since a winner shipped.
fn since_ship(f: &mut Formatter<'_>, since: &SinceShip) -> fmt::Result {
    writeln!(f, "\nsince the ship, units that entered since: {} against those held back", since.winner)?;
    since.guardrails.iter().try_for_each(|guardrail| rail(f, guardrail))?;
    since.metrics.iter().try_for_each(|metric| measured(f, metric))?;
    writeln!(f, "\nunits      {}", formatting::units(&since.units))
}

fn measured(f: &mut Formatter<'_>, metric: &ReportedMetric) -> fmt::Result {
    heading(f, &metric.name, &formatting::metric(metric))?;
    let sides: Vec<_> = metric.arms.values().map(|arm| (arm.mean, arm.units)).collect();
    for ((name, arm), mean) in metric.arms.iter().zip(means(&sides, metric.is_share)) {
        writeln!(f, "  {name:<24} {:>9} units   mean {mean}", arm.units)?;
    }
    for found in &metric.comparisons {
        let title = format!("{} \u{2212} {}", found.arm, found.against);
        writeln!(f, "  {title:<24} {}", formatting::comparison(found, metric.is_share))?;
    }
    Ok(())
}

impl Report {
    fn changes(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.changes.is_empty() {
            writeln!(f, "\nwhat happened")?;
        }
        for change in &self.changes {
            let (at, by, why) = (formatting::minute(&change.at), line(&change.by), line(&change.reason));
            writeln!(f, "  {at}  {:<8} phase {:<3} {by}: {why}", change.command, change.phase)?;
        }
        if let Some(unlisted) = self.unlisted() {
            writeln!(f, "  {unlisted}")?;
        }
        match &self.stopped_by {
            Some(guardrail) => writeln!(f, "  stopped by {guardrail}"),
            None => Ok(()),
        }
    }

    fn tried(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.versions.is_empty() {
            writeln!(f, "\narms")?;
        }
        for version in &self.versions {
            let role = format!("{} ({})", version.arm, version.role);
            let version = format!("{} {}", version.strategy, line(&version.set()));
            writeln!(f, "  {role:<24} {}", version.trim_end())?;
        }
        Ok(())
    }

    fn fairness(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (at, found) in self.fairness.iter().enumerate() {
            let of = |at: usize| self.fairness.get(at).map(|found| (&found.attribute, &found.rate));
            if at == 0 || of(at) != of(at - 1) {
                let note = format!(
                    "a monitor, not law: the well-treated of a group by those of '{}', at least {}",
                    line(&found.reference),
                    found.min_ratio
                );
                heading(f, &format!("fairness by {}: {}", found.attribute, found.rate), &note)?;
            }
            let arm = if found.control { format!("{} (stops nothing)", found.arm) } else { found.arm.clone() };
            writeln!(
                f,
                "  {arm:<24} {:<13} '{}': {} of {} / {} units; ratio {} in [{}, {}]{}",
                found.state,
                line(&found.group),
                found.rates.map(number).join(" / "),
                found.units[0],
                found.units[1],
                number(found.ratio),
                number(Some(found.interval.0)),
                number(found.interval.1),
                found.why.as_ref().map(|why| format!("; {why}")).unwrap_or_default()
            )?;
        }
        Ok(())
    }

    fn segments(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.segments.is_empty() {
            let alphas = formatting::segment_alphas(&self.segments);
            heading(f, "segments", &format!("exploratory; units of control / of the arm; {alphas}"))?;
        }
        let label = |found: &ReportedSegment| {
            let value = found.value.as_deref().map_or_else(|| "(not known)".to_owned(), line);
            let [control, arm] = found.units.map(grouped);
            [
                format!("{} = {value}", found.attribute),
                format!("{} in {}", found.metric, found.arm),
                format!("{control} / {arm}"),
            ]
        };
        let labels: Vec<[String; 3]> = self.segments.iter().map(label).collect();
        let width = |at: usize| labels.iter().map(|label| label[at].chars().count()).max().unwrap_or_default();
        let [first, second, third] = [0, 1, 2].map(width);
        for (found, [of, what, units]) in self.segments.iter().zip(&labels) {
            write!(f, "  {of:<first$}  {what:<second$}  {units:>third$}  ")?;
            match (&found.not_enough, found.difference.zip(found.interval)) {
                (None, Some((difference, ends))) => {
                    let (difference, ends) = formatting::bounded(difference, ends, found.is_share);
                    let [p, among] = [p_is(found.p), probability(found.adjusted_p)];
                    writeln!(f, "{difference} in {ends}, {p}, {among} among all")?;
                }
                (why, _) => writeln!(f, "not enough data: {}", why.as_deref().unwrap_or_default())?,
            }
        }
        Ok(())
    }

    fn shadows(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for shadow in &self.shadows {
            writeln!(
                f,
                "\nshadow {}: {}, {} the same action; {} dropped; {} to {} us (p50 to p99), served in {} to {}",
                shadow.arm,
                counted(shadow.decisions, "decision"),
                percent(shadow.agreement),
                shadow.dropped,
                shadow.took_us[0],
                shadow.took_us[1],
                shadow.served_us[0],
                shadow.served_us[1]
            )?;
            for (why, n) in &shadow.failures {
                writeln!(f, "  no answer, {why}: {n}")?;
            }
            for (served, actions) in &shadow.matrix {
                let row: Vec<String> = actions.iter().map(|(action, n)| format!("{action} {n}")).collect();
                writeln!(f, "  served {served:<16} shadow: {}", row.join(", "))?;
            }
        }
        Ok(())
    }

    fn actions(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.actions.values().any(|actions| !actions.is_empty()) {
            writeln!(f, "\ndecisions by action")?;
        }
        for (arm, actions) in self.actions.iter().filter(|(_, actions)| !actions.is_empty()) {
            let total = actions.values().sum::<u64>().max(1) as f64;
            let share = |(action, n): (&String, &u64)| format!("{action} {n} ({:.1} %)", *n as f64 / total * 100.0);
            writeln!(f, "  {arm:<24} {}", actions.iter().map(share).collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }
}
