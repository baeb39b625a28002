//! Running jobs again: a new workflow of the same pipeline with the same plan (platform 4.1, 4.3), for any
//! jobs in any state. The old workflow stays as it is.

use std::sync::Arc;

use capstan_model::plan::{self, RequiredStatus};
use capstan_model::{JobStatus, WorkflowId, WorkflowStatus};

use crate::decision;
use crate::draft::Draft;
use crate::event::{NewWorkflow, RerunScope};
use crate::job::{Job, JobState};
use crate::mutation::{Mutation, planted};
use crate::workflow::{Summary, Workflow};
use crate::{IllegalTransition, MAX_RERUNS};

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

/// The old workflow as it stands, and the new one in the making.
struct Rerun<'a> {
    old: &'a Workflow,
    parts: &'a [Part],
}

impl Draft<'_> {
    /// Somebody asked for it.
    pub(crate) fn rerun(
        &mut self,
        of: WorkflowId,
        scope: &RerunScope,
        new: &NewWorkflow,
        actor: &str,
    ) -> Result<(), IllegalTransition> {
        let w = self.base().workflow_place(of)?;
        let name = self.workflow_name(w);
        let refuse = |state: &str| {
            let words = match scope {
                RerunScope::FromStart => "run again from its start",
                RerunScope::FromFailed => "run again from what failed",
                RerunScope::Jobs { .. } => "run these jobs again",
            };
            IllegalTransition::new(format!("workflow {name}"), state, words)
        };
        if self.reruns_like(w) >= MAX_RERUNS {
            return Err(refuse("run again a hundred times already"));
        }
        if !new.auto_reruns.is_empty() {
            return Err(refuse("given ids for automatic reruns, which follow none,"));
        }
        self.take_ids(new).map_err(|why| refuse(&why))?;
        self.wait_again();
        self.run_again(w, scope, new, actor, None)
            .map_err(|why| match why {
                Refused::Scope(why) => refuse(&why),
                Refused::Illegal(error) => error,
            })
    }

    /// A workflow that ended failed runs again from what failed, as often as the config says, unless it is
    /// itself one that somebody asked to run again.
    pub(crate) fn rerun_automatically(&mut self, w: usize) -> Result<bool, IllegalTransition> {
        let Some(workflow) = self.workflow(w) else {
            return Ok(false);
        };
        let done = workflow.auto_rerun.unwrap_or(0);
        let spare = Arc::clone(&workflow.spare);
        let Some(new) = usize::try_from(done).ok().and_then(|done| spare.get(done)) else {
            return Ok(false);
        };
        let actor = workflow.summary.started_by.clone();
        match self.run_again(w, &RerunScope::FromFailed, new, &actor, Some(done + 1)) {
            Ok(()) => Ok(true),
            // It failed, so something of it failed.
            Err(Refused::Scope(_)) => Ok(false),
            Err(Refused::Illegal(error)) => Err(error),
        }
    }

    fn reruns_like(&self, w: usize) -> usize {
        let like = |other: &&Workflow| {
            let same = |one: &Workflow| (&one.plan, one.planned) == (&other.plan, other.planned);
            other.summary.rerun_of.is_some() && self.workflow(w).is_some_and(same)
        };
        self.base().workflows.iter().filter(like).count()
    }

    fn run_again(
        &mut self,
        w: usize,
        scope: &RerunScope,
        new: &NewWorkflow,
        actor: &str,
        auto_rerun: Option<u32>,
    ) -> Result<(), Refused> {
        let refuse = |why: &str| Refused::Scope(why.to_owned());
        let old = self.as_it_stands(w).ok_or_else(|| refuse("unknown"))?;
        if new.jobs.len() != old.jobs.len() {
            return Err(refuse("given another number of job ids than it has jobs"));
        }
        let parts = parts(&old, scope).map_err(Refused::Scope)?;
        let rerun = Rerun {
            old: &old,
            parts: &parts,
        };
        let kept: Vec<usize> = (0..parts.len())
            .filter(|j| parts[*j] != Part::LeftOut)
            .collect();
        let jobs = kept.iter().map(|&j| rerun.job(j, new)).collect();
        let summary = Summary::new(
            new.id,
            self.next_ordinal(),
            Some(old.summary.id),
            actor,
            self.now_ms,
        );
        let fresh = Workflow {
            graph: Arc::new(old.graph.part(&kept, |j| parts[j] == Part::Chosen)),
            planned: old.planned,
            plan: Arc::clone(&old.plan),
            jobs,
            summary,
            auto_rerun,
            spare: match auto_rerun {
                None if !planted(Mutation::EveryRerunIsAutomatic) => Arc::default(),
                _ => Arc::clone(&old.spare),
            },
        };
        let at = self.add(fresh);
        for (position, &j) in kept.iter().enumerate() {
            if matches!(parts[j], Part::Chosen | Part::Again) {
                self.begin(&rerun, (at, position), j)
                    .map_err(Refused::Illegal)?;
            }
        }
        Ok(())
    }

    /// Counts what a job of the new workflow still waits for, and starts it if that is nothing.
    fn begin(
        &mut self,
        rerun: &Rerun<'_>,
        at: (usize, usize),
        j: usize,
    ) -> Result<(), IllegalTransition> {
        let (old, parts) = (rerun.old, rerun.parts);
        let graph = self
            .workflow(at.0)
            .map(|workflow| Arc::clone(&workflow.graph));
        for absent in graph.iter().flat_map(|graph| &graph.nodes[at.1].absent) {
            if !absent.statuses.contains(&RequiredStatus::NotRun) {
                let why = decision::not_here(rerun.name(absent.planned));
                return self.leave_out(at, &why);
            }
        }
        let mut unmet = 0;
        for edge in &old.graph.nodes[j].requires {
            let status = match parts[edge.job] {
                Part::Chosen | Part::Again => {
                    unmet += 1;
                    continue;
                }
                Part::LeftOut => continue,
                // Asked for by name: what does not run again counts as met.
                Part::Carried if parts[j] == Part::Chosen => continue,
                Part::Carried => old.jobs[edge.job].state.status(),
            };
            if !edge.accepts(status) {
                let required = rerun.name(old.graph.nodes[edge.job].planned);
                return self.leave_out(at, &decision::never(required, status));
            }
        }
        self.set_unmet(at, unmet);
        if unmet == 0 {
            self.ready(at, parts[j] == Part::Chosen)
        } else {
            Ok(())
        }
    }
}

