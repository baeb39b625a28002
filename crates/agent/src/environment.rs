//! The variables of a step: those of the place, then ours, then the task's in order, then the step's
//! (platform 2.4).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;

use capstan_model::plan::EnvVar;
use capstan_model::wire::{TaskVar, VarSource};

/// Variables by name; the last word on a name wins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// What the place gave the agent, less what is between it and its executor.
    pub(crate) fn of_place() -> Self {
        let own = [
            "CAPSTAN_AGENT_DIR",
            "CAPSTAN_BIN",
            "CAPSTAN_PLACE",
            "CAPSTAN_STEP_USER",
        ];
        Self(
            std::env::vars_os()
                .filter(|(name, _)| own.iter().all(|own| name != own))
                .collect(),
        )
    }

    /// Sets a variable.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.insert(name.into(), value.into());
    }

    /// A variable as text.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.0
            .get(std::ffi::OsStr::new(name))
            .map(|value| value.to_string_lossy().into_owned())
    }

    /// Adds the task's variables.
    pub(crate) fn extend(&mut self, variables: &[TaskVar]) {
        for variable in variables {
            self.set(&variable.name, &variable.value);
        }
    }

    /// The same with a step's own variables.
    pub(crate) fn with(&self, variables: &[EnvVar]) -> Self {
        let mut all = self.clone();
        for variable in variables {
            all.set(&variable.name, &variable.value);
        }
        all
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&OsString, &OsString)> {
        self.0.iter()
    }
}

/// What the step "Preparing environment variables" prints (platform 2.1).
pub(crate) fn listing(variables: &[TaskVar]) -> String {
    let mut text = String::from("Using build environment variables:\n");
    for variable in variables
        .iter()
        .filter(|variable| variable.source == VarSource::BuiltIn)
    {
        let _ = writeln!(text, "  {}={}", variable.name, variable.value);
    }
    let secret =
        |variable: &&TaskVar| matches!(variable.source, VarSource::Project | VarSource::Context);
    if variables.iter().any(|variable| secret(&variable)) {
        text.push_str("\nUsing environment variables from project settings and/or contexts:\n");
        for variable in variables.iter().filter(secret) {
            let _ = writeln!(text, "  {}=**REDACTED**", variable.name);
        }
    }
    if variables
        .iter()
        .any(|variable| variable.source == VarSource::Job)
    {
        text.push_str("\nUsing environment variables from the job:\n");
        for variable in variables
            .iter()
            .filter(|variable| variable.source == VarSource::Job)
        {
            let _ = writeln!(text, "  {}={}", variable.name, variable.value);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str, value: &str, source: VarSource) -> TaskVar {
        TaskVar {
            name: name.into(),
            value: value.into(),
            source,
        }
    }

    #[test]
    fn the_last_word_wins_and_a_step_has_it() {
        let mut all = Environment::default();
        all.extend(&[
            variable("A", "context", VarSource::Context),
            variable("A", "job", VarSource::Job),
        ]);
        assert_eq!(all.get("A").as_deref(), Some("job"));
        let step = all.with(&[EnvVar {
            name: "A".into(),
            value: "step".into(),
        }]);
        assert_eq!(step.get("A").as_deref(), Some("step"));
        assert_eq!(all.get("A").as_deref(), Some("job"));
    }

    #[test]
    fn secrets_are_listed_without_their_values() {
        let text = listing(&[
            variable("CI", "true", VarSource::BuiltIn),
            variable("TOKEN", "hunter2", VarSource::Context),
        ]);
        assert!(
            text.contains("CI=true") && text.contains("TOKEN=**REDACTED**"),
            "{text}"
        );
        assert!(!text.contains("hunter2"), "{text}");
    }
}
