//! Gathering: one batched read of all features that the point needs. It precedes routing, so the
//! features read do not depend on the arm.

use std::sync::Arc;

use serin_core::NameMap;
use serin_core::record::{FeatureRow, RowStatus};
use serin_core::row::Row;
use serin_core::value::Value;

use super::{DeploymentSnapshot, Point, UnionView};
use crate::deployment::ViewSpec;
use crate::features::StoredRow;

pub(super) fn gather(
    deployment: &DeploymentSnapshot,
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
            crate::telemetry::log_limited!(error, %error, point = %point.name, "features could not be read");
            Vec::new().into_iter()
        }
    };
    for view in &point.union {
        let entity = entities.get(&view.spec.entity).cloned();
        // If the request has no such entity, the view has no values.
        let found = entity.is_some().then(|| read.next());
        let row = match found {
            None | Some(Some(None)) => without_values(view, entity, RowStatus::Missing),
            Some(None) => without_values(view, entity, RowStatus::Error),
            Some(Some(Some(stored))) => with_values(&view.spec, entity, stored, now_ms),
        };
        rows.insert(view.spec.name.clone(), row);
    }
    rows
}

fn without_values(view: &UnionView, entity: Option<String>, status: RowStatus) -> FeatureRow {
    FeatureRow {
        entity,
        status,
        event_time_ms: None,
        column_times_ms: NameMap::default(),
        stale_columns: Vec::new(),
        values: Row::new(Arc::clone(&view.columns), vec![Value::Missing; view.columns.len()]),
    }
}

/// Applies the view's TTL to each column by its own event time. The row's is the newest of them: if
/// it is too old, all are.
fn with_values(spec: &ViewSpec, entity: Option<String>, stored: StoredRow, now_ms: u64) -> FeatureRow {
    let is_stale = |time_ms: u64| spec.is_stale(time_ms, now_ms);
    let status = if is_stale(stored.event_time_ms) { RowStatus::Stale } else { RowStatus::Present };
    let too_old = stored.column_times_ms.iter().filter(|(_, time_ms)| is_stale(**time_ms));
    FeatureRow {
        entity,
        status,
        event_time_ms: Some(stored.event_time_ms),
        stale_columns: match status {
            RowStatus::Present => too_old.map(|(column, _)| column.clone()).collect(),
            _ => Vec::new(),
        },
        column_times_ms: stored.column_times_ms,
        values: stored.values,
    }
}
