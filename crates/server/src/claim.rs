//! What a runner gets: the next task, everything it needs to run it, and a lease.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use capstan_engine::{Event, TaskState};
use capstan_model::plan::{BuildJob, Executor, Job};
use capstan_model::wire::{Assignment, Claim, TaskSpec, TaskVar, VarSource};
use capstan_model::{Digest, PipelineId, TaskId, WorkflowId};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Inner;
use crate::driver::{Live, lock, now_ms};
use crate::error::ApplyError;

/// The longest a claim is held open.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Tasks offered to runners, first come first served. A cache of the rows in state `queued`.
#[derive(Default)]
pub(crate) struct Queue {
    offers: Mutex<VecDeque<(PipelineId, TaskId)>>,
    arrived: Notify,
}

impl Queue {
    pub(crate) fn push(&self, pipeline: PipelineId, task: TaskId) {
        lock(&self.offers).push_back((pipeline, task));
        self.arrived.notify_one();
    }

    pub(crate) fn withdraw(&self, task: TaskId) {
        lock(&self.offers).retain(|(_, other)| *other != task);
    }

    fn pop(&self) -> Option<(PipelineId, TaskId)> {
        let mut offers = lock(&self.offers);
        let offer = offers.pop_front();
        if !offers.is_empty() {
            // One wake-up may stand for several arrivals; pass it on.
            self.arrived.notify_one();
        }
        offer
    }
}

impl Inner {
    /// Waits for a task and lends it to the runner; `None` when there was none in time.
    pub(crate) async fn claim(
        self: &Arc<Self>,
        claim: Claim,
    ) -> Result<Option<Assignment>, ApplyError> {
        let until = Instant::now() + Duration::from_millis(claim.wait_ms).min(WAIT_MAX);
        loop {
            while let Some((pipeline, task)) = self.queue.pop() {
                let (inner, claim) = (Arc::clone(self), claim.clone());
                // On its own: a runner that hangs up in the middle must not take the task with it.
                let lent = tokio::spawn(async move { inner.lend(&claim, pipeline, task).await });
                match lent.await {
                    Ok(Ok(Some(assignment))) => return Ok(Some(assignment)),
                    Ok(Ok(None)) => {}
                    Ok(Err(error)) => return Err(error),
                    Err(error) => return Err(ApplyError::Illegal(error.to_string())),
                }
            }
            if tokio::time::timeout_at(until, self.queue.arrived.notified())
                .await
                .is_err()
            {
                return Ok(None);
            }
        }
    }

