//! Running jobs again: a new workflow of the same pipeline with the same plan (platform 4.1), for any
//! jobs in any state. The old workflow stays as it is.

use std::collections::HashSet;

use capstan_model::{JobStatus, WorkflowId, WorkflowStatus};

use crate::decision;
use crate::draft::Draft;
use crate::event::{NewWorkflow, RerunScope};
use crate::graph::Graph;
use crate::job::{Job, JobState};
use crate::pipeline::Pipeline;
use crate::workflow::Workflow;
use crate::{IllegalTransition, WorkflowRow};

/// What becomes of a job of the old workflow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Runs again, whatever it requires.
    Chosen,
    /// Runs again when its requirements end as they should.
    Again,
    /// Stands in the new workflow as it ended in the old one.
    Carried,
    /// Never ended, and was not asked for.
    LeftOut,
}

impl Pipeline {
    pub(crate) fn rerun(
        &self,
        draft: &mut Draft<'_>,
        of: WorkflowId,
        scope: &RerunScope,
        new: &NewWorkflow,
        actor: &str,
    ) -> Result<(), IllegalTransition> {
        let w = self.workflow_place(of)?;
        let old = &self.workflows[w];
        let refuse = |state: &str| IllegalTransition::new(self.called(w), state, words(scope));
        if new.jobs.len() != old.jobs.len() {
            return Err(refuse("given another number of job ids than it has jobs"));
        }
        let parts = parts(old, scope).map_err(|why| refuse(&why))?;
        let plan = self.plan.as_ref().ok_or_else(|| refuse("without a plan"))?;
        let planned = &plan.workflows[old.planned];
        let kept: Vec<usize> = (0..parts.len())
            .filter(|j| parts[*j] != Part::LeftOut)
            .collect();
        let places: HashSet<usize> = kept.iter().map(|j| old.graph.nodes[*j].planned).collect();
        let graph =
            Graph::of(planned, |place| places.contains(&place)).map_err(|why| refuse(&why))?;
        let jobs = kept
            .iter()
            .map(|&j| match parts[j] {
                Part::Carried => Job {
                    carried_from: old.jobs[j].carried_from.or(Some(of)),
                    ..old.jobs[j].clone()
                },
                _ => {
                    let waits = decision::waits(&planned.jobs[old.graph.nodes[j].planned]);
                    Job::new(new.jobs[j], 0, waits)
                }
            })
            .collect();
        let at = draft.workflow_count();
        self.add(draft, graph, old.planned, jobs, new.id, Some(of), actor);
        self.must_be_unique(draft)?;
        for (position, &j) in kept.iter().enumerate() {
            if matches!(parts[j], Part::Chosen | Part::Again) {
                self.begin(draft, old, &parts, (at, position), j)?;
            }
        }
        Ok(())
    }

    /// Counts what a job of the new workflow still waits for, and starts it if that is nothing.
    fn begin(
        &self,
        draft: &mut Draft<'_>,
        old: &Workflow,
        parts: &[Part],
        at: (usize, usize),
        j: usize,
    ) -> Result<(), IllegalTransition> {
        let mut unmet = 0;
        let mut never = None;
        for edge in &old.graph.nodes[j].requires {
            let status = old.jobs[edge.job].state.status();
            match parts[edge.job] {
                Part::Chosen | Part::Again => unmet += 1,
                // Asked for by name: what does not run again counts as met.
                Part::Carried | Part::LeftOut if parts[j] == Part::Chosen => {}
                Part::Carried if edge.accepts(status) => {}
                Part::LeftOut if edge.accepts(JobStatus::NotRun) => {}
                Part::Carried => never = Some((edge.job, status)),
                Part::LeftOut => never = Some((edge.job, JobStatus::NotRun)),
            }
        }
        if let Some((required, status)) = never {
            let name = old.graph.nodes.get(required).and_then(|node| {
                let plan = self.plan.as_ref()?;
                Some(
                    plan.workflows
                        .get(old.planned)?
                        .jobs
                        .get(node.planned)?
                        .name
                        .as_str(),
                )
            });
            let reason = decision::never(name.unwrap_or_default(), status);
            return draft.leave_out(at, &reason);
        }
        draft.set_unmet(at, unmet);
        if unmet == 0 {
            draft.ready(at, parts[j] == Part::Chosen)
        } else {
            Ok(())
        }
    }

    fn called(&self, w: usize) -> String {
        let name = self
            .workflow_row(w)
            .map_or_else(String::new, |row: WorkflowRow| row.name);
        format!("workflow {name}")
    }
}

fn words(scope: &RerunScope) -> &'static str {
    match scope {
        RerunScope::FromStart => "run again from its start",
        RerunScope::FromFailed => "run again from what failed",
        RerunScope::Jobs { .. } => "run these jobs again",
    }
}

fn parts(old: &Workflow, scope: &RerunScope) -> Result<Vec<Part>, String> {
    let ended = |job: &Job| matches!(job.state, JobState::Ended { .. });
    match scope {
        RerunScope::FromStart => Ok(vec![Part::Again; old.jobs.len()]),
        RerunScope::FromFailed => {
            let status = old.summary.status();
            if !status.is_terminal() {
                return Err(format!("still {}", status.as_str()));
            }
            // Jobs that were left out because what they wait for did not come do not make it a failure.
            if matches!(status, WorkflowStatus::Success | WorkflowStatus::NotRun) {
                return Err(format!("{}, nothing failed in it,", status.as_str()));
            }
            let again = |job: &Job| {
                if job.state.status() == JobStatus::Success {
                    Part::Carried
                } else {
                    Part::Again
                }
            };
            let parts: Vec<Part> = old.jobs.iter().map(again).collect();
            if parts.iter().all(|part| *part == Part::Carried) {
                return Err(String::from("canceled, but every job of it had succeeded,"));
            }
            Ok(parts)
        }
        RerunScope::Jobs {
            jobs,
            with_downstream,
        } => {
            let mut chosen = Vec::new();
            for id in jobs {
                let at = old.jobs.iter().position(|job| job.id == *id);
                chosen.push(at.ok_or_else(|| format!("without a job {id}"))?);
            }
            if chosen.is_empty() {
                return Err(String::from("given no job"));
            }
            let downstream = if *with_downstream {
                old.graph.downstream(&chosen)
            } else {
                vec![false; old.jobs.len()]
            };
            let part = |j: usize| match () {
                () if chosen.contains(&j) => Part::Chosen,
                () if downstream[j] => Part::Again,
                () if ended(&old.jobs[j]) => Part::Carried,
                () => Part::LeftOut,
            };
            Ok((0..old.jobs.len()).map(part).collect())
        }
    }
}
