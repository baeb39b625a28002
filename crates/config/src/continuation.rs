//! The parameters of a pipeline that continues with a second config (language 3.12, 14.3).

use std::collections::BTreeMap;

use capstan_model::trigger::{ParameterValue, Selection};
use capstan_model::{Plan, Trigger};

/// Most parameters of one continuation, and the longest name and value in characters.
const MAX_PARAMETERS: usize = 100;
const MAX_NAME: usize = 128;
const MAX_VALUE: usize = 512;

/// The trigger that a second config is compiled for: the one of the setup plan, with the parameters that
/// were passed on.
///
/// # Errors
/// The parameters may not be passed on; why, in words.
pub fn continued(
    setup: &Plan,
    trigger: &Trigger,
    passed: &BTreeMap<String, ParameterValue>,
) -> Result<Trigger, String> {
    if passed.len() > MAX_PARAMETERS {
        return Err(format!(
            "a pipeline takes at most {MAX_PARAMETERS} parameters"
        ));
    }
    for (name, value) in passed {
        let long = match value {
            ParameterValue::String(text) | ParameterValue::Untyped(text) => {
                text.chars().count() > MAX_VALUE
            }
            ParameterValue::Integer(_) | ParameterValue::Boolean(_) => false,
        };
        if name.chars().count() > MAX_NAME || long {
            let name: String = name.chars().take(MAX_NAME).collect();
            return Err(format!(
                "the parameter {name} is too long: names hold {MAX_NAME} characters, values {MAX_VALUE}"
            ));
        }
    }
    let conflicts: Vec<&str> = setup
        .parameters
        .iter()
        .filter(|declared| {
            trigger.parameters.contains_key(&declared.name)
                && passed.contains_key(&declared.name)
                && declared.value != declared.default
        })
        .map(|declared| declared.name.as_str())
        .collect();
    if !conflicts.is_empty() {
        return Err(format!(
            "Conflicting pipeline parameters. The trigger and the continuation both give {}",
            conflicts.join(", ")
        ));
    }
    let mut trigger = trigger.clone();
    trigger.parameters.extend(passed.clone());
    // What was asked for of the setup config says nothing of the second one.
    trigger.selection = Selection::default();
    Ok(trigger)
}
