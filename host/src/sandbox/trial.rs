//! Any component on a host's own engine: what its functions return, and what they ask of the host. For tests of what
//! makes components.

use std::sync::LazyLock;

use wasmtime::component::types::{ComponentItem, Type};
use wasmtime::component::{Component, Linker, Val};
use wasmtime::{Store, StoreContextMut, Trap};

use super::engine::{Engines, Size};

/// More than any call of a test needs.
const FUEL: u64 = 1_000_000_000;

static ENGINES: LazyLock<Engines> = LazyLock::new(|| Engines::new(1).expect("engines"));

/// Calls functions of one instance, each with a number that becomes its arguments: a line for each call of the host,
/// and one for what came. After a trap another instance takes the calls that follow.
///
/// # Errors
/// That it cannot be loaded, or has no such function.
pub(crate) fn trial(component: &[u8], calls: &[(&str, i32)]) -> wasmtime::Result<Vec<String>> {
    let engine = ENGINES.get(Size::Large)?;
    let component = Component::new(engine, component)?;
    let mut linker = Linker::<Vec<String>>::new(engine);
    for (name, item) in component.component_type().imports(engine) {
        let ComponentItem::ComponentFunc(function) = item.ty else { continue };
        let results: Vec<Type> = function.results().collect();
        let known = name.to_owned();
        linker.root().func_new(name, move |mut store: StoreContextMut<'_, Vec<String>>, _, given, answers| {
            let given = shown(given);
            store.data_mut().push(format!("{known}({given})"));
            for (answer, ty) in answers.iter_mut().zip(&results) {
                *answer = value(ty, given.len() as i32);
            }
            Ok(())
        })?;
    }
    let pre = linker.instantiate_pre(&component)?;
    let start = |lines: Vec<String>| {
        let mut store = Store::new(engine, lines);
        store.set_fuel(FUEL)?;
        // An hour of ticks.
        store.set_epoch_deadline(3_600_000);
        let instance = pre.instantiate(&mut store)?;
        Ok::<_, wasmtime::Error>((store, instance))
    };
    let (mut store, mut instance) = start(Vec::new())?;
    for (name, number) in calls {
        let found = instance.get_func(&mut store, *name);
        let function = found.ok_or_else(|| wasmtime::Error::msg(format!("no function '{name}'")))?;
        let ty = function.ty(&store);
        let given: Vec<Val> = ty.params().map(|(_, ty)| value(&ty, *number)).collect();
        let mut came: Vec<Val> = ty.results().map(|_| Val::Bool(false)).collect();
        let called = function.call(&mut store, &given, &mut came);
        let line = match &called {
            Ok(()) => shown(&came),
            Err(error) => match error.downcast_ref::<Trap>() {
                Some(trap) => format!("trap {trap:?}"),
                None => format!("trap {}", error.root_cause()),
            },
        };
        store.data_mut().push(format!("{name}({number}) = {line}"));
        if called.is_err() {
            // A pool of one.
            let lines = store.into_data();
            (store, instance) = start(lines)?;
        }
    }
    Ok(store.into_data())
}

fn value(ty: &Type, number: i32) -> Val {
    match ty {
        Type::String => Val::String(format!("text {number}")),
        _ => Val::S32(number),
    }
}

fn shown(values: &[Val]) -> String {
    let one = |value: &Val| match value {
        Val::S32(number) => number.to_string(),
        Val::String(text) => format!("{text:?}"),
        other => format!("{other:?}"),
    };
    values.iter().map(one).collect::<Vec<_>>().join(", ")
}
