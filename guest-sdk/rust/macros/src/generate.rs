//! The code that `plugin!` stands for.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use serin_core::manifest::{Manifest, OnMissing};
use serin_core::value::{Value, ValueType};

use crate::names::{camel, idents, snake};

/// All generated items.
///
/// # Errors
/// Names that Rust cannot tell apart or does not allow.
pub fn plugin(manifest: &Manifest) -> Result<TokenStream, String> {
    let records = [features(manifest)?, scores(manifest)?, parameters(manifest)?];
    let input = input(manifest);
    let (action, reason, models) = (actions(manifest)?, reasons(manifest)?, models(manifest)?);
    let (hash, file) = (manifest.hash, manifest_file());
    let section = serin_core::manifest::HASH_SECTION;
    Ok(quote! {
        #(#records)*
        #input
        #action
        #reason
        #models

        /// An action with its probability and reasons.
        #[allow(dead_code)]
        pub type Candidate = ::serin_guest::Candidate<Action, Reason>;
        /// What this strategy proposes.
        #[allow(dead_code)]
        pub type Decision = ::serin_guest::Decision<Action, Reason>;
        /// This strategy declines to decide.
        #[allow(dead_code)]
        pub type Refusal = ::serin_guest::Refusal<Reason>;

        #file

        // Ties the code to the manifest whose positions it was compiled against.
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            #[used]
            #[unsafe(link_section = #section)]
            static MANIFEST_HASH: [u8; 32] = [#(#hash),*];
        };
    })
}

/// Makes the manifest one of the crate's sources, so that a change of it compiles the crate again.
pub fn manifest_file() -> TokenStream {
    quote! {
        const _: &[u8] = ::core::include_bytes!(::core::concat!(::core::env!("CARGO_MANIFEST_DIR"), "/plugin.toml"));
    }
}

struct Field {
    name: Ident,
    rust_type: TokenStream,
    default: TokenStream,
    doc: String,
}

/// A struct with public fields, whose `Default` is what the manifest says.
fn record(name: &str, doc: &str, next: &str, fields: &[Field]) -> TokenStream {
    let [record, next] = [name, next].map(|name| Ident::new(name, proc_macro2::Span::call_site()));
    let names: Vec<_> = fields.iter().map(|f| &f.name).collect();
    let types = fields.iter().map(|f| &f.rust_type);
    let docs = fields.iter().map(|f| &f.doc);
    let defaults = fields.iter().map(|f| &f.default);
    let item = if next == "next_score" { quote!(f64) } else { quote!(::serin_guest::Value) };
    quote! {
        #[doc = #doc]
        #[derive(Debug, Clone, PartialEq)]
        #[allow(dead_code)]
        pub struct #record {
            #(#[doc = #docs] pub #names: #types,)*
        }

        impl ::core::default::Default for #record {
            fn default() -> Self {
                Self { #(#names: #defaults,)* }
            }
        }

        impl #record {
            #[allow(dead_code, unused_mut, unused_variables)]
            fn at_positions(values: ::std::vec::Vec<#item>) -> Self {
                let mut values = values.into_iter();
                Self { #(#names: ::serin_guest::boundary::#next(&mut values),)* }
            }
        }
    }
}

fn rust_type(value_type: ValueType) -> TokenStream {
    match value_type {
        ValueType::Boolean => quote!(bool),
        ValueType::Integer => quote!(i64),
        ValueType::Number => quote!(f64),
        ValueType::Text => quote!(::std::string::String),
    }
}

