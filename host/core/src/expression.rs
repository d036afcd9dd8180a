//! CEL expressions over a decision's context, features and entities. The `cel` crate parses and
//! evaluates them; this module type-checks them against the deployment's declarations.
//!
//! Compilation turns each `features.VIEW.NAME`, `context.NAME` or `entities.KIND` into a slot, so
//! evaluation builds no maps. The cost is bounded at compilation: the text is bounded before it is
//! parsed ([`bounds`]), looping macros are refused, and there are at most [`MAX_NODES`] nodes.
//! Evaluation refuses texts longer than [`MAX_TEXT`].

pub mod bounds;
mod syntax;

use std::sync::{Arc, LazyLock};

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SelectExpr};
use cel::common::types::{CelBool, CelDouble, CelInt, CelString};
use cel::common::value::CowVal;
use cel::context::VariableResolver;

use crate::value::{Value, ValueType};

/// The largest expression accepted, in nodes of its syntax tree.
pub const MAX_NODES: usize = 256;
/// The longest text that an expression reads, in bytes. A condition on a longer one is unknown.
pub const MAX_TEXT: usize = 64 * 1024;
/// The most text concatenations of an expression, each of which copies.
pub const MAX_CONCATENATIONS: usize = 8;

/// The declarations that an expression can refer to.
pub trait Schema {
    /// The declared type of a reference; none if it is not declared.
    fn type_of(&self, reference: &Reference) -> Option<ValueType>;
    /// The declared names, for error messages.
    fn declared(&self) -> String;
}

/// The values for an evaluation.
pub trait Scope {
    /// The value of `reference`; `Missing` if it is not known.
    fn value(&self, reference: &Reference) -> &Value;
    /// Whether there is a value, for `has()`. `None` if that is unknown because the row is stale or
    /// could not be read; then the whole condition is unknown.
    fn is_there(&self, reference: &Reference) -> Option<bool>;
}

/// A name in an expression.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// `context.NAME`
    Context(String),
    /// `features.VIEW.NAME`, or `features["VIEW"].NAME`
    Feature(String, String),
    /// `entities.KIND`
    Entity(String),
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Context(name) => write!(f, "context.{name}"),
            Self::Feature(view, name) if view.contains('-') => write!(f, "features[\"{view}\"].{name}"),
            Self::Feature(view, name) => write!(f, "features.{view}.{name}"),
            Self::Entity(kind) => write!(f, "entities.{kind}"),
        }
    }
}

/// Why an expression is refused: what, where, and what is valid.
#[derive(Debug, thiserror::Error)]
#[error("CEL \"{source_text}\": {problem}")]
pub struct ExpressionError {
    source_text: String,
    problem: String,
}

/// Why an evaluation gave no answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// A value that it needs is unknown.
    #[error("missing: {0}")]
    Missing(String),
    /// Anything else: a division by zero, an overflow.
    #[error("{0}")]
    Failed(String),
}

/// A type-checked boolean expression. Two are equal if they differ only in blanks and comments.
#[derive(Debug, Clone)]
pub struct Predicate {
    source: String,
    expr: Arc<IdedExpr>,
    references: Vec<Reference>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Plain(ValueType),
    List(Option<ValueType>),
}

impl std::fmt::Display for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(t) => write!(f, "{t}"),
            Self::List(_) => f.write_str("list"),
        }
    }
}

const BOOLEAN: Type = Type::Plain(ValueType::Boolean);
const INTEGER: Type = Type::Plain(ValueType::Integer);
const NUMBER: Type = Type::Plain(ValueType::Number);
const TEXT: Type = Type::Plain(ValueType::Text);

impl Type {
    fn is_numeric(self) -> bool {
        self == INTEGER || self == NUMBER
    }
    fn compares_with(self, other: Self) -> bool {
        self == other || (self.is_numeric() && other.is_numeric())
    }
}

impl PartialEq for Predicate {
    fn eq(&self, other: &Self) -> bool {
        (&self.references, &self.expr) == (&other.references, &other.expr)
    }
}

