//! Trigger → compiled → stored → first event: one function for every way a pipeline is asked for.

use std::sync::Arc;

use capstan_config::{Diagnostic, Severity, Sources};
use capstan_engine::event::{NewWorkflow, PlanRef};
use capstan_engine::{Event, Pipeline};
use capstan_model::plan::{JobKind, StepKind};
use capstan_model::source::line_column;
use capstan_model::{Digest, JobId, PipelineId, Plan, Trigger, WorkflowId};
use capstan_store::{Store, StoreError};
use tokio::io::AsyncReadExt;
use uuid::Uuid;

use crate::Inner;
use crate::compile::{Done, compile};
use crate::driver::{Live, lock};
use crate::error::{ApplyError, TriggerError};

/// Bytes of sources taken at once.
const PART: usize = 256 << 10;

/// What a trigger made.
#[derive(Debug)]
pub struct Triggered {
    /// The pipeline.
    pub pipeline: PipelineId,
    /// The plan; `None` when the config was rejected.
    pub plan: Option<Arc<Plan>>,
    /// Everything the compiler found.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts the diagnostics point into.
    pub sources: Sources,
    /// The workflows that were made, by name, in plan order.
    pub workflows: Vec<(String, WorkflowId)>,
}

impl Inner {
    pub(crate) async fn trigger(
        self: &Arc<Self>,
        trigger: Trigger,
    ) -> Result<Triggered, TriggerError> {
        let path = &self.settings.config_path;
        let text = self
            .settings
            .forge
            .read_file(&trigger.revision, path)
            .await
            .map_err(TriggerError::Config)?;
        let sources = Sources::new(path.clone(), text);
        let orbs = &*self.settings.orbs;
        let compiled = compile(capstan_config::compile, sources, trigger, orbs).await;
        self.trigger_compiled(compiled.map_err(TriggerError::Internal)?)
            .await
    }

    pub(crate) async fn trigger_compiled(
        self: &Arc<Self>,
        compiled: Done,
    ) -> Result<Triggered, TriggerError> {
        let Done {
            sources,
            trigger,
            plan,
            diagnostics,
        } = compiled;
        let pipeline = trigger.pipeline;
        if lock(&self.live).contains_key(&pipeline) {
            return Err(TriggerError::Exists(pipeline));
        }
        let errors: Vec<String> = diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity != Severity::Warning)
            .map(|diagnostic| located(&sources, diagnostic))
            .collect();
        let mut workflows = Vec::new();
        let plan = plan
            .filter(|_| errors.is_empty())
            .map(|plan| Arc::new(*plan));
        let event = match &plan {
            None => {
                let mut errors = errors;
                if errors.is_empty() {
                    errors.push(String::from("the config makes no plan"));
                }
                Event::Rejected {
                    trigger: Box::new(trigger),
                    errors,
                }
            }
            Some(plan) => {
                let (digest, source) =
                    tokio::try_join!(self.put_plan(plan), self.put_source(plan, &trigger))?;
                let new = new_workflows(plan, &mut workflows);
                Event::Planned {
                    trigger: Box::new(trigger),
                    plan: PlanRef {
                        digest,
                        plan: Some(Arc::clone(plan)),
                    },
                    source,
                    workflows: new,
                }
            }
        };
        self.begin(pipeline, event).await?;
        Ok(Triggered {
            pipeline,
            plan,
            diagnostics,
            sources,
            workflows,
        })
    }

    /// Makes a pipeline out of its first event.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        pipeline: PipelineId,
        event: Event,
    ) -> Result<(), ApplyError> {
        let live = Arc::new(Live::new(&event, Pipeline::new(pipeline), 0, 0)?);
        lock(&self.live).insert(pipeline, live);
        let begun = self.apply(pipeline, event, Vec::new()).await;
        if begun.is_err() {
            lock(&self.live).remove(&pipeline);
        }
        begun
    }

    pub(crate) async fn put_plan(&self, plan: &Arc<Plan>) -> Result<Digest, TriggerError> {
        tokio::task::block_in_place(|| {
            let json = serde_json::to_vec(&**plan)
                .map_err(|error| TriggerError::Internal(error.to_string()))?;
            self.store
                .blobs()
                .put(&json)
                .map_err(|error| TriggerError::Apply(error.into()))
        })
    }

    /// Pins the sources, if a job that takes part checks them out.
    pub(crate) async fn put_source(
        &self,
        plan: &Plan,
        trigger: &Trigger,
    ) -> Result<Option<Digest>, TriggerError> {
        if !checks_out(plan) {
            return Ok(None);
        }
        let mut stream = self
            .settings
            .forge
            .open_source(&trigger.revision)
            .await
            .map_err(|error| TriggerError::Source(error.to_string()))?;
        let mut writer = store_io(&self.store, |store| store.blobs().writer()).await?;
        let mut part = Vec::with_capacity(PART);
        loop {
            part.clear();
            // Small reads are gathered, so that each trip to the writing thread is worth it.
            let mut room = (&mut stream).take(PART as u64);
            room.read_to_end(&mut part)
                .await
                .map_err(|error| TriggerError::Source(error.to_string()))?;
            if part.is_empty() {
                break;
            }
            (writer, part) = store_io(&self.store, move |_| {
                writer.write(&part)?;
                Ok((writer, part))
            })
            .await?;
        }
        store_io(&self.store, move |_| writer.finish())
            .await
            .map(Some)
    }
}

