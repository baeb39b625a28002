//! How a setup pipeline goes on (language 14): a job hands over a second config, which is compiled with
//! the trigger's values and becomes one more plan of the pipeline.

use std::sync::Arc;

use capstan_config::diagnostic::{Look, Report};
use capstan_config::{Severity, Sources};
use capstan_engine::Event;
use capstan_engine::event::PlanRef;
use capstan_model::wire::Continuation;
use capstan_model::{PipelineId, TaskId};

use crate::Inner;
use crate::compile::{Done, compile};
use crate::driver::lock;
use crate::error::{ApplyError, TriggerError};

impl Inner {
    /// Continues a pipeline. `Some` is why it does not, for whoever runs the setup job; a call
    /// that comes twice counts once.
    pub(crate) async fn continue_pipeline(
        self: &Arc<Self>,
        pipeline: PipelineId,
        task: TaskId,
        continuation: Continuation,
    ) -> Result<Option<String>, TriggerError> {
        let call = (task, continuation.lease_epoch, continuation.transfer);
        let live = lock(&self.live).get(&pipeline).cloned();
        let live = live.ok_or(TriggerError::Apply(ApplyError::UnknownPipeline(pipeline)))?;
        let Some(setup) = live.plan().filter(|plan| plan.setup) else {
            let why = "this pipeline has no setup config: `setup: true` stands in none";
            return Ok(Some(why.to_owned()));
        };
        if *lock(&live.continued_by) == Some(call) {
            return Ok(None);
        }
        let passed = &continuation.parameters;
        let trigger = match capstan_config::continuation::continued(&setup, &live.trigger, passed) {
            Ok(trigger) => trigger,
            Err(why) => return Ok(Some(why)),
        };
        let sources = Sources::new(continuation.name, continuation.configuration);
        let orbs = &*self.settings.orbs;
        let compiled = compile(capstan_config::compile, sources, trigger, orbs).await;
        let Done {
            sources,
            trigger,
            plan,
            diagnostics,
        } = compiled.map_err(TriggerError::Internal)?;
        let mut wrong: Vec<_> = diagnostics
            .into_iter()
            .filter(|found| found.severity != Severity::Warning)
            .collect();
        wrong.sort_by_key(|found| std::cmp::Reverse(found.severity));
        let plan = plan.filter(|_| wrong.is_empty());
        let Some(plan) = plan.map(|plan| Arc::new(*plan)) else {
            let errors = wrong
                .iter()
                .map(|found| crate::trigger::located(&sources, found));
            let event = Event::ContinuationRejected {
                parameters: continuation.parameters,
                errors: errors.collect(),
            };
            if let Err(ApplyError::Illegal(why)) = self.apply(pipeline, event, Vec::new()).await {
                return Ok(Some(why));
            }
            let drawn = Report::new(&sources).draw_all(&wrong, Look::default());
            return Ok(Some(format!(
                "the pipeline cannot continue\n{}",
                drawn.join("\n")
            )));
        };
        if plan.setup {
            let why = "a setup config cannot be continued with another one: take `setup: true` out";
            return Ok(Some(why.to_owned()));
        }
        let digest = self.put_plan(&plan).await?;
        // The pipeline's sources are pinned once: what changed on disk since then is another run's.
        let source = match live.source() {
            Some(source) => Some(source),
            None => self.put_source(&plan, &trigger).await?,
        };
        let mut names = Vec::new();
        let event = Event::Continued {
            parameters: continuation.parameters,
            plan: PlanRef {
                digest,
                plan: Some(Arc::clone(&plan)),
            },
            source,
            workflows: crate::trigger::new_workflows(&plan, &mut names),
        };
        match self.apply(pipeline, event, Vec::new()).await {
            Ok(()) => {
                *lock(&live.continued_by) = Some(call);
                Ok(None)
            }
            Err(ApplyError::Illegal(why)) => Ok(Some(why)),
            Err(error) => Err(TriggerError::Apply(error)),
        }
    }
}
