//! A run that is over, or on hold, as its store tells it.

use capstan_model::{JobId, PipelineId, TaskId, WorkflowId};
use capstan_server::{JobRow, Row, Server, TaskRow, WorkflowRow};

use crate::data::{Data, Run};
use crate::exit::Failure;
use crate::project;
use crate::session::{World, block_on, serve, server_failed};
use crate::sockets::Socket;

/// The rows of a pipeline, sorted.
#[derive(Debug, Default)]
pub struct History {
    /// By order of creation.
    pub workflows: Vec<WorkflowRow>,
    /// By order in their workflow.
    pub jobs: Vec<JobRow>,
    /// By id.
    pub tasks: Vec<TaskRow>,
}

impl History {
    /// Reads them.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn read(server: &Server, pipeline: PipelineId) -> Result<Self, Failure> {
        let mut history = Self::default();
        for row in server.snapshot(pipeline).await.map_err(server_failed)? {
            match row {
                Row::Pipeline(_) => {}
                Row::Workflow(row) => history.workflows.push(row),
                Row::Job(row) => history.jobs.push(row),
                Row::Task(row) => history.tasks.push(row),
            }
        }
        history.workflows.sort_by_key(|row| row.ordinal);
        history.jobs.sort_by_key(|row| row.ordinal);
        history.tasks.sort_by_key(|row| row.id);
        Ok(history)
    }

    /// The jobs of a workflow, in order.
    pub fn jobs_of(&self, workflow: WorkflowId) -> impl Iterator<Item = &JobRow> {
        self.jobs.iter().filter(move |row| row.workflow == workflow)
    }

    /// The tasks of a job, in order.
    pub fn tasks_of(&self, job: JobId) -> impl Iterator<Item = &TaskRow> {
        self.tasks.iter().filter(move |row| row.id.job == job)
    }

    /// The last of each workflow and its reruns, in order.
    pub fn newest_workflows(&self) -> Vec<&WorkflowRow> {
        let is_newest = |row: &&WorkflowRow| {
            let first = self.first_of(row);
            let mut others = self.workflows.iter();
            !others.any(|other| self.first_of(other) == first && other.ordinal > row.ordinal)
        };
        self.workflows.iter().filter(is_newest).collect()
    }

    /// The workflow that this one, through however many reruns, runs again.
    fn first_of(&self, row: &WorkflowRow) -> WorkflowId {
        let mut row = row;
        // A rerun is of an older workflow, so this ends.
        while let Some(older) = row
            .rerun_of
            .and_then(|of| self.workflows.iter().find(|other| other.id == of))
        {
            row = older;
        }
        row.id
    }

    /// Every task of the jobs that `wanted` names, with the label of its job.
    pub fn tasks_named(&self, wanted: Option<&str>) -> Vec<(String, TaskId)> {
        let mut tasks = Vec::new();
        for workflow in &self.workflows {
            // A job that a rerun carried over is told of where it ran.
            for job in self
                .jobs_of(workflow.id)
                .filter(|job| job.carried_from.is_none())
            {
                let path = format!("{}/{}", workflow.name, job.name);
                if wanted.is_some_and(|wanted| !crate::select::approves(wanted, &path)) {
                    continue;
                }
                let several = job.parallelism > 1;
                tasks.extend(self.tasks_of(job.id).map(|task| {
                    let node = if several {
                        format!("#{}", task.id.node)
                    } else {
                        String::new()
                    };
                    (format!("{}{node}", job.name), task.id)
                }));
            }
        }
        tasks
    }
}

/// Opens the store of a run and hands it to `look`.
///
/// # Errors
/// There is no such run, it is still going on, or `look` fails.
pub fn open<T>(
    name: &str,
    config: Option<&std::path::Path>,
    look: impl AsyncFnOnce(&Server, &Run) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let here = project::find(config)?;
    let run = Data::locate()?.find(here.root(), name)?;
    if run.is_live() {
        return Err(Failure::setup(format!(
            "run {} is still going on in another process",
            run.file.pipeline
        ))
        .hint("look at it there, or wait until it ended"));
    }
    block_on(async {
        let socket = Socket::place()?;
        let server = serve(here, &run.directory, socket.path(), World::default()).await?;
        let seen = look(&server, &run).await;
        if let Err(error) = server.shutdown().await {
            crate::render::out::complain(&format!("warning: {error}"));
        }
        seen
    })?
}
