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
    /// Jobs of the plan that it requires and that this workflow, which runs another one again, leaves out.
    pub absent: Vec<Absent>,
    /// Requirements of others that wait for it.
    pub dependants: Vec<Dependant>,
}

/// A requirement on a job that is left out, and so counts as `not_run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    /// Its index in the plan's workflow.
    pub planned: usize,
    /// The ends that are accepted.
    pub statuses: Vec<RequiredStatus>,
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
                    absent: Vec::new(),
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

    /// The part of it that a rerun keeps, in the same order. What a `forgiven` job requires of those left
    /// out counts as met from here on; of any other job it is remembered, also by reruns of the rerun.
    pub fn part(&self, kept: &[usize], forgiven: impl Fn(usize) -> bool) -> Self {
        let index: HashMap<usize, usize> = kept.iter().copied().zip(0..).collect();
        let mut nodes: Vec<Node> = Vec::with_capacity(kept.len());
        for &old in kept {
            let mut node = Node {
                planned: self.nodes[old].planned,
                requires: Vec::new(),
                absent: self.nodes[old].absent.clone(),
                dependants: Vec::new(),
            };
            for edge in &self.nodes[old].requires {
                let statuses = edge.statuses.clone();
                match index.get(&edge.job) {
                    Some(&job) => node.requires.push(Edge { job, statuses }),
                    None => node.absent.push(Absent {
                        planned: self.nodes[edge.job].planned,
                        statuses,
                    }),
                }
            }
            if forgiven(old) {
                node.absent.clear();
            }
            nodes.push(node);
        }
        for at in 0..nodes.len() {
            for edge in 0..nodes[at].requires.len() {
                let required = nodes[at].requires[edge].job;
                nodes[required].dependants.push(Dependant { job: at, edge });
            }
        }
        Self { nodes }
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
