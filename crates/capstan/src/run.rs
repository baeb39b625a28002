//! `capstan run`: what a push would start, here and now.

use std::collections::BTreeMap;

use capstan_model::{Plan, Trigger};
use capstan_server::TriggerError;
use clap::Args;

use crate::args::{ExecutionArgs, TriggerArgs};
use crate::data::{Data, RunFile};
use crate::exit::{Code, Failure};
use crate::orb::sources;
use crate::render::out::complain;
use crate::session::{Session, View, World, block_on, executors, server_failed};
use crate::sockets::Socket;
use crate::{compile, project, select};

/// Arguments of `capstan run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    trigger: TriggerArgs,
    /// Check out this commit in jobs, instead of the files as they stand
    #[arg(long = "ref", value_name = "COMMIT")]
    reference: Option<String>,
    #[command(flatten)]
    execution: ExecutionArgs,
}

/// Runs the subcommand.
///
/// # Errors
/// There was no run.
pub fn main(args: &RunArgs) -> Result<Code, Failure> {
    let worktree = project::find(args.trigger.config.as_deref())?;
    let worktree = project::at(worktree, args.reference.as_deref())?;
    let orbs = sources::of(&args.trigger.values.orbs, args.execution.json)?;
    let world = World::of(&args.execution, orbs.clone())?;
    let mut trigger = project::trigger(&worktree, &args.trigger, 1);
    let data = Data::locate()?;
    trigger.number = match args.trigger.values.pipeline_number {
        Some(number) => number,
        None => data.next_number(worktree.root())?,
    };
    // Compiled before anything exists: a mistake in the config leaves no run behind, and where jobs run is
    // decided by what they ask for.
    let done = compile::project_config(&worktree, trigger, &*orbs)?;
    compile::accept(&done.diagnostics, &done.sources, args.execution.json)?;
    let Some(plan) = &done.plan else {
        return Err(Failure::told(Code::Config));
    };
    let trigger = &done.trigger;
    select::check(plan, &trigger.selection)?;
    select::check_approvals(plan, &args.execution.approve)?;
    warn_of_unknown_contexts(plan, &world.contexts);
    if !anything_runs(plan) {
        complain("nothing to run: every workflow or job is skipped; `capstan plan` says why");
        return Ok(Code::Success);
    }
    let socket = Socket::place()?;
    let run = data.create(RunFile {
        pipeline: trigger.pipeline,
        number: trigger.number,
        root: worktree.root().to_owned(),
        config_path: worktree.config_path().to_owned(),
        label: label(trigger),
        started_at_ms: trigger.received_at_ms,
        status: None,
        socket: socket.path().to_owned(),
    })?;
    block_on(async {
        let choice = args.execution.executor;
        let json = args.execution.json;
        let chosen = executors::choose(choice, done.plan.as_deref(), json, &run.directory).await;
        let executors = match chosen {
            Ok(executors) => executors,
            Err(failure) => {
                let _ = std::fs::remove_dir_all(&run.directory);
                return Err(failure);
            }
        };
        let mut session = Session::start(worktree, run, socket, &args.execution, world).await?;
        // Before there is anything to do, so that it is not waited for.
        session.start_runner(executors)?;
        let triggered = match session.server.trigger_compiled(done).await {
            Ok(triggered) => triggered,
            Err(error) => {
                let failure = match &error {
                    TriggerError::Apply(error) => session.why_not(error),
                    other => server_failed(other),
                };
                session.give_up().await;
                return Err(failure);
            }
        };
        session.follow(triggered.pipeline, View::default()).await
    })?
}

fn label(trigger: &Trigger) -> String {
    let revision = &trigger.revision;
    revision
        .tag
        .clone()
        .or_else(|| revision.branch.clone())
        .unwrap_or_default()
}

fn anything_runs(plan: &Plan) -> bool {
    plan.workflows
        .iter()
        .filter(|workflow| workflow.decision.runs)
        .any(|workflow| workflow.jobs.iter().any(|job| job.decision.runs))
}

/// A context nobody gave is no reason to stop: most jobs that name one run without it well enough to see
/// what they do.
pub fn warn_of_unknown_contexts<V>(plan: &Plan, known: &BTreeMap<String, V>) {
    let mut warned = std::collections::BTreeSet::new();
    for workflow in plan
        .workflows
        .iter()
        .filter(|workflow| workflow.decision.runs)
    {
        for job in workflow.jobs.iter().filter(|job| job.decision.runs) {
            for context in &job.contexts {
                if !known.contains_key(context) && warned.insert(context) {
                    complain(&format!(
                        "warning: job {} uses the context {context}, which is not given and left out\n  help: --context {context}=FILE gives it",
                        job.name
                    ));
                }
            }
        }
    }
}
