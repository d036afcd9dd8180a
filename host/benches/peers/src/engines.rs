//! The other engines, each used as its documentation shows, with everything compiled beforehand.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use crate::world::{Failure, NUMBERS};

/// An action, and why.
pub type Answer = (String, String);

/// One engine on one thread. It is compiled once, and asked many times.
pub trait Engine: Sized + 'static {
    /// A request as the engine takes it.
    type Input;

    /// Compiles the decision.
    fn new() -> Result<Self, Failure>;

    /// Turns the request's body into what [`Self::decide`] takes.
    fn read(&self, body: &Value) -> Result<Self::Input, Failure>;

    /// Decides.
    fn decide(&mut self, input: &Self::Input) -> Result<Answer, Failure>;
}

const REGO: &str = r#"
package decision

mean := sum([number | number := input.context[_]]) / count(input.context)

default answer := {"action": "no_contact", "reason": "LOW"}

answer := {"action": "call", "reason": "HIGH"} if mean > 0.5
"#;

const RULE: &str = "data.decision.answer";

/// `regorus`, its interpreter.
pub struct Rego(regorus::Engine);

fn rego() -> Result<regorus::Engine, Failure> {
    let mut engine = regorus::Engine::new();
    engine.add_policy("decision.rego".into(), REGO.into())?;
    Ok(engine)
}

fn rego_answer(value: &regorus::Value) -> Result<Answer, Failure> {
    let text = |key: &str| Ok::<_, Failure>(value[key].as_string()?.to_string());
    Ok((text("action")?, text("reason")?))
}

impl Engine for Rego {
    type Input = regorus::Value;

    fn new() -> Result<Self, Failure> {
        Ok(Self(rego()?))
    }

    fn read(&self, body: &Value) -> Result<Self::Input, Failure> {
        Ok(regorus::Value::from(body.clone()))
    }

    fn decide(&mut self, input: &Self::Input) -> Result<Answer, Failure> {
        self.0.set_input(input.clone());
        rego_answer(&self.0.eval_rule(RULE.into())?)
    }
}

/// `regorus`, its virtual machine.
pub struct RegoMachine(regorus::rvm::RegoVM);

impl Engine for RegoMachine {
    type Input = regorus::Value;

    fn new() -> Result<Self, Failure> {
        let policy = rego()?.compile_with_entrypoint(&RULE.into())?;
        let program = regorus::languages::rego::compiler::Compiler::compile_from_policy(&policy, &[RULE])
            .map_err(|e| e.to_string())?;
        let mut machine = regorus::rvm::RegoVM::new();
        machine.load_program(program);
        Ok(Self(machine))
    }

    fn read(&self, body: &Value) -> Result<Self::Input, Failure> {
        Ok(regorus::Value::from(body.clone()))
    }

    fn decide(&mut self, input: &Self::Input) -> Result<Answer, Failure> {
        self.0.set_input(input.clone());
        rego_answer(&self.0.execute().map_err(|e| e.to_string())?)
    }
}

/// A decision graph of `zen-engine`.
pub struct Zen(zen_engine::Decision);

impl Engine for Zen {
    type Input = zen_engine::Variable;

    fn new() -> Result<Self, Failure> {
        let expressions = [
            ("mean", "sum(values(context)) / len(values(context))"),
            ("action", "$.mean > 0.5 ? 'call' : 'no_contact'"),
            ("reason", "$.mean > 0.5 ? 'HIGH' : 'LOW'"),
        ];
        let expressions: Vec<Value> = expressions
            .iter()
            .map(|(key, value)| serde_json::json!({ "id": key, "key": key, "value": value }))
            .collect();
        let graph: zen_engine::model::DecisionContent = serde_json::from_value(serde_json::json!({
            "nodes": [
                { "id": "in", "name": "in", "type": "inputNode", "content": {} },
                { "id": "rule", "name": "rule", "type": "expressionNode", "content": { "expressions": expressions } },
                { "id": "out", "name": "out", "type": "outputNode", "content": {} },
            ],
            "edges": [
                { "id": "1", "sourceId": "in", "targetId": "rule" },
                { "id": "2", "sourceId": "rule", "targetId": "out" },
            ],
        }))?;
        let mut decision = zen_engine::DecisionEngine::default().create_decision(Arc::new(graph))?;
        decision.compile();
        Ok(Self(decision))
    }

