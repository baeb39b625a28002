//! What is fuzzed: how an input of each target is made, and what has to hold whatever it is.

use std::fmt::Write as _;

use capstan_config::{
    Compiled, Diagnostic, Orb, Severity, Sources, compile, fuzzing, validate_orb,
};
use capstan_model::Trigger;
use capstan_model::trigger::{ParameterValue, Project, Revision, Selection, TriggerKind};

use crate::corpus::Corpus;
use crate::grammar;
use crate::mutate::{self, mutate, noise};
use crate::rng::Rng;

/// Starts the text of an orb in the input of [`Target::Config`]; the reference follows.
const ORB: &str = "#!orb ";
/// Most findings of one kind, with the one that says so.
const MOST_FINDINGS: usize = 510;
/// Longest message.
const LONGEST_MESSAGE: usize = 4_096;

/// A part of the compiler under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Text into a tree.
    Yaml,
    /// A text with tags.
    Template,
    /// A logic statement.
    Logic,
    /// An expression.
    Expression,
    /// The reference of an orb with its version.
    Reference,
    /// An orb by itself.
    Orb,
    /// A config with its orbs.
    Config,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Yaml,
        Self::Template,
        Self::Logic,
        Self::Expression,
        Self::Reference,
        Self::Orb,
        Self::Config,
    ];

    /// Its word on the command line, and the name of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Yaml => "yaml",
            Self::Template => "template",
            Self::Logic => "logic",
            Self::Expression => "expression",
            Self::Reference => "reference",
            Self::Orb => "orb",
            Self::Config => "config",
        }
    }

    /// The target of a word.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }

    /// The input of one run.
    pub fn input(self, corpus: &Corpus, rng: &mut Rng) -> String {
        match self {
            Self::Template => little(rng, grammar::template),
            Self::Expression => little(rng, |rng| {
                let depth = 1 + rng.below(4);
                grammar::expression(rng, depth)
            }),
            Self::Logic => little(rng, |rng| {
                let depth = 1 + rng.below(4);
                format!("when: {}\n", grammar::logic(rng, depth))
            }),
            Self::Reference => little(rng, grammar::reference),
            Self::Yaml if rng.chance(40) => little(rng, grammar::yaml),
            Self::Yaml if rng.chance(60) => {
                let text = config_at(corpus, rng.below(corpus.configs.len()));
                mutate::excerpt(rng, text)
            }
            Self::Yaml if rng.chance(50) => {
                let (text, _) = grammar::config(rng);
                let other = grammar::config(rng).0;
                mutate(rng, &text, &other)
            }
            Self::Yaml => {
                let start = rng.below(corpus.configs.len());
                let (text, other) = (config_at(corpus, start), config_at(corpus, start / 2));
                mutate(rng, text, other)
            }
            Self::Orb => {
                let made = grammar::orb(rng);
                if rng.chance(70) {
                    return mutate(rng, &made, &made);
                }
                let at = rng.below(corpus.orbs.len());
                let real = corpus
                    .orbs
                    .values()
                    .nth(at)
                    .map_or(made.as_str(), String::as_str);
                mutate(rng, real, &made)
            }
            Self::Config => config(corpus, rng),
        }
    }

    /// What of the target does not hold for an input.
    pub fn check(self, input: &str) -> Result<(), String> {
        match self {
            Self::Yaml => {
                fuzzing::readers(input)?;
                let (first, second) = (fuzzing::yaml(input)?, fuzzing::yaml(input)?);
                same(&first, &second)?;
                let sources = Sources::new("config.yml", input);
                findings(&first, &sources)
            }
            Self::Template => twice(input, fuzzing::template),
            Self::Logic => twice(input, fuzzing::logic),
            Self::Expression => twice(input, fuzzing::expression),
            Self::Reference => {
                let text = format!(
                    "version: 2.1\norbs: {{a: {input:?}}}\njobs: {{build: {{machine: true, steps: [a/b]}}}}\n"
                );
                let sources = Sources::new("config.yml", text);
                match compile(&sources, &trigger(0)) {
                    // What is asked for is what was written, unless a tag stood there.
                    Compiled::Missing(asked) if asked == [input] || input.contains("<<") => Ok(()),
                    Compiled::Missing(asked) => Err(format!("asks for {asked:?}")),
                    Compiled::Done { plan, diagnostics } => {
                        done(plan.is_some(), &diagnostics, &sources)
                    }
                }
            }
            Self::Orb => {
                let sources = Sources::new("orb.yml", input);
                match settled(sources, &[], 0, validate_orb)? {
                    (Compiled::Done { plan, diagnostics }, sources) => {
                        done(plan.is_some(), &diagnostics, &sources)
                    }
                    _ => Ok(()),
                }
            }
            Self::Config => check_config(input),
        }
    }
}

