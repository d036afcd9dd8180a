//! A report as text.

use std::fmt;

use super::Report;

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.5}"))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}  {} (phase {}), as of {}", self.experiment, self.state, self.phase, self.as_of)?;
        writeln!(f, "{}: {}\n", self.verdict.decision.to_uppercase(), self.verdict.why)?;
        let units = &self.units;
        writeln!(
            f,
            "units      {} entered = {} mature + {} not mature + {} forced + {} moved by shipping",
            units.entered, units.mature, units.left_out.not_mature, units.left_out.forced, units.left_out.moved
        )?;
        let counts: Vec<String> = self.srm.counts.iter().map(|(arm, n)| format!("{arm} {n}")).collect();
        writeln!(
            f,
            "balance    {}; SRM p = {} (once), {:.4} (sequential)",
            counts.join(", "),
            number(self.srm.p),
            self.srm.sequential_p
        )?;
        if let Some(guardrail) = &self.stopped_by {
            writeln!(f, "stopped by {guardrail}")?;
        }
        for metric in &self.metrics {
            writeln!(
                f,
                "\n{} ({}; {}{}, alpha {}, planned units {})",
                metric.name,
                metric.role,
                metric.method,
                metric.adjustment.as_ref().map(|how| format!(", {how}")).unwrap_or_default(),
                metric.alpha,
                metric.planned_units
            )?;
            for (name, arm) in &metric.arms {
                writeln!(f, "  {name:<24} {:>9} units   mean {}", arm.units, number(arm.mean))?;
            }
            for c in &metric.comparisons {
                write!(f, "  {:<24} ", format!("{} - {}", c.arm, c.against))?;
                match (&c.not_enough, c.interval) {
                    (None, Some([low, high])) => writeln!(
                        f,
                        "{} in [{low:.5}, {high:.5}], p = {}{}",
                        number(c.difference),
                        number(c.p),
                        if c.significant { ", significant" } else { "" }
                    )?,
                    (why, _) => writeln!(f, "not enough data: {}", why.as_deref().unwrap_or_default())?,
                }
            }
        }
        if !self.guardrails.is_empty() {
            writeln!(f, "\nguardrails")?;
        }
        for guardrail in &self.guardrails {
            let evidence = &guardrail.evidence;
            writeln!(
                f,
                "  {:<24} {:<13} {} {} in {}, {} in control; increase in [{}, {}], margin {}",
                guardrail.metric,
                guardrail.state,
                guardrail.arm,
                number(evidence["arm_mean"].as_f64()),
                evidence["arm_units"],
                number(evidence["control_mean"].as_f64()),
                number(evidence["increase_above"].as_f64()),
                number(evidence["increase_below"].as_f64()),
                number(evidence["margin"].as_f64())
            )?;
        }
        self.beside(f)?;
        for warning in &self.warnings {
            writeln!(f, "\nwarning: {warning}")?;
        }
        Ok(())
    }
}

impl Report {
    fn beside(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.fairness.is_empty() {
            writeln!(f, "\nfairness (monitors, not law): the well-treated of a group by those of the reference")?;
        }
        for found in &self.fairness {
            writeln!(
                f,
                "  {:<24} {:<13} {} of '{}' by '{}' in {}: {} in [{:.4}, {}], at least {}",
                found.attribute,
                found.state,
                found.rate,
                found.group,
                found.reference,
                found.arm,
                number(found.ratio),
                found.interval.0,
                number(found.interval.1),
                found.min_ratio
            )?;
        }
        if !self.segments.is_empty() {
            writeln!(f, "\nsegments (exploratory)")?;
        }
        for found in &self.segments {
            let value = found.value.as_deref().unwrap_or("(not known)");
            write!(f, "  {} = {value}: {} in {}: ", found.attribute, found.metric, found.arm)?;
            match (&found.not_enough, found.interval) {
                (None, Some([low, high])) => writeln!(
                    f,
                    "{} in [{low:.5}, {high:.5}], p = {}, {} among all",
                    number(found.difference),
                    number(found.p),
                    number(found.adjusted_p)
                )?,
                (why, _) => writeln!(f, "not enough data: {}", why.as_deref().unwrap_or_default())?,
            }
        }
        for shadow in &self.shadows {
            writeln!(
                f,
                "\nshadow {}: {} decisions, {:.2} % the same action; {} dropped; {} to {} us (p50 to p99), served in {} to {}",
                shadow.arm,
                shadow.decisions,
                shadow.agreement * 100.0,
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
}
