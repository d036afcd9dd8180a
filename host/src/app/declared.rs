//! What a spec names has to be declared by the deployment: attributes, covariates, actions, and what
//! fairness is monitored by.

use serin_core::experiment::{Attribute, Experiment, Quantity, Source};
use serin_core::manifest::CONTEXT_VIEW;
use serin_core::value::ValueType;

use crate::config::Config;
use crate::decide::{BoundArm, ShadowArm};
use crate::deployment::PointSpec;

/// A spec beside what is declared at its decision point.
pub(super) struct Declarations<'a> {
    pub config: &'a Config,
    pub point: &'a PointSpec,
    pub spec: &'a Experiment,
}

impl Declarations<'_> {
    /// Checks what the analysis of a spec reads.
    ///
    /// # Errors
    /// The key that does not fit, and what would.
    pub(super) fn check(&self, arms: &[BoundArm], shadows: &[ShadowArm]) -> Result<(), String> {
        self.check_attributes()?;
        self.check_covariates()?;
        self.check_decision_metrics()?;
        self.check_fairness(arms, shadows)
    }

    fn type_of(&self, attribute: &Attribute) -> Option<ValueType> {
        match &*attribute.view {
            CONTEXT_VIEW => self.point.context.get(&attribute.name).map(|field| field.value_type),
            view => {
                let view = self.config.views.get(view).filter(|view| self.point.entities.contains(&view.entity))?;
                view.columns.get(&attribute.name).copied()
            }
        }
    }

    fn check_attributes(&self) -> Result<(), String> {
        let attributes = self.spec.attributes();
        let Some(attribute) = attributes.iter().find(|attribute| self.type_of(attribute).is_none()) else {
            return Ok(());
        };
        let views = self.config.views.values().filter(|view| self.point.entities.contains(&view.entity));
        let mut known: Vec<String> = views
            .flat_map(|view| view.columns.keys().map(|column| format!("features.{}.{column}", view.name)))
            .chain(self.point.context.keys().map(|key| format!("context.{key}")))
            .collect();
        known.sort();
        Err(format!("{attribute} is not declared at '{}'; declared: {}", self.spec.decision_point, known.join(", ")))
    }

    /// Covariates are numbers.
    fn check_covariates(&self) -> Result<(), String> {
        for metric in &self.spec.metrics {
            if let Some(covariate) =
                metric.cuped.iter().find(|covariate| self.type_of(covariate) == Some(ValueType::Text))
            {
                return Err(format!(
                    "metric '{}': cuped: {covariate} is text; valid: a number, an integer or a boolean",
                    metric.name
                ));
            }
        }
        Ok(())
    }

    /// A metric over decisions counts an action of the decision point.
    fn check_decision_metrics(&self) -> Result<(), String> {
        for metric in &self.spec.metrics {
            let measures = match &metric.quantity {
                Quantity::Mean(measure) => vec![measure],
                Quantity::Ratio(numerator, denominator) => vec![numerator, denominator],
            };
            let over_decisions = measures.into_iter().filter(|measure| measure.source == Source::Decisions);
            let mut actions = over_decisions.filter_map(|measure| measure.outcome.as_ref());
            if let Some(action) = actions.find(|action| !self.point.actions.contains(action)) {
                return Err(format!(
                    "metric '{}': outcome = \"{action}\" is no action of '{}', and with source = \"decisions\" it \
                     names one; its actions: {}",
                    metric.name,
                    self.spec.decision_point,
                    self.actions()
                ));
            }
        }
        Ok(())
    }

    /// Fairness is monitored by an attribute that no strategy reads.
    fn check_fairness(&self, arms: &[BoundArm], shadows: &[ShadowArm]) -> Result<(), String> {
        for fairness in &self.spec.fairness {
            if let Some(action) = fairness.adverse.iter().find(|action| !self.point.actions.contains(action)) {
                return Err(format!("fairness: adverse_actions: '{action}'; valid: {}", self.actions()));
            }
            let attribute = &fairness.attribute;
            let reads = |arm: &&BoundArm| {
                let mut features = arm.plugin.manifest().features.iter();
                features.any(|feature| feature.view == attribute.view && feature.name == attribute.name)
            };
            if let Some(arm) = arms.iter().chain(shadows.iter().map(|shadow| &shadow.arm)).find(reads) {
                return Err(format!(
                    "fairness: {attribute} is read by arm '{}': what is monitored is nobody's to decide by",
                    arm.name
                ));
            }
        }
        Ok(())
    }

    fn actions(&self) -> String {
        self.point.actions.iter().map(|action| &**action).collect::<Vec<_>>().join(", ")
    }
}