impl Predicate {
    /// Parses and type-checks `source`, which must yield a boolean.
    ///
    /// # Errors
    /// The syntax error, the undeclared name or the wrong type, with what is valid.
    pub fn compile(source: &str, schema: &dyn Schema) -> Result<Self, ExpressionError> {
        let fail = |problem: String| ExpressionError { source_text: crate::clipped(source, 200).into(), problem };
        bounds::check(source).map_err(fail)?;
        let parse = || cel::parser::Parser::new().parse(source).map_err(|errors| syntax::in_words(&errors));
        let mut expr = crate::caught(parse).map_err(|e| fail(crate::clipped(&e, 1000).into()))?;
        let mut checker = Checker { schema, references: Vec::new(), nodes: 0, concatenations: 0 };
        match checker.check(&mut expr).map_err(fail)? {
            BOOLEAN => Ok(Self { source: source.to_owned(), expr: Arc::new(expr), references: checker.references }),
            other => {
                Err(fail(format!("yields {other}, not boolean; valid: a condition, like context.days_past_due >= 5")))
            }
        }
    }

    /// The references of the expression.
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// The expression as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Evaluates against `scope`.
    ///
    /// # Errors
    /// The first reference that is missing, or what else went wrong.
    pub fn evaluate(&self, scope: &(dyn Scope + Sync)) -> Result<bool, EvaluationError> {
        static ENV: LazyLock<Arc<cel::Env>> = LazyLock::new(|| Arc::new(cel::Env::stdlib()));
        let resolver = Slots { references: &self.references, scope };
        let mut context = cel::Context::with_env(Arc::clone(&ENV));
        context.set_variable_resolver(&resolver);
        match cel::Value::resolve(&self.expr, &context) {
            Ok(cel::Value::Bool(answer)) => Ok(answer),
            Ok(other) => Err(EvaluationError::Failed(format!("yielded {other:?}"))),
            Err(cel::ExecutionError::UndeclaredReference(slot)) => {
                let reference =
                    slot.strip_prefix(['$', '?']).and_then(|i| self.references.get(i.parse::<usize>().ok()?));
                if let Some(reference) = reference.filter(|reference| is_too_long(scope.value(reference))) {
                    return Err(EvaluationError::Failed(format!("{reference} is longer than {MAX_TEXT} bytes")));
                }
                Err(EvaluationError::Missing(reference.map_or_else(|| slot.to_string(), Reference::to_string)))
            }
            Err(other) => Err(EvaluationError::Failed(other.to_string())),
        }
    }
}

fn is_too_long(value: &Value) -> bool {
    matches!(value, Value::Text(text) if text.len() > MAX_TEXT)
}

struct Slots<'a> {
    references: &'a [Reference],
    scope: &'a (dyn Scope + Sync),
}

impl VariableResolver for Slots<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let at = |index: &str| self.references.get(index.parse::<usize>().ok()?);
        if let Some(index) = variable.strip_prefix('?') {
            return Some(CowVal::owned(CelBool::from(self.scope.is_there(at(index)?)?)));
        }
        match self.scope.value(at(variable.strip_prefix('$')?)?) {
            Value::Missing => None,
            value if is_too_long(value) => None,
            Value::Boolean(b) => Some(CowVal::owned(CelBool::from(*b))),
            Value::Integer(i) => Some(CowVal::owned(CelInt::from(*i))),
            Value::Number(x) => Some(CowVal::owned(CelDouble::from(*x))),
            Value::Text(t) => Some(CowVal::owned(CelString::from(t.as_str()))),
        }
    }
}

struct Checker<'a> {
    schema: &'a dyn Schema,
    references: Vec<Reference>,
    nodes: usize,
    concatenations: usize,
}

