//! How a pipeline comes by its plans: the first event brings one, or says why there is none; where that
//! one is of a setup config, one more is waited for (language 14, platform 1.3).

use std::sync::Arc;

use capstan_model::{Trigger, WorkflowStatus};

use crate::draft::Draft;
use crate::event::{NewWorkflow, PlanRef};
use crate::mutation::{Mutation, planted};
use crate::rows::{PipelineRow, PipelineState};
use crate::workflow::Pinned;
use crate::{CONTINUE_WITHIN_MS, IllegalTransition};

impl Draft<'_> {
    pub(crate) fn planned(
        &mut self,
        trigger: &Trigger,
        plan: &PlanRef,
        workflows: &[NewWorkflow],
    ) -> Result<(), IllegalTransition> {
        self.must_be_new("be planned")?;
        let refuse = |why: String| IllegalTransition::new("pipeline", why, "be planned");
        let plan = pinned(plan).map_err(refuse)?;
        if plan.plan.setup && workflows.len() > 1 {
            let why = "given several workflows by a setup config, which runs one,";
            return Err(refuse(why.to_owned()));
        }
        // Without a workflow nobody is left to say how it continues.
        let waits = plan.plan.setup && !workflows.is_empty();
        let state = if waits {
            PipelineState::Setup
        } else {
            PipelineState::Created
        };
        self.delta.pipeline = Some(PipelineRow {
            plan: Some(plan.digest.clone()),
            ..self.first_row(trigger, state)
        });
        self.begin_workflows(&plan, workflows, &trigger.actor)
            .map_err(refuse)?;
        self.start_what_is_free()
    }

    pub(crate) fn rejected(
        &mut self,
        trigger: &Trigger,
        errors: &[String],
    ) -> Result<(), IllegalTransition> {
        self.must_be_new("be rejected")?;
        self.delta.pipeline = Some(PipelineRow {
            errors: errors.to_vec(),
            ..self.first_row(trigger, PipelineState::Errored)
        });
        Ok(())
    }

    pub(crate) fn continued(
        &mut self,
        plan: &PlanRef,
        workflows: &[NewWorkflow],
    ) -> Result<(), IllegalTransition> {
        let row = self.must_wait_for_a_continuation()?;
        let refuse = |why: String| IllegalTransition::new("pipeline", why, "continue");
        let plan = pinned(plan).map_err(refuse)?;
        if plan.plan.setup {
            let why = "given one more setup config as its continuation";
            return Err(refuse(why.to_owned()));
        }
        let state = if planted(Mutation::ContinuesForEver) {
            row.state
        } else {
            PipelineState::Created
        };
        self.delta.pipeline = Some(PipelineRow {
            state,
            continued: Some(plan.digest.clone()),
            ..row
        });
        let actor = self.workflow(0).map(|one| one.summary.started_by.clone());
        self.begin_workflows(&plan, workflows, &actor.unwrap_or_default())
            .map_err(refuse)?;
        self.start_what_is_free()
    }

    pub(crate) fn continuation_rejected(
        &mut self,
        errors: &[String],
    ) -> Result<(), IllegalTransition> {
        let row = self.must_wait_for_a_continuation()?;
        self.delta.pipeline = Some(PipelineRow {
            state: PipelineState::Errored,
            errors: errors.to_vec(),
            ..row
        });
        Ok(())
    }

    /// A pipeline that waits for its continuation waits no more.
    pub(crate) fn cancel_setup(&mut self, actor: &str) {
        if let Some(row) = self.base().row().cloned()
            && row.state == PipelineState::Setup
            && row.canceled_by.is_none()
        {
            self.delta.pipeline = Some(PipelineRow {
                canceled_by: Some(actor.to_owned()),
                ..row
            });
        }
    }

    /// Somebody runs the setup workflow again: its pipeline may continue, whoever canceled it before.
    pub(crate) fn wait_again(&mut self) {
        if let Some(row) = self.base().row().cloned()
            && row.canceled_by.is_some()
        {
            self.delta.pipeline = Some(PipelineRow {
                canceled_by: None,
                ..row
            });
        }
    }

    fn must_be_new(&self, event: &str) -> Result<(), IllegalTransition> {
        match self.base().row() {
            None => Ok(()),
            Some(_) => Err(IllegalTransition::new("pipeline", "already there", event)),
        }
    }

    fn must_wait_for_a_continuation(&self) -> Result<PipelineRow, IllegalTransition> {
        let refuse = |state: String| IllegalTransition::new("pipeline", state, "continue");
        let Some(row) = self.base().row() else {
            return Err(refuse(String::from("not there yet")));
        };
        if row.state != PipelineState::Setup {
            return Err(refuse(format!("{}, not in setup,", row.state.as_str())));
        }
        let newest = self.base().workflows.last();
        let asked = newest.and_then(|newest| newest.summary.canceled_by.as_ref());
        if let Some(actor) = asked.or(row.canceled_by.as_ref()) {
            return Err(refuse(format!("canceled by {actor}")));
        }
        // Its one job was canceled, and so it was.
        if newest.is_some_and(|newest| newest.summary.status() == WorkflowStatus::Canceled) {
            return Err(refuse(String::from("canceled in its setup workflow")));
        }
        let began_ms = newest.map_or(row.created_at_ms, |one| one.summary.created_at_ms);
        if self.now_ms.saturating_sub(began_ms) > CONTINUE_WITHIN_MS {
            return Err(refuse(String::from("in setup for more than six hours")));
        }
        Ok(row.clone())
    }

    fn first_row(&self, trigger: &Trigger, state: PipelineState) -> PipelineRow {
        PipelineRow {
            id: self.base().id(),
            number: trigger.number,
            state,
            plan: None,
            continued: None,
            errors: Vec::new(),
            canceled_by: None,
            created_at_ms: self.now_ms,
        }
    }
}

fn pinned(plan: &PlanRef) -> Result<Arc<Pinned>, String> {
    let known = plan.plan.clone().ok_or("without its plan")?;
    Ok(Arc::new(Pinned {
        digest: plan.digest.clone(),
        plan: known,
    }))
}
