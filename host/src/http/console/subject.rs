//! The pages that change while somebody looks at them, and what draws them.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use super::shelf::{Key, Part, Shown};
use super::{experiment, inventory, listing, needs, overview, words};
use crate::access::Role;
use crate::clock::Budget;
use crate::http::access::Caller;
use crate::http::admin::read;
use crate::http::{Problem, Service};

/// A page with live parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// `/`.
    Overview,
    /// `/attention`.
    Attention(needs::Query),
    /// `/experiments`.
    Experiments(listing::Query),
    /// `/experiments/{id}`.
    Experiment(String),
    /// `/plugins`.
    Plugins,
    /// `/models`.
    Models,
    /// `/features`.
    Features,
}

/// Which page, in a query.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    page: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    q: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    n: usize,
    /// The marks of the parts that the asker has.
    #[serde(default)]
    pub have: String,
}

impl Asked {
    /// The page.
    pub fn subject(&self) -> Result<Subject, Problem> {
        Ok(match self.page.as_str() {
            "overview" => Subject::Overview,
            "attention" => {
                let Self { q, kind, n, .. } = self;
                Subject::Attention(needs::Query { q: q.clone(), kind: kind.clone(), page: *n })
            }
            "experiments" => {
                let Self { q, state, n, .. } = self;
                Subject::Experiments(listing::Query { q: q.clone(), state: state.clone(), page: *n })
            }
            "experiment" => Subject::Experiment(self.id.clone()),
            "plugins" => Subject::Plugins,
            "models" => Subject::Models,
            "features" => Subject::Features,
            _ => {
                let valid = "page: valid: overview, attention, experiments, experiment, plugins, models, features";
                return Err(Problem::invalid("page", valid));
            }
        })
    }
}

impl Subject {
    /// Where the changes of the page come from.
    pub fn address(&self) -> String {
        match self {
            Self::Overview => "/console/live?page=overview".to_owned(),
            Self::Attention(needs::Query { q, kind, page }) => {
                let (q, kind) = (words::encoded(q), words::encoded(kind));
                format!("/console/live?page=attention&q={q}&kind={kind}&n={page}")
            }
            Self::Experiments(listing::Query { q, state, page }) => {
                let (q, state) = (words::encoded(q), words::encoded(state));
                format!("/console/live?page=experiments&q={q}&state={state}&n={page}")
            }
            Self::Experiment(id) => format!("/console/live?page=experiment&id={}", words::encoded(id)),
            Self::Plugins => "/console/live?page=plugins".to_owned(),
            Self::Models => "/console/live?page=models".to_owned(),
            Self::Features => "/console/live?page=features".to_owned(),
        }
    }

    fn draw(&self, service: &Service, budget: Budget, caller: &Caller) -> Result<Vec<Part>, Problem> {
        // Each reads what it needs of the ledger within the time of one read.
        let drawn = service.ledger.bounded(budget, |ledger| {
            Ok(match self {
                Self::Overview => overview::parts(service, ledger, caller),
                Self::Attention(query) => needs::parts(service, ledger, query, caller),
                Self::Experiments(query) => listing::parts(service, ledger, query, caller),
                Self::Experiment(id) => experiment::parts(service, ledger, id, caller),
                Self::Plugins => Ok(inventory::plugins(service)),
                Self::Models => Ok(inventory::models(service)),
                Self::Features => inventory::features(service),
            })
        });
        drawn?
    }

    /// The page's parts, drawn now or a moment ago for somebody with the same rights.
    pub async fn shown(&self, service: &Arc<Service>, caller: &Caller) -> Result<Arc<Shown>, Problem> {
        let key = Key { page: self.address(), rights: rights(caller) };
        let draw = || async {
            let (subject, caller) = (self.clone(), caller.clone());
            read(service, move |service, budget| subject.draw(service, budget, &caller)).await?
        };
        service.live.get(key, state(service), draw).await
    }
}

/// Equal while nobody did anything and no file was applied or refused: what is then different on a page is figures.
fn state(service: &Service) -> u64 {
    let (status, mut hasher) = (service.status.load(), DefaultHasher::new());
    service.deployment.load().generation.hash(&mut hasher);
    (&status.config_error, &status.plugins_error, &status.experiments_error, &status.archive_error).hash(&mut hasher);
    for experiment in &status.experiments {
        (&experiment.id, experiment.status.generation, experiment.state.as_str()).hash(&mut hasher);
        (&experiment.error, experiment.pending.is_some()).hash(&mut hasher);
    }
    hasher.finish()
}

/// What a caller may see, as a text: those with the same see the same.
pub fn rights(caller: &Caller) -> String {
    let Some(identity) = &caller.identity else { return "all".to_owned() };
    let roles: Vec<&str> = Role::ALL.into_iter().filter(|role| identity.may(*role)).map(Role::as_str).collect();
    format!("{} at {:?}", roles.join(" "), identity.points())
}