    fn read(&self, body: &Value) -> Result<Self::Input, Failure> {
        Ok(body.clone().into())
    }

    fn decide(&mut self, input: &Self::Input) -> Result<Answer, Failure> {
        // A deep one: the engine may write into what it is given.
        let answer = futures_executor::block_on(self.0.evaluate(input.depth_clone(2))).map_err(|e| e.to_string())?;
        let text = |key: &str| {
            let value = answer.result.dot(key).and_then(|value| value.as_str().map(str::to_owned));
            value.ok_or_else(|| format!("no {key} in {}", answer.result))
        };
        Ok((text("action")?, text("reason")?))
    }
}

/// An expression of `cel`: one for the action and one for its reason, from the same mean.
pub struct Cel(cel::Program);

impl Engine for Cel {
    type Input = std::collections::HashMap<String, f64>;

    fn new() -> Result<Self, Failure> {
        let sum: Vec<String> = (1..=NUMBERS).map(|n| format!("context.n{n:02}")).collect();
        let source = format!("({}) / {NUMBERS}.0 > 0.5 ? ['call', 'HIGH'] : ['no_contact', 'LOW']", sum.join(" + "));
        Ok(Self(cel::Program::compile(&source).map_err(|e| format!("{e:?}"))?))
    }

    fn read(&self, body: &Value) -> Result<Self::Input, Failure> {
        Ok(serde_json::from_value(body["context"].clone())?)
    }

    fn decide(&mut self, input: &Self::Input) -> Result<Answer, Failure> {
        let mut context = cel::Context::default();
        context.add_variable("context", input.clone()).map_err(|e| e.to_string())?;
        let answer = self.0.execute(&context).map_err(|e| e.to_string())?;
        match &answer {
            cel::Value::List(items) => match &items[..] {
                [cel::Value::String(action), cel::Value::String(reason)] => {
                    Ok((action.to_string(), reason.to_string()))
                }
                _ => Err("two texts are expected".into()),
            },
            other => Err(format!("a list is expected, not {other:?}").into()),
        }
    }
}

fn extism_file() -> Result<PathBuf, Failure> {
    Ok(std::env::var_os("SERIN_PEERS_EXTISM").ok_or("SERIN_PEERS_EXTISM: the plug-in's file is needed")?.into())
}

fn compiled() -> Result<extism::CompiledPlugin, Failure> {
    let manifest = extism::Manifest::new([extism::Wasm::data(std::fs::read(extism_file()?)?)]);
    Ok(extism::CompiledPlugin::new(extism::PluginBuilder::new(manifest))?)
}

fn ask(plugin: &mut extism::Plugin, input: &str) -> Result<Answer, Failure> {
    let answer: Value = serde_json::from_str(plugin.call::<&str, &str>("decide", input)?)?;
    let text = |key: &str| answer[key].as_str().map(str::to_owned).ok_or("two texts are expected");
    Ok((text("action")?, text("reason")?))
}

/// An Extism plug-in whose instance serves one request after the other.
pub struct Extism(extism::Plugin);

impl Engine for Extism {
    type Input = String;

    fn new() -> Result<Self, Failure> {
        Ok(Self(extism::Plugin::new_from_compiled(&compiled()?)?))
    }

    fn read(&self, body: &Value) -> Result<Self::Input, Failure> {
        Ok(body.to_string())
    }

    fn decide(&mut self, input: &Self::Input) -> Result<Answer, Failure> {
        ask(&mut self.0, input)
    }
}

/// An Extism plug-in with a fresh instance a request.
pub struct ExtismFresh(extism::CompiledPlugin);

impl Engine for ExtismFresh {
    type Input = String;

    fn new() -> Result<Self, Failure> {
        Ok(Self(compiled()?))
    }

    fn read(&self, body: &Value) -> Result<Self::Input, Failure> {
        Ok(body.to_string())
    }

    fn decide(&mut self, input: &Self::Input) -> Result<Answer, Failure> {
        ask(&mut extism::Plugin::new_from_compiled(&self.0)?, input)
    }
}