impl Checker<'_> {
    fn slot(&mut self, reference: Reference) -> usize {
        self.references.iter().position(|known| *known == reference).unwrap_or_else(|| {
            self.references.push(reference);
            self.references.len() - 1
        })
    }

    fn check(&mut self, ided: &mut IdedExpr) -> Result<Type, String> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(format!("is larger than {MAX_NODES} nodes"));
        }
        if let Some((path, test)) = path_of(&ided.expr) {
            let (reference, value_type) = self.resolve(&path)?;
            let slot = self.slot(reference);
            ided.expr = Expr::Ident(format!("{}{slot}", if test { '?' } else { '$' }));
            return Ok(if test { BOOLEAN } else { Type::Plain(value_type) });
        }
        match &mut ided.expr {
            Expr::Literal(literal) => match literal {
                LiteralValue::Boolean(_) => Ok(BOOLEAN),
                LiteralValue::Int(_) => Ok(INTEGER),
                LiteralValue::Double(_) => Ok(NUMBER),
                LiteralValue::String(_) => Ok(TEXT),
                LiteralValue::Null => Err("null is no value here: use has() to ask whether there is one".to_owned()),
                LiteralValue::UInt(_) | LiteralValue::Bytes(_) => {
                    Err("unsigned and bytes literals are not supported".to_owned())
                }
            },
            Expr::List(list) => {
                let mut element = None;
                for item in &mut list.elements {
                    match self.check(item)? {
                        Type::Plain(t) if element.is_none_or(|e| e == t) => element = Some(t),
                        other => return Err(format!("a list of one type is needed, and {other} is in it")),
                    }
                }
                Ok(Type::List(element))
            }
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(_) => {
                Err("all, exists, exists_one, map and filter are not supported: a condition must not loop".to_owned())
            }
            Expr::Ident(name) => Err(format!("'{name}' is not declared; {}", self.schema.declared())),
            Expr::Select(select) => Err(format!("cannot select '.{}' here; {}", select.field, self.schema.declared())),
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => Err("maps and messages are not supported".to_owned()),
        }
    }

    fn resolve(&self, path: &[String]) -> Result<(Reference, ValueType), String> {
        let reference = match path {
            [root, name] if root == "context" => Reference::Context(name.clone()),
            [root, kind] if root == "entities" => Reference::Entity(kind.clone()),
            [root, view, name] if root == "features" => Reference::Feature(view.clone(), name.clone()),
            _ => {
                // The name before a hyphen, which CEL reads as a minus.
                let hint = match path {
                    [root, _] if root == "features" => {
                        "a view whose name has a hyphen is written features[\"the-view\"].name; "
                    }
                    _ => "",
                };
                return Err(format!("'{}' is not declared; {hint}{}", path.join("."), self.schema.declared()));
            }
        };
        let value_type = self
            .schema
            .type_of(&reference)
            .ok_or_else(|| format!("'{reference}' is not declared; {}", self.schema.declared()))?;
        Ok((reference, value_type))
    }

    fn call(&mut self, call: &mut CallExpr) -> Result<Type, String> {
        let mut types = Vec::with_capacity(3);
        if let Some(target) = &mut call.target {
            types.push(self.check(target)?);
        }
        for arg in &mut call.args {
            types.push(self.check(arg)?);
        }
        let shown = || types.iter().map(Type::to_string).collect::<Vec<_>>().join(", ");
        let mismatch = || Err(format!("'{}' does not take ({})", call.func_name.trim_matches(['_', '@']), shown()));
        if call.target.is_none() && matches!(call.func_name.as_str(), "contains" | "startsWith" | "endsWith") {
            return Err(format!("'{0}' is called on a text: x.{0}(y)", call.func_name));
        }
        match (call.func_name.as_str(), types.as_slice()) {
            ("_&&_" | "_||_", [BOOLEAN, BOOLEAN]) | ("!_", [BOOLEAN]) => Ok(BOOLEAN),
            ("_==_" | "_!=_", [a, b]) if a.compares_with(*b) => Ok(BOOLEAN),
            ("_<_" | "_<=_" | "_>_" | "_>=_", [a, b]) if a.compares_with(*b) && !matches!(a, Type::List(_)) => {
                Ok(BOOLEAN)
            }
            ("_+_" | "_-_" | "_*_" | "_/_", [a, b]) if a == b && a.is_numeric() => Ok(*a),
            ("_+_", [TEXT, TEXT]) => {
                self.concatenations += 1;
                match self.concatenations > MAX_CONCATENATIONS {
                    true => Err(format!("puts texts together more than {MAX_CONCATENATIONS} times")),
                    false => Ok(TEXT),
                }
            }
            ("_+_" | "_-_" | "_*_" | "_/_", [a, b]) if a.is_numeric() && b.is_numeric() => Err(format!(
                "integer and number do not mix in ({}); write the literal as 2.0, or convert with double()",
                shown()
            )),
            ("_%_", [INTEGER, INTEGER]) => Ok(INTEGER),
            ("-_", [a]) if a.is_numeric() => Ok(*a),
            ("_?_:_", [BOOLEAN, a, b]) if a == b => Ok(*a),
            ("@in", [Type::Plain(a), Type::List(b)]) if b.is_none_or(|b| b == *a) => Ok(BOOLEAN),
            ("contains" | "startsWith" | "endsWith", [TEXT, TEXT]) => Ok(BOOLEAN),
            ("size", [TEXT | Type::List(_)]) => Ok(INTEGER),
            ("int", [a]) if a.is_numeric() => Ok(INTEGER),
            ("double", [a]) if a.is_numeric() => Ok(NUMBER),
            ("string", [Type::Plain(_)]) => Ok(TEXT),
            (
                "_&&_" | "_||_" | "!_" | "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" | "_+_" | "_-_" | "_*_"
                | "_/_" | "_%_" | "-_" | "_?_:_" | "@in" | "contains" | "startsWith" | "endsWith" | "size" | "int"
                | "double" | "string",
                _,
            ) => mismatch(),
            (name, _) => Err(format!(
                "function '{name}' is not known; valid: size, contains, startsWith, endsWith, int, double, string, has, in"
            )),
        }
    }
}

