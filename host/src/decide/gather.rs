//! Gathering: one batched read of everything that anybody at the point needs. It comes before
//! routing, so that what is read is not shaped by the arm.

use std::sync::Arc;

use serin_core::NameMap;
use serin_core::record::{FeatureRow, RowStatus};
use serin_core::row::Row;
use serin_core::value::Value;

use super::{Deployment, Point};

pub(super) fn gather(
    deployment: &Deployment,
    point: &Point,
    entities: &NameMap<String>,
    now_ms: u64,
    has_time: bool,
) -> NameMap<FeatureRow> {
    let mut rows = NameMap::with_capacity_and_hasher(point.union.len(), Default::default());
    let keyed: Vec<_> = point.union.iter().filter_map(|view| Some((view, entities.get(&view.spec.entity)?))).collect();
    let keys: Vec<_> = keyed.iter().map(|(view, entity)| (&view.spec.name, entity.as_str(), &view.columns)).collect();
    let read = if has_time { deployment.store.read(&keys) } else { Ok(Vec::new()) };
    let mut read = match read {
        Ok(found) if found.len() == keys.len() => found.into_iter(),
        Ok(_) => Vec::new().into_iter(),
        Err(error) => {
            tracing::error!(%error, point = %point.name, "features could not be read");
            Vec::new().into_iter()
        }
    };
    for view in &point.union {
        let entity = entities.get(&view.spec.entity).cloned();
        // A point whose requests have no such entity knows nothing from this view.
        let found = entity.is_some().then(|| read.next());
        let nothing = || Row::new(Arc::clone(&view.columns), vec![Value::Missing; view.columns.len()]);
        let row = match found {
            None | Some(Some(None)) => {
                FeatureRow { entity, status: RowStatus::Missing, event_time_ms: None, values: nothing() }
            }
            Some(None) => FeatureRow { entity, status: RowStatus::Error, event_time_ms: None, values: nothing() },
            Some(Some(Some(stored))) => {
                let age_ms = now_ms.saturating_sub(stored.event_time_ms);
                let stale = view.spec.ttl_ms.is_some_and(|ttl| age_ms > ttl);
                FeatureRow {
                    entity,
                    status: if stale { RowStatus::Stale } else { RowStatus::Present },
                    event_time_ms: Some(stored.event_time_ms),
                    values: stored.values,
                }
            }
        };
        rows.insert(view.spec.name.clone(), row);
    }
    rows
}