fn literal(value: &Value) -> TokenStream {
    match value {
        Value::Missing => quote!(::core::default::Default::default()),
        Value::Boolean(b) => quote!(#b),
        Value::Integer(i) => quote!(#i),
        Value::Number(x) => quote!(#x),
        Value::Text(text) => quote!(::std::string::String::from(#text)),
    }
}

fn features(manifest: &Manifest) -> Result<TokenStream, String> {
    let names = idents("features", snake, manifest.features.iter().map(|f| &*f.name))?;
    let fields: Vec<Field> = names
        .into_iter()
        .zip(&manifest.features)
        .map(|(name, feature)| {
            let plain = rust_type(feature.value_type);
            let (rust_type, default, missing) = match &feature.on_missing {
                OnMissing::Pass => {
                    (quote!(::core::option::Option<#plain>), literal(&Value::Missing), "; it may be missing".to_owned())
                }
                OnMissing::Default(value) => (plain, literal(value), format!("; {value} where it is missing")),
                OnMissing::Error => (plain, literal(&Value::Missing), String::new()),
            };
            let doc = format!("`{}.{}`{missing}.", feature.view, feature.name);
            Field { name, rust_type, default, doc }
        })
        .collect();
    Ok(record("Features", "The features that the manifest declares.", "next", &fields))
}

fn scores(manifest: &Manifest) -> Result<TokenStream, String> {
    let names = idents("models", snake, manifest.scores.iter().map(|s| &*s.model.name))?;
    let fields: Vec<Field> = names
        .into_iter()
        .zip(&manifest.scores)
        .map(|(name, score)| {
            let fallback = score.fallback.unwrap_or_default();
            Field {
                name,
                rust_type: quote!(f64),
                default: quote!(#fallback),
                doc: match score.fallback {
                    Some(fallback) => format!("`{}`; {fallback} where the model can't answer.", score.model),
                    None => format!("`{}`.", score.model),
                },
            }
        })
        .collect();
    Ok(record("Scores", "The declared models' scores.", "next_score", &fields))
}

fn parameters(manifest: &Manifest) -> Result<TokenStream, String> {
    let names = idents("parameters", snake, manifest.parameters.iter().map(|p| &*p.name))?;
    let fields: Vec<Field> = names
        .into_iter()
        .zip(&manifest.parameters)
        .map(|(name, parameter)| Field {
            name,
            rust_type: rust_type(parameter.value_type),
            default: literal(&parameter.default),
            doc: format!(
                "Parameter `{}`; {} unless an experiment's arm overrides it.",
                parameter.name, parameter.default
            ),
        })
        .collect();
    Ok(record("Parameters", "The parameters in force.", "next", &fields))
}

fn input(manifest: &Manifest) -> TokenStream {
    let point = &*manifest.decision_point;
    quote! {
        /// All that this strategy may know of one decision.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(dead_code)]
        pub struct Input {
            /// The decision point that asks.
            pub decision_point: ::std::string::String,
            /// When the decision is made, in milliseconds since the Unix epoch, UTC.
            pub time_ms: u64,
            /// The unit's local offset from UTC at that time, in minutes.
            pub utc_offset_minutes: i32,
            /// The declared features.
            pub features: Features,
            /// The declared models' scores.
            pub scores: Scores,
            /// The parameters in force.
            pub parameters: Parameters,
        }

        #[allow(dead_code)]
        impl Input {
            /// An input for a test: the manifest's defaults, zeros and empty texts where it has none, and
            /// whatever `edit` changes.
            pub fn example(edit: impl ::core::ops::FnOnce(&mut Self)) -> Self {
                let mut input = Self {
                    decision_point: ::std::string::String::from(#point),
                    time_ms: 0,
                    utc_offset_minutes: 0,
                    features: ::core::default::Default::default(),
                    scores: ::core::default::Default::default(),
                    parameters: ::core::default::Default::default(),
                };
                edit(&mut input);
                input
            }
        }

        impl ::serin_guest::boundary::FromContext for Input {
            fn from_context(context: ::serin_guest::bindings::Context) -> Self {
                Self {
                    decision_point: context.decision_point,
                    time_ms: context.time_ms,
                    utc_offset_minutes: context.utc_offset_minutes,
                    features: Features::at_positions(context.features),
                    scores: Scores::at_positions(context.scores),
                    parameters: Parameters::at_positions(context.parameters),
                }
            }
        }
    }
}

fn actions(manifest: &Manifest) -> Result<TokenStream, String> {
    let variants = idents("actions", camel, manifest.actions.iter().map(|a| &*a.name))?;
    let names: Vec<&str> = manifest.actions.iter().map(|a| &*a.name).collect();
    let docs = names.iter().map(|name| format!("`{name}`."));
    let positions = 0..manifest.actions.len() as u32;
    let (mut bodies, mut values) = (Vec::new(), Vec::new());
    for (variant, action) in variants.iter().zip(&manifest.actions) {
        let kind = format!("parameters of action '{}':", action.name);
        let fields = idents(&kind, snake, action.parameters.iter().map(|(name, _)| &**name))?;
        let types = action.parameters.iter().map(|(_, value_type)| rust_type(*value_type));
        let field_docs = action.parameters.iter().map(|(name, _)| format!("`{name}`."));
        if fields.is_empty() {
            bodies.push(quote!());
            values.push(quote!(Self::#variant => ::std::vec::Vec::new()));
        } else {
            bodies.push(quote!({ #(#[doc = #field_docs] #fields: #types),* }));
            values
                .push(quote!(Self::#variant { #(#fields),* } => ::std::vec![#(::serin_guest::Value::from(#fields)),*]));
        }
    }
    Ok(quote! {
        /// The actions that this strategy may take.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(dead_code)]
        pub enum Action {
            #(#[doc = #docs] #variants #bodies,)*
        }

        #[allow(dead_code)]
        impl Action {
            /// The action's name in the manifest.
            pub fn name(&self) -> &'static str {
                match self { #(Self::#variants { .. } => #names,)* }
            }

            /// This action with certainty, and why.
            pub fn because(self, reason: Reason, weight: f64) -> Candidate {
                Candidate::new(self).because(reason, weight)
            }
        }

        impl ::core::convert::From<Action> for Candidate {
            fn from(action: Action) -> Self {
                Self::new(action)
            }
        }

        impl ::serin_guest::boundary::Encode for Action {
            fn position(&self) -> u32 {
                match self { #(Self::#variants { .. } => #positions,)* }
            }
            fn into_values(self) -> ::std::vec::Vec<::serin_guest::Value> {
                match self { #(#values,)* }
            }
        }
    })
}

fn reasons(manifest: &Manifest) -> Result<TokenStream, String> {
    let variants = idents("reasons", camel, manifest.reasons.iter().map(|r| &*r.code))?;
    let codes = manifest.reasons.iter().map(|r| &*r.code);
    let docs = manifest.reasons.iter().map(|r| format!("`{}`: {}", r.code, r.text));
    let positions = 0..manifest.reasons.len() as u32;
    Ok(quote! {
        /// The reason codes of this strategy.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(dead_code)]
        pub enum Reason {
            #(#[doc = #docs] #variants,)*
        }

        #[allow(dead_code)]
        impl Reason {
            /// The reason's code in the manifest.
            pub fn code(self) -> &'static str {
                match self { #(Self::#variants => #codes,)* }
            }

            /// Declines to decide, for this reason.
            pub fn refuse(self, message: impl ::core::convert::Into<::std::string::String>) -> Refusal {
                Refusal { reason: self, message: message.into() }
            }
        }

        impl ::serin_guest::boundary::Encode for Reason {
            fn position(&self) -> u32 {
                match *self { #(Self::#variants => #positions,)* }
            }
            fn into_values(self) -> ::std::vec::Vec<::serin_guest::Value> {
                ::std::vec::Vec::new()
            }
        }
    })
}

fn models(manifest: &Manifest) -> Result<TokenStream, String> {
    if manifest.callable.is_empty() {
        return Ok(TokenStream::new());
    }
    let functions = idents("callable models", snake, manifest.callable.iter().map(|c| &*c.model.name))?;
    let docs = manifest.callable.iter().map(|c| format!("`{}`.", c.model));
    let names = manifest.callable.iter().map(|c| &*c.model.name);
    let positions = 0..manifest.callable.len() as u32;
    Ok(quote! {
        /// The models that this strategy may call with rows of its own.
        pub mod models {
            #(
                #[doc = #docs]
                #[allow(dead_code)]
                pub const fn #functions() -> ::serin_guest::Model {
                    ::serin_guest::Model::at(#positions, #names)
                }
            )*
        }
    })
}