/// Why a workflow does not run again.
enum Refused {
    /// The state it is in, in words.
    Scope(String),
    /// A move that is not possible.
    Illegal(IllegalTransition),
}

impl Rerun<'_> {
    fn planned(&self, place: usize) -> Option<&plan::Job> {
        self.old.planned()?.jobs.get(place)
    }

    fn name(&self, place: usize) -> &str {
        self.planned(place).map_or("", |job| job.name.as_str())
    }

    fn job(&self, j: usize, new: &NewWorkflow) -> Job {
        let old = &self.old.jobs[j];
        if self.parts[j] == Part::Carried {
            return Job {
                carried_from: old.carried_from.or(Some(self.old.summary.id)),
                ..old.clone()
            };
        }
        let place = self.old.graph.nodes[j].planned;
        let waits = self
            .planned(place)
            .map_or_else(String::new, decision::waits);
        Job::new(new.jobs[j], 0, waits)
    }
}

fn parts(old: &Workflow, scope: &RerunScope) -> Result<Vec<Part>, String> {
    match scope {
        RerunScope::FromStart => Ok(vec![Part::Again; old.jobs.len()]),
        RerunScope::FromFailed => from_failed(old),
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
            Ok(some_jobs(old, &chosen, *with_downstream))
        }
    }
}

fn from_failed(old: &Workflow) -> Result<Vec<Part>, String> {
    let status = old.summary.status();
    if !status.is_terminal() {
        return Err(format!("still {}", status.as_str()));
    }
    // Jobs that were left out because what they wait for did not come do not make it a failure.
    if matches!(status, WorkflowStatus::Success | WorkflowStatus::NotRun) {
        return Err(format!("{}, nothing failed in it,", status.as_str()));
    }
    let stays = |job: &Job| {
        let status = job.state.status();
        let forgotten = planted(Mutation::FailedAreCarried) && status == JobStatus::Failed;
        status == JobStatus::Success || forgotten
    };
    let part = |job: &Job| {
        if stays(job) {
            Part::Carried
        } else {
            Part::Again
        }
    };
    let parts: Vec<Part> = old.jobs.iter().map(part).collect();
    if parts.iter().all(|part| *part == Part::Carried) {
        return Err(String::from("canceled, but every job of it had succeeded,"));
    }
    Ok(parts)
}

fn some_jobs(old: &Workflow, chosen: &[usize], with_downstream: bool) -> Vec<Part> {
    let mut named = vec![false; old.jobs.len()];
    for &j in chosen {
        named[j] = true;
    }
    let downstream = if with_downstream {
        old.graph.downstream(chosen)
    } else {
        vec![false; old.jobs.len()]
    };
    let part = |j: usize| match &old.jobs[j].state {
        _ if named[j] => Part::Chosen,
        _ if downstream[j] => Part::Again,
        JobState::Ended { .. } => Part::Carried,
        _ => Part::LeftOut,
    };
    (0..old.jobs.len()).map(part).collect()
}
