//! Which executor jobs get.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use capstan_model::Plan;
use capstan_model::plan::{Executor as Place, JobKind};
use capstan_runner::HostExecutor;
use capstan_runner::executor::Executor;
use capstan_runner::executor::docker::{DockerExecutor, DockerSettings};

use crate::args::ExecutorChoice;
use crate::data::Run;
use crate::exit::Failure;

/// What runs container jobs, and what runs machine jobs.
pub struct Executors {
    /// For `docker:`.
    pub docker: Option<Arc<dyn Executor>>,
    /// For `machine:`.
    pub machine: Option<Arc<dyn Executor>>,
}

/// Chooses. Asks only when a person is there to answer.
///
/// # Errors
/// A job needs Docker, and there is none.
pub async fn choose(
    choice: ExecutorChoice,
    plan: Option<&Plan>,
    json: bool,
    directory: &Path,
) -> Result<Executors, Failure> {
    let run = directory.file_name().unwrap_or_default().to_string_lossy();
    let host = || -> Result<Arc<dyn Executor>, Failure> {
        let [places, bin] = ["places", "bin"].map(|name| Run::shared(directory, name));
        let executor = HostExecutor::new(places, &run, &bin)
            .map_err(|error| Failure::setup(format!("jobs cannot run on this machine: {error}")))?;
        Ok(Arc::new(executor))
    };
    // What a setup config continues with is not known yet, and may want containers.
    let certain = plan.is_some_and(needs_docker);
    if choice == ExecutorChoice::Host || !(certain || plan.is_some_and(|plan| plan.setup)) {
        let host = host()?;
        return Ok(Executors {
            docker: Some(Arc::clone(&host)),
            machine: Some(host),
        });
    }
    let agent = capstan_runner::agent_bin::agent()
        .map_err(|error| Failure::setup(format!("there is no agent for containers: {error}")))?;
    let settings = DockerSettings {
        run: run.to_string(),
        agent: agent.program,
        agent_args: agent
            .args
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect(),
    };
    match DockerExecutor::connect(settings).await {
        Ok(docker) => Ok(Executors {
            docker: Some(Arc::new(docker)),
            machine: Some(host()?),
        }),
        Err(_) if choice == ExecutorChoice::Auto && !certain => Ok(Executors {
            docker: None,
            machine: Some(host()?),
        }),
        Err(error) => {
            let person = std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && !json;
            if choice == ExecutorChoice::Auto && person && ask(&error.to_string()) {
                let host = host()?;
                return Ok(Executors {
                    docker: Some(Arc::clone(&host)),
                    machine: Some(host),
                });
            }
            Err(Failure::setup(format!(
                "jobs of this run need containers, and Docker does not answer: {error}"
            ))
            .hint("start Docker, or Podman with its socket; DOCKER_HOST names another one")
            .hint("--executor host runs container jobs on this machine, with its tools"))
        }
    }
}

fn needs_docker(plan: &Plan) -> bool {
    plan.workflows
        .iter()
        .filter(|workflow| workflow.decision.runs)
        .flat_map(|workflow| &workflow.jobs)
        .filter(|job| job.decision.runs)
        .any(|job| match &job.kind {
            JobKind::Build(build) => matches!(build.executor, Place::Docker(_)),
            JobKind::Approval | JobKind::NoOp => false,
        })
}

fn ask(error: &str) -> bool {
    let mut out = std::io::stdout();
    let question = format!(
        "Docker does not answer ({error}).\nRun container jobs on this machine, with its tools? [y/N] "
    );
    if out
        .write_all(question.as_bytes())
        .and_then(|()| out.flush())
        .is_err()
    {
        return false;
    }
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.is_ok() && matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}
