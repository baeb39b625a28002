//! Compiling a text for a push to `main`, as most tests want it.

use std::collections::BTreeMap;

use capstan_config::{Compiled, Diagnostic, Sources, compile};
use capstan_model::Trigger;
use capstan_model::trigger::{Project, Revision, Selection, TriggerKind};

/// What a config came to.
pub struct Done {
    pub sources: Sources,
    pub diagnostics: Vec<Diagnostic>,
}

/// A push to `main`.
pub fn trigger() -> Trigger {
    Trigger {
        pipeline: "00000000-0000-0000-0000-000000000001".parse().unwrap(),
        number: 1,
        actor: String::from("ada"),
        kind: TriggerKind::CommandLine,
        received_at_ms: 0,
        project: Project::default(),
        revision: Revision {
            branch: Some(String::from("main")),
            ..Revision::default()
        },
        parameters: BTreeMap::new(),
        selection: Selection::default(),
        values: BTreeMap::new(),
    }
}

/// Compiles a text that stands where configs stand; `Err` names the orbs that it asks for.
pub fn compiled(text: &str) -> Result<Done, Vec<String>> {
    let sources = Sources::new(".circleci/config.yml", text);
    match compile(&sources, &trigger()) {
        Compiled::Done { diagnostics, .. } => Ok(Done {
            sources,
            diagnostics,
        }),
        Compiled::Missing(names) => Err(names),
    }
}