fn little(rng: &mut Rng, make: impl Fn(&mut Rng) -> String) -> String {
    let text = make(rng);
    if rng.chance(25) {
        noise(rng, &text)
    } else {
        text
    }
}

fn config_at(corpus: &Corpus, at: usize) -> &str {
    corpus
        .configs
        .get(at)
        .map_or("version: 2.1\n", String::as_str)
}

fn config(corpus: &Corpus, rng: &mut Rng) -> String {
    let other = config_at(corpus, rng.below(corpus.configs.len()));
    let real = rng.chance(20);
    let (text, mut orbs) = if real {
        let text = config_at(corpus, rng.below(corpus.configs.len()));
        (text.to_owned(), references(text))
    } else {
        grammar::config(rng)
    };
    let mut input = if rng.chance(80) {
        mutate(rng, &text, other)
    } else {
        text
    };
    if !input.ends_with('\n') {
        input.push('\n');
    }
    // An orb of the grammar may import any other of the grammar, so all of them are there.
    if orbs.iter().any(|orb| orb.starts_with("t/")) {
        orbs = (0..6)
            .map(|n| format!("t/o{}@{}.0.0", n / 2, n % 2))
            .collect();
    }
    for reference in orbs {
        let known = corpus.orbs.get(&reference);
        let text = match known {
            Some(text) if rng.chance(50) => mutate(rng, text, other),
            Some(text) => text.clone(),
            None if rng.chance(10) => continue,
            None => grammar::orb(rng),
        };
        let _ = write!(input, "{ORB}{reference}\n{text}");
        if !input.ends_with('\n') {
            input.push('\n');
        }
    }
    input
}

/// References of orbs in a text, by line: `  node: circleci/node@5.0.0`.
fn references(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    lines
        .map(|(_, value)| value.trim().trim_matches(['"', '\'']))
        .filter(|value| value.contains('/') && value.contains('@') && !value.contains(' '))
        .map(str::to_owned)
        .take(6)
        .collect()
}

fn trigger(kind: usize) -> Trigger {
    let tag = kind % 3 == 1;
    let mut trigger = Trigger {
        pipeline: "00000000-0000-0000-0000-000000000001"
            .parse()
            .unwrap_or_else(|_| unreachable!("it is a UUID")),
        number: 1,
        actor: String::from("ada"),
        kind: if kind % 3 == 2 {
            TriggerKind::Schedule
        } else {
            TriggerKind::CommandLine
        },
        received_at_ms: 0,
        project: Project::default(),
        revision: Revision {
            branch: (!tag).then(|| String::from("main")),
            tag: tag.then(|| String::from("v1.0.0")),
            ..Revision::default()
        },
        parameters: Default::default(),
        selection: Selection::default(),
        values: Default::default(),
    };
    if kind % 5 == 4 {
        let given = ParameterValue::Untyped(String::from("3"));
        trigger.parameters.insert(String::from("p0"), given);
    }
    trigger
}

fn twice(input: &str, run: impl Fn(&str) -> Result<String, String>) -> Result<(), String> {
    let (first, second) = (run(input), run(input));
    if first != second {
        return Err(format!("first {first:?}, then {second:?}"));
    }
    match first {
        Err(message) if message.len() > input.len() * 2 + LONGEST_MESSAGE => {
            Err(format!("a message of {} bytes", message.len()))
        }
        _ => Ok(()),
    }
}

fn check_config(input: &str) -> Result<(), String> {
    let mut parts = input.split(ORB);
    let config = parts.next().unwrap_or("");
    let orbs: Vec<(&str, &str)> = parts
        .map(|part| part.split_once('\n').unwrap_or((part, "")))
        .collect();
    let kind = input.len();
    let run = || settled(Sources::new("config.yml", config), &orbs, kind, compile);
    let (compiled, sources) = run()?;
    let Compiled::Done { plan, diagnostics } = compiled else {
        return Ok(());
    };
    done(plan.is_some(), &diagnostics, &sources)?;
    // Compiled again for some, as it takes as long again.
    if input.len().is_multiple_of(4) {
        let (
            Compiled::Done {
                plan: other,
                diagnostics: others,
            },
            _,
        ) = run()?
        else {
            return Err(String::from("asks for orbs the second time only"));
        };
        same(&diagnostics, &others)?;
        // NaN is no value of a plan: floats are text there, but for fields of steps, where it is null.
        if plan != other {
            return Err(String::from("the plan differs the second time"));
        }
    }
    match plan {
        Some(plan) => again(&plan.processed, kind),
        None => Ok(()),
    }
}

