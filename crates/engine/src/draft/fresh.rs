//! How workflows come to be, and the ids they are given.

use std::collections::HashSet;
use std::sync::Arc;

use capstan_model::{JobId, WorkflowId};

use super::Draft;
use crate::IllegalTransition;
use crate::decision;
use crate::event::NewWorkflow;
use crate::graph::Graph;
use crate::job::Job;
use crate::workflow::{Pinned, Summary, Workflow};

/// Ids that were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ids {
    workflows: HashSet<WorkflowId>,
    jobs: HashSet<JobId>,
}

impl Ids {
    pub(crate) fn take(&mut self, new: Self) {
        self.workflows.extend(new.workflows);
        self.jobs.extend(new.jobs);
    }
}

impl Draft<'_> {
    /// Makes the workflows of a plan that run, each with its ids.
    pub(crate) fn begin_workflows(
        &mut self,
        plan: &Arc<Pinned>,
        ids: &[NewWorkflow],
        actor: &str,
    ) -> Result<(), String> {
        let workflows = &plan.plan.workflows;
        let running: Vec<usize> = (0..workflows.len())
            .filter(|w| {
                let workflow = &workflows[*w];
                workflow.decision.runs && workflow.jobs.iter().any(|job| job.decision.runs)
            })
            .collect();
        if running.len() != ids.len() {
            let (given, wanted) = (ids.len(), running.len());
            return Err(format!("given {given} workflow ids for {wanted} workflows"));
        }
        for (planned, new) in running.into_iter().zip(ids) {
            self.take_ids(new)?;
            let workflow = self.of_plan(plan, planned, new, actor)?;
            self.add(workflow);
        }
        Ok(())
    }

    /// Starts the jobs of the new workflows that require nothing.
    pub(crate) fn start_what_is_free(&mut self) -> Result<(), IllegalTransition> {
        for w in self.base.workflows.len()..self.workflow_count() {
            let jobs = self.workflow(w).map_or(0, |workflow| workflow.jobs.len());
            for j in 0..jobs {
                if self.job((w, j)).is_some_and(Job::is_free) {
                    self.ready((w, j), false)?;
                }
            }
        }
        Ok(())
    }

    fn of_plan(
        &self,
        plan: &Arc<Pinned>,
        planned: usize,
        new: &NewWorkflow,
        actor: &str,
    ) -> Result<Workflow, String> {
        let workflow = plan.plan.workflows.get(planned).ok_or("not in the plan")?;
        let graph = Graph::of(workflow, |j| workflow.jobs[j].decision.runs)?;
        counts(workflow.max_auto_reruns, graph.nodes.len(), new)?;
        let jobs = graph.nodes.iter().zip(&new.jobs).map(|(node, id)| {
            let unmet = u32::try_from(node.requires.len()).unwrap_or(u32::MAX);
            Job::new(*id, unmet, decision::waits(&workflow.jobs[node.planned]))
        });
        let jobs = jobs.collect();
        let ordinal = self.next_ordinal();
        Ok(Workflow {
            plan: Arc::clone(plan),
            graph: Arc::new(graph),
            planned,
            jobs,
            summary: Summary::new(new.id, ordinal, None, actor, self.now_ms),
            auto_rerun: None,
            spare: new.auto_reruns.clone().into(),
        })
    }

    pub(crate) fn next_ordinal(&self) -> u32 {
        u32::try_from(self.workflow_count()).unwrap_or(u32::MAX)
    }

    /// Adds a workflow and counts its jobs; the answer is where it stands.
    pub(crate) fn add(&mut self, mut workflow: Workflow) -> usize {
        for job in &workflow.jobs {
            workflow.summary.tally.add(job.state.status());
        }
        self.delta.fresh.push(workflow);
        self.workflow_count() - 1
    }

    /// Ids are never given twice, those that came to nothing included.
    pub(crate) fn take_ids(&mut self, new: &NewWorkflow) -> Result<(), String> {
        let (base, ids) = (self.base, &mut self.delta.ids);
        for one in std::iter::once(new).chain(&new.auto_reruns) {
            let mut fresh = !base.ids.workflows.contains(&one.id) && ids.workflows.insert(one.id);
            for job in &one.jobs {
                fresh &= !base.ids.jobs.contains(job) && ids.jobs.insert(*job);
            }
            if !fresh {
                return Err(String::from("given an id twice"));
            }
        }
        Ok(())
    }
}

/// Whether a workflow was given as many ids as it needs.
fn counts(max_auto_reruns: u32, jobs: usize, new: &NewWorkflow) -> Result<(), String> {
    let auto_reruns = new.auto_reruns.len();
    if u32::try_from(auto_reruns) != Ok(max_auto_reruns) {
        return Err(format!(
            "given ids for {auto_reruns} automatic reruns where {max_auto_reruns} are allowed"
        ));
    }
    for one in std::iter::once(new).chain(&new.auto_reruns) {
        let given = one.jobs.len();
        if given != jobs {
            return Err(format!("given {given} job ids for {jobs} jobs"));
        }
    }
    if new
        .auto_reruns
        .iter()
        .any(|one| !one.auto_reruns.is_empty())
    {
        return Err(String::from("given ids for reruns of automatic reruns"));
    }
    Ok(())
}