/// File work of the store, away from the threads that serve.
async fn store_io<T: Send + 'static>(
    store: &Store,
    work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, TriggerError> {
    let store = store.clone();
    tokio::task::spawn_blocking(move || work(&store))
        .await
        .map_err(|error| TriggerError::Internal(error.to_string()))?
        .map_err(|error| TriggerError::Apply(ApplyError::Store(error)))
}

/// A mistake as one text: where, then what.
pub(crate) fn located(sources: &Sources, diagnostic: &Diagnostic) -> String {
    let Some(file) = sources.get(diagnostic.span.file) else {
        return diagnostic.message.clone();
    };
    let (line, column) = line_column(&file.text, diagnostic.span.start);
    format!("{}:{line}:{column}: {}", file.name, diagnostic.message)
}

fn checks_out(plan: &Plan) -> bool {
    plan.workflows
        .iter()
        .filter(|workflow| workflow.decision.runs)
        .flat_map(|workflow| &workflow.jobs)
        .filter(|job| job.decision.runs)
        .any(|job| match &job.kind {
            JobKind::Build(build) => build
                .steps
                .iter()
                .any(|step| matches!(step.kind, StepKind::Checkout { .. })),
            JobKind::Approval | JobKind::NoOp => false,
        })
}

pub(crate) fn new_workflows(
    plan: &Plan,
    names: &mut Vec<(String, WorkflowId)>,
) -> Vec<NewWorkflow> {
    let mut new = Vec::new();
    for workflow in plan
        .workflows
        .iter()
        .filter(|workflow| workflow.decision.runs)
    {
        let jobs = workflow.jobs.iter().filter(|job| job.decision.runs).count();
        if jobs == 0 {
            continue;
        }
        let mut ids = new_ids(jobs);
        ids.auto_reruns = (0..workflow.max_auto_reruns)
            .map(|_| new_ids(jobs))
            .collect();
        names.push((workflow.name.clone(), ids.id));
        new.push(ids);
    }
    new
}

/// Ids for a workflow of so many jobs.
pub(crate) fn new_ids(jobs: usize) -> NewWorkflow {
    NewWorkflow {
        id: WorkflowId(Uuid::new_v4()),
        jobs: (0..jobs).map(|_| JobId(Uuid::new_v4())).collect(),
        auto_reruns: Vec::new(),
    }
}
