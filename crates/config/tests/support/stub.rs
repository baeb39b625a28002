//! An orb made up from its uses: empty at first, then with each element and parameter that a compilation
//! finds missing in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use capstan_config::{Compiled, Diagnostic, Orb, Sources};
use capstan_model::Trigger;

use crate::shared::{OrbFolder, compile_with};

type Parameters = BTreeMap<String, String>;

/// A made-up orb.
#[derive(Clone, Default)]
struct Stub {
    /// By section and name.
    elements: BTreeMap<(&'static str, String), Parameters>,
}

/// Stubs by reference.
type Stubs = BTreeMap<String, Stub>;

impl Stub {
    /// Its text.
    fn text(&self) -> String {
        let mut out = String::from("version: 2.1\n");
        for section in ["commands", "jobs", "executors"] {
            let mut elements = self
                .elements
                .iter()
                .filter(|(key, _)| key.0 == section)
                .peekable();
            if elements.peek().is_some() {
                let _ = writeln!(out, "{section}:");
            }
            for ((_, name), parameters) in elements {
                let _ = writeln!(out, "  {name}:");
                if !parameters.is_empty() {
                    let _ = writeln!(out, "    parameters:");
                }
                for (parameter, kind) in parameters {
                    let default = match kind.as_str() {
                        "boolean" => "false",
                        "integer" => "1",
                        "steps" => "[]",
                        "executor" => "made-up",
                        _ => "\"\"",
                    };
                    let _ = writeln!(
                        out,
                        "      \"{parameter}\": {{type: {kind}, default: {default}}}"
                    );
                }
                let _ = match section {
                    "commands" => writeln!(out, "    steps: [checkout]"),
                    "jobs" => writeln!(
                        out,
                        "    docker: [{{image: made/up}}]\n    steps: [checkout]"
                    ),
                    _ => writeln!(out, "    docker: [{{image: made/up}}]"),
                };
            }
        }
        out
    }

    /// Learns from a finding about this orb, whose elements are used as `alias/name`; whether there was
    /// anything to learn.
    fn learn(&mut self, alias: &str, finding: &Diagnostic) -> bool {
        let section = match finding.code {
            "E_UNKNOWN_COMMAND" => "commands",
            "E_UNKNOWN_JOB" => "jobs",
            "E_UNKNOWN_EXECUTOR" => "executors",
            _ => return self.learn_parameter(alias, finding),
        };
        let prefix = format!("{alias}/");
        let name = finding.message.split_whitespace().find_map(|word| {
            let word = word.trim_matches(|c| c == '\'' || c == ',');
            word.strip_prefix(&prefix)
        });
        match name {
            Some(name) => self
                .elements
                .insert((section, name.to_owned()), Parameters::new())
                .is_none(),
            None => false,
        }
    }

    fn learn_parameter(&mut self, alias: &str, finding: &Diagnostic) -> bool {
        let calls = finding.origin.iter().rev();
        let called = calls.filter_map(|(call, _)| call.strip_prefix("calling "));
        let element = called.into_iter().find_map(|call| {
            let (kind, name) = call.split_once(": '")?;
            let name = name
                .strip_suffix('\'')?
                .strip_prefix(&format!("{alias}/"))?;
            let section = match kind {
                "command" => "commands",
                "job" => "jobs",
                "executor" => "executors",
                _ => return None,
            };
            Some((section, name.to_owned()))
        });
        let Some(parameters) = element.and_then(|element| self.elements.get_mut(&element)) else {
            return false;
        };
        match finding.code {
            "E_PARAM_UNEXPECTED" => {
                let Some((_, name)) = finding.message.split_once("Unexpected argument(s): ") else {
                    return false;
                };
                parameters
                    .insert(name.to_owned(), String::from("string"))
                    .is_none()
            }
            "E_PARAM_TYPE" => {
                let Some(rest) = finding.message.strip_prefix("Type error for argument ") else {
                    return false;
                };
                let Some((name, rest)) = rest.split_once(": expected type: ") else {
                    return false;
                };
                let kind = match rest
                    .rsplit("(type ")
                    .next()
                    .map(|t| t.trim_end_matches(')'))
                {
                    Some("boolean") => "boolean",
                    Some("integer") => "integer",
                    Some("list") => "steps",
                    Some("map") => "executor",
                    _ => return false,
                };
                let known = parameters.insert(name.to_owned(), kind.to_owned());
                known.as_deref() != Some(kind)
            }
            _ => false,
        }
    }
}

/// A compilation with every orb it wants, made up where need be.
pub struct Settled {
    pub compiled: Compiled,
    pub sources: Sources,
    /// Whether an orb was made up.
    pub stubbed: bool,
}

/// Compiles a text with the orbs of a folder; those it lacks are made up from their uses.
pub fn settle(
    name: &str,
    text: &str,
    trigger: &Trigger,
    compile: impl Fn(&Sources, &Trigger) -> Compiled,
    orbs: &OrbFolder,
) -> Settled {
    let mut stubs = Stubs::new();
    let mut aliases = aliases(text);
    for _ in 0..40 {
        let sources = Sources::new(name, text);
        let (compiled, sources, absent) = compile_with(sources, trigger, &compile, |reference| {
            match (orbs.find(reference), stubs.get(reference)) {
                (Orb::NotFound, Some(stub)) => Orb::Found {
                    exact: reference.to_owned(),
                    text: stub.text(),
                },
                (orb, _) => orb,
            }
        });
        let Compiled::Done { plan, diagnostics } = &compiled else {
            panic!("asks for orbs that were answered");
        };
        let mut learnt = false;
        for reference in absent {
            // Orbs import orbs under names of their own.
            for file in sources.files().iter().skip(1) {
                aliases.extend(self::aliases(&file.text));
            }
            for (alias, written) in aliases.clone() {
                let tagged = written.contains("<<");
                if tagged && written.split('@').next() == reference.split('@').next() {
                    aliases.push((alias, reference.clone()));
                }
            }
            learnt |= stubs.insert(reference, Stub::default()).is_none();
        }
        learnt |= learn(&mut stubs, diagnostics, &aliases);
        if plan.is_some() || !learnt {
            return Settled {
                compiled,
                sources,
                stubbed: !stubs.is_empty(),
            };
        }
    }
    panic!("{name}: its orbs cannot be made up");
}

/// Teaches the stubs what a compilation found; whether any of them learnt something.
fn learn(stubs: &mut Stubs, findings: &[Diagnostic], aliases: &[(String, String)]) -> bool {
    let mut learnt = false;
    for finding in findings {
        for (alias, reference) in aliases {
            if let Some(stub) = stubs.get_mut(reference) {
                learnt |= stub.learn(alias, finding);
            }
        }
    }
    learnt
}

/// The aliases of a text's `orbs:` with their references, by line: `  node: circleci/node@5`.
fn aliases(text: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for line in text.lines() {
        let line = line.split(" #").next().unwrap_or(line).trim();
        if let Some((alias, reference)) = line.split_once(':') {
            let (alias, reference) = (unquoted(alias), unquoted(reference));
            if reference.contains('/') && reference.contains('@') {
                all.push((alias.to_owned(), reference.to_owned()));
            }
        }
    }
    all
}

fn unquoted(text: &str) -> &str {
    text.trim().trim_matches(|c| c == '"' || c == '\'')
}
