//! Compiling a text for a push to `main`, as most tests want it.

use std::collections::BTreeMap;

use capstan_config::{Compiled, Diagnostic, Orb, Sources, compile};
use capstan_model::Trigger;
use capstan_model::trigger::{Project, Revision, Selection, TriggerKind};

/// The one orb there is, in the one version there is.
const ORB: (&str, &str) = (
    "acme/slack@1.2.3",
    "version: 2.1
commands:
  notify:
    parameters:
      channel: {type: string, default: builds}
      event: {type: enum, enum: [fail, pass], default: fail}
    steps:
      - run: echo << parameters.event >> to << parameters.channel >>
",
);

/// A push to `main`.
fn trigger() -> Trigger {
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

/// What is found in a text that stands where configs stand, with the one orb at hand. Orbs by address are
/// refused, but for those at `down.example`, which cannot be asked.
pub fn compiled(text: &str) -> (Sources, Vec<Diagnostic>) {
    let mut sources = Sources::new(".circleci/config.yml", text);
    loop {
        let names = match compile(&sources, &trigger()) {
            Compiled::Missing(names) => names,
            Compiled::Done { diagnostics, .. } => return (sources, diagnostics),
        };
        for name in names {
            let orb = if name == ORB.0 {
                Orb::Found {
                    exact: name.clone(),
                    text: ORB.1.to_owned(),
                }
            } else if name.starts_with("https://down.example/") {
                Orb::Unavailable(String::from("it is down"))
            } else if name.starts_with("https://") {
                Orb::Refused(String::from("it is nowhere near"))
            } else {
                Orb::NotFound
            };
            sources.add_orb(name, orb);
        }
    }
}
