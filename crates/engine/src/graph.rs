//! Who waits for whom in a workflow: made once, shared by every change.

use std::collections::HashMap;

use capstan_model::JobStatus;
use capstan_model::plan::{self, RequiredStatus};

/// The part of a workflow that stands still.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    /// One node a job, in the order of the workflow.
    pub nodes: Vec<Node>,
}

/// A job in the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its index in the plan's workflow.
    pub planned: usize,
    /// Jobs it waits for, with the ends it accepts.
    pub requires: Vec<Edge>,
    /// Requirements of others that wait for it.
    pub dependants: Vec<Dependant>,
}

/// A requirement, seen from the job that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependant {
    /// The job that waits.
    pub job: usize,
    /// Which of its requirements it is.
    pub edge: usize,
}

/// A requirement by index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The job waited for.
    pub job: usize,
    /// The ends it accepts.
    pub statuses: Vec<RequiredStatus>,
}

impl Edge {
    /// Whether this end is one of those accepted.
    pub fn accepts(&self, status: JobStatus) -> bool {
        RequiredStatus::of(status).is_some_and(|seen| self.statuses.contains(&seen))
    }
}

impl Graph {
    /// The jobs of a planned workflow for which `takes_part` holds. A requirement on any other job is
    /// dropped, as if it were met.
    ///
    /// # Errors
    /// In words: a requirement names no job, or the jobs wait for each other in a ring.
    pub fn of(
        workflow: &plan::Workflow,
        takes_part: impl Fn(usize) -> bool,
    ) -> Result<Self, String> {
        let mut index = HashMap::new();
        let mut nodes = Vec::new();
        for (planned, job) in workflow.jobs.iter().enumerate() {
            if takes_part(planned) {
                index.insert(job.name.as_str(), nodes.len());
                nodes.push(Node {
                    planned,
                    requires: Vec::new(),
                    dependants: Vec::new(),
                });
            }
        }
        for at in 0..nodes.len() {
            let job = &workflow.jobs[nodes[at].planned];
            for requirement in &job.requires {
                let Some(&other) = index.get(requirement.job.as_str()) else {
                    if workflow.jobs.iter().any(|job| job.name == requirement.job) {
                        continue;
                    }
                    return Err(format!(
                        "{} requires {}, which does not exist",
                        job.name, requirement.job
                    ));
                };
                let edge = nodes[at].requires.len();
                nodes[at].requires.push(Edge {
                    job: other,
                    statuses: requirement.statuses.clone(),
                });
                nodes[other].dependants.push(Dependant { job: at, edge });
            }
        }
        let graph = Self { nodes };
        if graph.has_ring() {
            return Err(String::from("its jobs wait for each other in a ring"));
        }
        Ok(graph)
    }

    /// The requirement that a dependant stands for.
    pub fn edge(&self, dependant: Dependant) -> Option<&Edge> {
        self.nodes.get(dependant.job)?.requires.get(dependant.edge)
    }

    /// Everything that waits for one of `jobs`, directly or not, and they themselves.
    pub fn downstream(&self, jobs: &[usize]) -> Vec<bool> {
        let mut reached = vec![false; self.nodes.len()];
        let mut open = jobs.to_vec();
        while let Some(at) = open.pop() {
            let Some(seen) = reached.get_mut(at) else {
                continue;
            };
            if !std::mem::replace(seen, true) {
                open.extend(self.nodes[at].dependants.iter().map(|next| next.job));
            }
        }
        reached
    }

    fn has_ring(&self) -> bool {
        let mut unmet: Vec<usize> = self.nodes.iter().map(|node| node.requires.len()).collect();
        let mut open: Vec<usize> = (0..unmet.len()).filter(|at| unmet[*at] == 0).collect();
        let mut done = 0;
        while let Some(at) = open.pop() {
            done += 1;
            for next in &self.nodes[at].dependants {
                unmet[next.job] -= 1;
                if unmet[next.job] == 0 {
                    open.push(next.job);
                }
            }
        }
        done < self.nodes.len()
    }
}
