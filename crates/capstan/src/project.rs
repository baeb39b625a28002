//! From arguments to a trigger: the project one stands in, and what was asked of it.

use std::collections::BTreeMap;

use capstan_model::trigger::{ParameterValue, Selection, TriggerKind};
use capstan_model::{PipelineId, Trigger};
use capstan_scm::{ForgeError, Worktree};

use crate::args::{ExecutionArgs, TriggerArgs, ValueArgs};
use crate::data::now_ms;
use crate::dotenv::{self, Variables};
use crate::exit::Failure;

/// Finds the project of the current directory.
///
/// # Errors
/// There is no current directory.
pub fn find(config: Option<&std::path::Path>) -> Result<Worktree, Failure> {
    let here = std::path::Path::new(".");
    Worktree::discover(here, config)
        .map_err(|error| Failure::setup(format!("cannot read the current directory: {error}")))
}

/// The project with the sources of a commit, if one was asked for.
///
/// # Errors
/// There is no such commit.
pub fn at(worktree: Worktree, reference: Option<&str>) -> Result<Worktree, Failure> {
    match reference {
        None => Ok(worktree),
        Some(reference) => worktree.at(reference).map_err(|error| {
            Failure::config(error.to_string()).hint("--ref takes a commit, branch or tag")
        }),
    }
}

/// The trigger of a run.
pub fn trigger(worktree: &Worktree, args: &TriggerArgs, number: u64) -> Trigger {
    let mut revision = worktree.revision();
    let ValueArgs {
        branch,
        tag,
        params,
        ..
    } = &args.values;
    if tag.is_some() {
        revision.branch = None;
        revision.tag.clone_from(tag);
    } else if branch.is_some() {
        revision.branch.clone_from(branch);
    }
    let untyped =
        |(name, value): &(String, String)| (name.clone(), ParameterValue::Untyped(value.clone()));
    Trigger {
        pipeline: PipelineId(uuid::Uuid::new_v4()),
        number,
        actor: actor(),
        kind: TriggerKind::CommandLine,
        received_at_ms: now_ms(),
        project: worktree.project(),
        revision,
        parameters: params.iter().map(untyped).collect(),
        selection: Selection {
            workflows: args.workflows.clone(),
            jobs: args.jobs.clone(),
        },
        values: BTreeMap::new(),
    }
}

/// The person at the keyboard.
pub fn actor() -> String {
    let named = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    named("USER")
        .or_else(|| named("LOGNAME"))
        .unwrap_or_else(|| String::from("local"))
}

/// Variables for every job: files first, then single ones over them.
///
/// # Errors
/// A file or an argument is not what it should be.
pub fn variables(args: &ExecutionArgs) -> Result<Variables, Failure> {
    let mut variables = Variables::new();
    for path in &args.env_files {
        for (name, value) in dotenv::read(path).map_err(Failure::config)? {
            dotenv::put(&mut variables, &name, value.expose().clone());
        }
    }
    for text in &args.env {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => {
                let value = std::env::var(text).map_err(|_| {
                    Failure::config(format!("--env {text}: it is not set in your environment"))
                        .hint(format!("--env {text}=VALUE"))
                })?;
                (text.as_str(), value)
            }
        };
        dotenv::check_name(name).map_err(|what| Failure::config(format!("--env: {what}")))?;
        dotenv::put(&mut variables, name, value);
    }
    Ok(variables)
}

/// Contexts by name. One given twice holds the variables of both files.
///
/// # Errors
/// A file is not what it should be.
pub fn contexts(args: &ExecutionArgs) -> Result<BTreeMap<String, Variables>, Failure> {
    let mut contexts: BTreeMap<String, Variables> = BTreeMap::new();
    for (name, path) in &args.contexts {
        let read = dotenv::read(std::path::Path::new(path)).map_err(Failure::config)?;
        let context = contexts.entry(name.clone()).or_default();
        for (name, value) in read {
            dotenv::put(context, &name, value.expose().clone());
        }
    }
    Ok(contexts)
}

/// A config that could not be read, with what to do about it.
pub fn unreadable(error: &ForgeError) -> Failure {
    match error {
        ForgeError::NotFound { path, .. } if path == ".circleci/config.yml" => {
            Failure::config(error.to_string())
                .hint("run it in a project that has one, or name the file: --config PATH")
        }
        ForgeError::NotFound { .. } | ForgeError::Unreadable { .. } => {
            Failure::config(error.to_string())
                .hint("name a config that can be read, by default .circleci/config.yml")
        }
        ForgeError::Failed(_) => Failure::setup(error.to_string()),
    }
}