/// The dotted path of an expression, including an index by literal text, and whether it is inside
/// `has()`.
fn path_of(expr: &Expr) -> Option<(Vec<String>, bool)> {
    match expr {
        Expr::Ident(name) if matches!(name.as_str(), "context" | "features" | "entities") => {
            Some((vec![name.clone()], false))
        }
        Expr::Select(SelectExpr { operand, field, test }) => {
            let (mut path, _) = path_of(&operand.expr)?;
            path.push(field.clone());
            Some((path, *test))
        }
        Expr::Call(CallExpr { func_name, target: None, args }) if func_name == "_[_]" => {
            let [operand, index] = args.as_slice() else { return None };
            let Expr::Literal(LiteralValue::String(text)) = &index.expr else { return None };
            let (mut path, _) = path_of(&operand.expr)?;
            path.push(text.inner().to_owned());
            Some((path, false))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Declared;
    impl Schema for Declared {
        fn type_of(&self, reference: &Reference) -> Option<ValueType> {
            Some(match reference.to_string().as_str() {
                "context.days" => ValueType::Integer,
                "context.channel" => ValueType::Text,
                "features.servicing.cease" => ValueType::Boolean,
                "features[\"borrower-profile\"].dti" => ValueType::Number,
                "entities.borrower" => ValueType::Text,
                _ => return None,
            })
        }
        fn declared(&self) -> String {
            "declared: context.days".to_owned()
        }
    }
    struct FixedScope(Value);
    impl Scope for FixedScope {
        fn value(&self, reference: &Reference) -> &Value {
            static DTI: Value = Value::Number(31.5);
            static DAYS: Value = Value::Integer(12);
            match reference.to_string().as_str() {
                "context.days" => &DAYS,
                "context.channel" => &self.0,
                _ => &DTI,
            }
        }
        fn is_there(&self, reference: &Reference) -> Option<bool> {
            (*reference != Reference::Feature("servicing".into(), "cease".into()))
                .then(|| !self.value(reference).is_missing())
        }
    }

    fn run(source: &str, channel: Value) -> Result<bool, EvaluationError> {
        Predicate::compile(source, &Declared).expect("compiles").evaluate(&FixedScope(channel))
    }

    #[test]
    fn conditions_evaluate_over_typed_values() {
        for (source, answer) in [
            ("context.days >= 5", true),
            ("context.days > 5 && features[\"borrower-profile\"].dti > 30", true),
            ("features[\"borrower-profile\"].dti * 2.0 < 60.0", false),
            ("context.channel in [\"batch\", \"app\"]", true),
            ("context.channel.startsWith(\"ba\") ? context.days == 12 : false", true),
            ("has(context.channel) && !(context.channel == \"app\")", true),
        ] {
            assert_eq!(run(source, Value::Text("batch".into())), Ok(answer), "{source}");
        }
    }

    #[test]
    fn a_missing_value_is_told_apart_from_false() {
        assert_eq!(
            run("context.channel == \"app\"", Value::Missing),
            Err(EvaluationError::Missing("context.channel".into()))
        );
        assert_eq!(run("has(context.channel)", Value::Missing), Ok(false));
        // It is unknown whether a stale row has the value, so has() must not return false.
        let stale = Err(EvaluationError::Missing("features.servicing.cease".into()));
        assert_eq!(run("has(features.servicing.cease) && features.servicing.cease", Value::Missing), stale);
        assert_eq!(run("context.days == 12 || context.channel == \"app\"", Value::Missing), Ok(true));
    }

    #[test]
    fn mistakes_are_refused_with_what_is_valid() {
        let long = format!("context.days == 1{}", " || context.days == 1".repeat(100));
        let many = format!("context.channel{} == \"\"", " + context.channel".repeat(9));
        let deep = format!("{}true{}", "(".repeat(100), ")".repeat(100));
        for (source, needle) in [
            ("context.days >=", "does not parse: it ends at character 16, where something is still missing"),
            ("context.days > > 5", "does not parse: '>' at character 16 is not expected there"),
            ("(context.days > 5", "does not parse: ')' is missing before the end"),
            ("context.days", "yields integer, not boolean"),
            ("context.nothing == 1", "'context.nothing' is not declared; declared: context.days"),
            ("features.borrower-profile.dti > 1.0", "features[\"the-view\"]"),
            ("context.days == \"12\"", "does not take (integer, text)"),
            ("features[\"borrower-profile\"].dti + 1 > 2.0", "write the literal as 2.0"),
            ("startsWith(context.channel, \"a\")", "is called on a text"),
            ("context.channel == null", "use has()"),
            ("[1, 2].exists(x, x == context.days)", "must not loop"),
            ("now() > 1", "function 'now' is not known"),
            (long.as_str(), "larger than 256"),
            (many.as_str(), "more than 8 times"),
            (deep.as_str(), "nested deeper than 32"),
        ] {
            let error = Predicate::compile(source, &Declared).expect_err(source).to_string();
            assert!(error.contains(needle), "{source}: {error}");
        }
    }

    #[test]
    fn the_deepest_expressions_fit_on_half_of_the_smallest_stack() {
        let chain = format!("0 < 1{}", "+1".repeat(126));
        let brackets = format!("{}true{}", "(".repeat(32), ")".repeat(32));
        let conditionals = format!("{}true", "false ? false : ".repeat(32));
        for source in [chain, brackets, conditionals] {
            let run = || Predicate::compile(&source, &Declared).map(|p| p.evaluate(&FixedScope(Value::Missing)));
            let answer = std::thread::scope(|scope| {
                let thread = std::thread::Builder::new().stack_size(1 << 20).spawn_scoped(scope, run);
                thread.expect("a thread").join().expect("no panic")
            });
            assert_eq!(answer.map_err(|e| e.to_string()), Ok(Ok(true)), "{source}");
        }
    }

    #[test]
    fn a_text_that_is_too_long_answers_nothing() {
        let about = |text: String| {
            let source = "context.channel.contains(\"x\")";
            Predicate::compile(source, &Declared).expect("compiles").evaluate(&FixedScope(Value::Text(text)))
        };
        assert_eq!(about("x".repeat(MAX_TEXT)), Ok(true));
        let why = "context.channel is longer than 65536 bytes".to_owned();
        assert_eq!(about("x".repeat(MAX_TEXT + 1)), Err(EvaluationError::Failed(why)));
    }
}