    async fn lend(
        self: &Arc<Self>,
        claim: &Claim,
        pipeline: PipelineId,
        task: TaskId,
    ) -> Result<Option<Assignment>, ApplyError> {
        let live = self.live(pipeline)?;
        let workflow = {
            let known = lock(&live.known);
            match known.tasks.get(&task) {
                Some(row) if matches!(row.state, TaskState::Queued { .. }) => row.workflow,
                // Withdrawn, or offered twice.
                _ => return Ok(None),
            }
        };
        let lease_epoch = lock(&self.held).get(&task).map_or(0, |held| held.epoch) + 1;
        let assignment = self.assignment(&live, workflow, task, lease_epoch)?;
        let lease = i64::try_from(self.settings.lease_ms).unwrap_or(i64::MAX);
        let event = Event::Claimed {
            task,
            runner: claim.runner,
            lease_epoch,
            lease_until_ms: now_ms().saturating_add(lease),
        };
        match self.apply(pipeline, event, Vec::new()).await {
            Ok(()) => Ok(Some(assignment)),
            Err(ApplyError::Illegal(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn assignment(
        &self,
        live: &Live,
        workflow: WorkflowId,
        task: TaskId,
        lease_epoch: u64,
    ) -> Result<Assignment, ApplyError> {
        let facts = facts(live, workflow, task)?;
        let pinned = live.plan_of(workflow);
        let (job, build) = pinned
            .as_ref()
            .and_then(|pinned| pinned.build_job(&facts.workflow_name, &facts.job_name))
            .ok_or_else(|| {
                ApplyError::Illegal(format!("the plan has no job {}", facts.job_name))
            })?;
        let (secrets, mask) = self.secrets(job);
        let executor = resolved(&build.executor, &secrets);
        let user = match &executor {
            Executor::Docker(containers) => containers.first().and_then(|first| first.user.clone()),
            Executor::Machine { .. } | Executor::Macos { .. } => None,
        };
        let mut environment = secrets;
        environment.extend(built_in(live, &facts, build, task, workflow));
        environment.extend(build.environment.iter().map(|var| TaskVar {
            name: var.name.clone(),
            value: var.value.clone(),
            source: VarSource::Job,
        }));
        Ok(Assignment {
            task,
            pipeline: live.id,
            workflow,
            job: task.job,
            job_name: facts.job_name,
            lease_epoch,
            lease_ms: self.settings.lease_ms,
            executor,
            resource_class: build.resource_class.clone(),
            spec: TaskSpec {
                steps: build.steps.clone(),
                environment,
                shell: build.shell.clone(),
                working_directory: build.working_directory.clone(),
                user,
                max_run_time_ms: self.settings.max_run_time_ms,
            },
            mask,
            notes: self.notes(job),
        })
    }

    /// What the log of a job says of the contexts that are not here.
    fn notes(&self, job: &Job) -> Vec<String> {
        let known = &self.settings.contexts;
        let missing = job
            .contexts
            .iter()
            .filter(|name| !known.contains_key(*name));
        missing
            .map(|name| {
                format!(
                    "Warning: the context {name} is not given; the job runs without its variables"
                )
            })
            .collect()
    }

    /// Variables of the project, then of the job's contexts, and the values to mask. A context that is
    /// not there is passed over, and warned of in the job's log.
    fn secrets(&self, job: &Job) -> (Vec<TaskVar>, Vec<String>) {
        let contexts = job
            .contexts
            .iter()
            .filter_map(|name| self.settings.contexts.get(name));
        let vars: Vec<TaskVar> = self
            .settings
            .project_vars
            .iter()
            .map(|var| (var, VarSource::Project))
            .chain(contexts.flatten().map(|var| (var, VarSource::Context)))
            .map(|((name, value), source)| TaskVar {
                name: name.clone(),
                // Handed to the runner of this very task, which masks it.
                value: value.expose().clone(),
                source,
            })
            .collect();
        let mut mask: Vec<String> = vars.iter().map(|var| var.value.clone()).collect();
        mask.sort_unstable();
        mask.dedup();
        (vars, mask)
    }
}

struct Facts {
    workflow_name: String,
    job_name: String,
    original: WorkflowId,
    number: Option<u64>,
}

fn facts(live: &Live, workflow: WorkflowId, task: TaskId) -> Result<Facts, ApplyError> {
    let known = lock(&live.known);
    let (Some(row), Some(job)) = (
        known.workflows.get(&workflow),
        known.jobs.get(&(workflow, task.job)),
    ) else {
        return Err(ApplyError::Illegal(format!("task {task} has no job")));
    };
    let mut original = workflow;
    while let Some(of) = known.workflows.get(&original).and_then(|row| row.rerun_of) {
        original = of;
    }
    Ok(Facts {
        workflow_name: row.name.clone(),
        job_name: job.name.clone(),
        original,
        number: known.numbers.get(&task.job).copied(),
    })
}

/// The variables of platform 2.3 that are known here.
fn built_in(
    live: &Live,
    facts: &Facts,
    build: &BuildJob,
    task: TaskId,
    workflow: WorkflowId,
) -> Vec<TaskVar> {
    let trigger = &live.trigger;
    let project = &trigger.project;
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let values = [
        ("CI", some("true")),
        ("CIRCLECI", some("true")),
        (
            "CIRCLE_BRANCH",
            trigger
                .revision
                .branch
                .clone()
                .filter(|_| trigger.revision.tag.is_none()),
        ),
        ("CIRCLE_TAG", trigger.revision.tag.clone()),
        ("CIRCLE_SHA1", trigger.revision.sha.clone()),
        (
            "CIRCLE_BUILD_NUM",
            facts.number.map(|number| number.to_string()),
        ),
        ("CIRCLE_JOB", some(&facts.job_name)),
        ("CIRCLE_NODE_INDEX", Some(task.node.to_string())),
        ("CIRCLE_NODE_TOTAL", Some(build.parallelism.to_string())),
        (
            "CIRCLE_ORGANIZATION_ID",
            some(&project.owner).map(|_| {
                stable_id(
                    "organization",
                    &format!("{}/{}", project.provider, project.owner),
                )
            }),
        ),
        (
            "CIRCLE_PROJECT_ID",
            some(&project.slug).map(|slug| stable_id("project", &slug)),
        ),
        ("CIRCLE_PIPELINE_ID", Some(live.id.to_string())),
        ("CIRCLE_WORKFLOW_ID", Some(workflow.to_string())),
        ("CIRCLE_WORKFLOW_JOB_ID", Some(task.job.to_string())),
        (
            "CIRCLE_WORKFLOW_WORKSPACE_ID",
            Some(facts.original.to_string()),
        ),
        ("CIRCLE_WORKING_DIRECTORY", some(&build.working_directory)),
        ("CIRCLE_PROJECT_USERNAME", some(&project.owner)),
        ("CIRCLE_PROJECT_REPONAME", some(&project.name)),
        ("CIRCLE_REPOSITORY_URL", some(&project.clone_url)),
        ("CIRCLE_USERNAME", some(&trigger.actor)),
    ];
    values
        .into_iter()
        .filter_map(|(name, value)| {
            Some(TaskVar {
                name: name.to_owned(),
                value: value?,
                source: VarSource::BuiltIn,
            })
        })
        .collect()
}

/// An id made of a name, the same on every run.
fn stable_id(kind: &str, name: &str) -> String {
    let digest: Digest = capstan_store::blobs::digest(format!("{kind}:{name}").as_bytes());
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digest.as_str().as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).unwrap_or("0");
        *byte = u8::from_str_radix(pair, 16).unwrap_or(0);
    }
    uuid::Builder::from_custom_bytes(bytes)
        .into_uuid()
        .to_string()
}

/// The executor with `$VAR` in images and logins replaced by what the project and the contexts say.
fn resolved(executor: &Executor, vars: &[TaskVar]) -> Executor {
    let mut executor = executor.clone();
    if let Executor::Docker(containers) = &mut executor {
        for container in containers {
            container.image = expand(&container.image, vars);
            if let Some(auth) = &mut container.auth {
                auth.username = expand(&auth.username, vars);
                auth.password = expand(&auth.password, vars);
            }
        }
    }
    executor
}

/// Replaces `$NAME` and `${NAME}`; the last variable of a name wins, an unknown one becomes empty.
fn expand(text: &str, vars: &[TaskVar]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let (name, next) = match after
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'))
        {
            Some(braced) => braced,
            None => {
                let end = after
                    .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .unwrap_or(after.len());
                after.split_at(end)
            }
        };
        if name.is_empty() {
            out.push('$');
        } else if let Some(var) = vars.iter().rev().find(|var| var.name == name) {
            out.push_str(&var.value);
        }
        rest = next;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_in_logins_are_replaced() {
        let var = |name: &str, value: &str| TaskVar {
            name: name.into(),
            value: value.into(),
            source: VarSource::Context,
        };
        let vars = [var("A", "old"), var("A", "new"), var("B_1", "b")];
        for (text, wanted) in [
            ("$A", "new"),
            ("x${A}y", "xnewy"),
            ("$B_1/$A:1", "b/new:1"),
            ("pa$$", "pa$$"),
            ("$NONE!", "!"),
            ("plain", "plain"),
        ] {
            assert_eq!(expand(text, &vars), wanted, "{text}");
        }
    }

    #[test]
    fn a_stable_id_is_a_uuid_and_stays_the_same() {
        let id = stable_id("project", "gh/o/r");
        assert_eq!(id, stable_id("project", "gh/o/r"));
        assert_ne!(id, stable_id("project", "gh/o/s"));
        assert!(uuid::Uuid::parse_str(&id).is_ok());
    }
}
