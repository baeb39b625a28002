//! Orb commands that run natively (language 14.7): their own steps call a fixed https host, so they
//! cannot work on a laptop or on another server. What was processed keeps those steps; the plan holds one
//! native step in their place, and a note says so.

use capstan_model::Span;
use capstan_model::plan::{ContinueStep, Step, StepKind, When};
use capstan_model::source::OriginKind;

use crate::ast::Definition;
use crate::compiler::{Compiler, Scope};
use crate::expand::steps::Expanded;

/// Makes the native step of a call out of the values of its parameters.
type Make = fn(&Values<'_>) -> StepKind;

/// The commands: the orb without its version, the command, and what runs instead.
const TABLE: &[(&str, &str, Make)] = &[
    ("circleci/continuation", "continue", continue_with_config),
    ("circleci/continuation", "finish", finish),
];

/// The parameters of a call by name.
struct Values<'a>(&'a Scope);

impl Values<'_> {
    fn text(&self, name: &str) -> Option<String> {
        let value = self.0.parameters.as_ref()?.get(name)?;
        value.source_text().filter(|text| !text.is_empty())
    }
}

fn continue_with_config(values: &Values<'_>) -> StepKind {
    StepKind::Continue(Box::new(ContinueStep {
        configuration: Some(values.text("configuration_path").unwrap_or_default()),
        parameters: values
            .text("parameters")
            .unwrap_or_else(|| String::from("{}")),
        files_changed: values.text("files_changed"),
        parameter_for_files_changed: values.text("parameter_for_files_changed"),
    }))
}

fn finish(_: &Values<'_>) -> StepKind {
    StepKind::Continue(Box::new(ContinueStep {
        configuration: None,
        parameters: String::from("{}"),
        files_changed: None,
        parameter_for_files_changed: None,
    }))
}

impl Compiler<'_> {
    /// Puts a native step in the place of the steps from `first` on, if the command has one.
    pub(crate) fn native(
        &mut self,
        definition: &Definition,
        scope: &Scope,
        first: usize,
        span: Span,
        out: &mut Vec<Expanded>,
    ) {
        let Some(space) = self
            .space(definition.space)
            .filter(|_| definition.space.is_orb())
        else {
            return;
        };
        let orb = space.reference.split('@').next().unwrap_or("");
        let found = TABLE
            .iter()
            .find(|(name, command, _)| *name == orb && *command == definition.name);
        let Some((orb, command, make)) = found else {
            return;
        };
        let when = match Values(scope).text("when").as_deref() {
            Some("on_fail") => When::OnFail,
            Some("always") => When::Always,
            _ => When::OnSuccess,
        };
        for step in out.iter_mut().skip(first) {
            step.step = None;
        }
        let message = format!("{orb}/{command} runs natively: it needs no curl, token or network");
        // Where the config itself is, even if another orb makes the call.
        let place = self.place_in_config(span);
        self.warn("W_NATIVE", message, place);
        let kind = make(&Values(scope));
        let origin = self.within(OriginKind::Shim(format!("{orb}/{command}")), span, |this| {
            this.written(span)
        });
        out.push(Expanded {
            processed: None,
            step: Some(Step {
                name: None,
                kind,
                when,
                origin,
            }),
            built_in: "continue",
            span,
        });
    }
}