/// What was processed compiles to itself.
fn again(processed: &str, kind: usize) -> Result<(), String> {
    let sources = Sources::new("processed.yml", processed);
    let mut trigger = trigger(kind);
    trigger.parameters.clear();
    let Compiled::Done { plan, diagnostics } = compile(&sources, &trigger) else {
        return Err(String::from("what was processed asks for orbs"));
    };
    let Some(plan) = plan else {
        let error = diagnostics.iter().find(|d| d.severity == Severity::Error);
        let error = error.map_or("", |d| d.message.as_str());
        return Err(format!(
            "what was processed does not compile: {error}\n{processed}"
        ));
    };
    if body(&plan.processed) == body(processed) {
        Ok(())
    } else {
        Err(format!(
            "what was processed becomes something else:\n{processed}\n=====\n{}",
            plan.processed
        ))
    }
}

fn body(text: &str) -> Vec<&str> {
    let text = text.split("\n# Original config:\n").next().unwrap_or(text);
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

/// Compiles until no more orbs are asked for.
fn settled(
    mut sources: Sources,
    orbs: &[(&str, &str)],
    kind: usize,
    compile: impl Fn(&Sources, &Trigger) -> Compiled,
) -> Result<(Compiled, Sources), String> {
    let trigger = trigger(kind);
    for _ in 0..64 {
        match compile(&sources, &trigger) {
            Compiled::Missing(asked) => {
                for (at, reference) in asked.into_iter().enumerate() {
                    let known = orbs.iter().find(|(name, _)| *name == reference);
                    let answer = match known {
                        Some((name, text)) => Orb::Found {
                            exact: (*name).to_owned(),
                            text: (*text).to_owned(),
                        },
                        None if at % 3 == 1 => Orb::Unavailable(String::from("offline")),
                        None if at % 3 == 2 => Orb::Refused(String::from("not allowed")),
                        None => Orb::NotFound,
                    };
                    sources.add_orb(reference, answer);
                }
            }
            done => return Ok((done, sources)),
        }
    }
    Err(String::from("asks for orbs without end"))
}

fn done(plan: bool, diagnostics: &[Diagnostic], sources: &Sources) -> Result<(), String> {
    findings(diagnostics, sources)?;
    let error = diagnostics.iter().any(|d| d.severity == Severity::Error);
    if plan == error {
        return Err(format!("a plan: {plan}, an error: {error}"));
    }
    Ok(())
}

/// Findings are few, short, and point at text.
fn findings(diagnostics: &[Diagnostic], sources: &Sources) -> Result<(), String> {
    if diagnostics.len() > 2 * MOST_FINDINGS {
        return Err(format!("{} findings", diagnostics.len()));
    }
    for finding in diagnostics {
        let places = [finding.span]
            .into_iter()
            .chain(finding.labels.iter().map(|(span, _)| *span))
            .chain(finding.origin.iter().map(|(_, span)| *span));
        for span in places {
            let text = sources.get(span.file).map(|file| file.text.as_str());
            let range = span.start as usize..span.end as usize;
            if text.and_then(|text| text.get(range)).is_none() {
                return Err(format!("{}: {span:?} is no text", finding.code));
            }
        }
        let texts = [&finding.message, &finding.label]
            .into_iter()
            .chain(&finding.help);
        if let Some(long) = texts.into_iter().find(|text| text.len() > LONGEST_MESSAGE) {
            return Err(format!("{}: a text of {} bytes", finding.code, long.len()));
        }
    }
    Ok(())
}

fn same(first: &[Diagnostic], second: &[Diagnostic]) -> Result<(), String> {
    match first.iter().zip(second).find(|(a, b)| a != b) {
        Some((a, b)) => Err(format!("first {a:?}, then {b:?}")),
        None if first.len() == second.len() => Ok(()),
        None => Err(String::from("another number of findings the second time")),
    }
}
