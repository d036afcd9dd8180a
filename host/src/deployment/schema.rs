//! The names that an expression at a decision point can refer to, with their types.

use std::collections::HashMap;
use std::sync::Arc;

use serin_core::expression::{Reference, Schema};
use serin_core::value::ValueType;
use serin_core::{Name, NameMap};

use super::{ContextField, ViewSpec};

/// What expressions at a decision point can refer to.
pub struct PointSchema<'a> {
    /// The context.
    pub context: &'a NameMap<ContextField>,
    /// The kinds of entity.
    pub entities: &'a [Name],
    /// The feature views.
    pub views: &'a HashMap<Name, Arc<ViewSpec>>,
}

impl Schema for PointSchema<'_> {
    fn type_of(&self, reference: &Reference) -> Option<ValueType> {
        match reference {
            Reference::Context(name) => self.context.get(name.as_str()).map(|field| field.value_type),
            Reference::Entity(kind) => self.entities.iter().any(|e| **e == **kind).then_some(ValueType::Text),
            // What is for analysis alone is nobody's to decide by, in an expression either.
            Reference::Feature(view, name) => {
                let view = self.views.get(view.as_str()).filter(|view| !view.analysis_only)?;
                view.columns.get(name.as_str()).copied()
            }
        }
    }

    fn declared(&self) -> String {
        let context = self.context.keys().map(|name| format!("context.{name}"));
        let entities = self.entities.iter().map(|kind| format!("entities.{kind}"));
        let mut views: Vec<&Arc<ViewSpec>> = self.views.values().filter(|view| !view.analysis_only).collect();
        views.sort_by_key(|view| view.name.clone());
        let features = views.iter().flat_map(|view| {
            view.columns.keys().map(|column| Reference::Feature(view.name.to_string(), column.to_string()).to_string())
        });
        let all: Vec<String> = context.chain(entities).chain(features).collect();
        format!("declared: {}", all.join(", "))
    }
}
