//! Who approves: the flags, or the person at the terminal.

use std::collections::HashSet;
use std::io::{BufRead, IsTerminal, Write};

use capstan_model::{JobId, JobStatus, PipelineId, WorkflowId};
use capstan_server::Server;
use tokio::sync::mpsc;

use super::server_failed;
use crate::args::ExecutionArgs;
use crate::exit::Failure;
use crate::project;
use crate::render::Board;
use crate::render::board::JobView;
use crate::select::approves;

type Key = (WorkflowId, JobId);

/// See the module.
pub struct Approvals {
    names: Vec<String>,
    all: bool,
    interactive: bool,
    asking: Option<Key>,
    granted: HashSet<Key>,
    given: HashSet<Key>,
    refused: HashSet<Key>,
    sender: mpsc::UnboundedSender<bool>,
    answers: mpsc::UnboundedReceiver<bool>,
}

impl Approvals {
    /// What the flags give; a person is asked only when one looks at the run.
    pub fn new(args: &ExecutionArgs, live_view: bool) -> Self {
        let (sender, answers) = mpsc::unbounded_channel();
        Self {
            names: args.approve.clone(),
            all: args.approve_all,
            interactive: live_view && std::io::stdin().is_terminal(),
            asking: None,
            granted: HashSet::new(),
            given: HashSet::new(),
            refused: HashSet::new(),
            sender,
            answers,
        }
    }

    /// Whether a question is on the screen.
    pub fn is_asking(&self) -> bool {
        self.asking.is_some()
    }

    /// Gives every approval that waits and that the flags or a person granted.
    ///
    /// # Errors
    /// The server fails.
    pub async fn give(
        &mut self,
        server: &Server,
        pipeline: PipelineId,
        board: &Board,
    ) -> Result<(), Failure> {
        for job in waiting(board) {
            let key = (job.workflow, job.id);
            if self.given.contains(&key) || !self.is_granted(job, board) {
                continue;
            }
            self.given.insert(key);
            server
                .approve(pipeline, job.workflow, job.id, &project::actor())
                .await
                .map_err(server_failed)?;
        }
        Ok(())
    }

    fn is_granted(&self, job: &JobView, board: &Board) -> bool {
        let path = format!("{}/{}", board.workflow_name(job.workflow), job.name);
        self.all
            || self.granted.contains(&(job.workflow, job.id))
            || self.names.iter().any(|name| approves(name, &path))
    }

    /// Whether an approval was given whose effect has not been seen yet.
    pub fn anything_open(&self, board: &Board) -> bool {
        waiting(board).any(|job| self.given.contains(&(job.workflow, job.id)))
    }

    /// Puts the next question on the screen, if there is a person and something to ask.
    pub fn ask(&mut self, board: &Board) -> bool {
        if !self.interactive {
            return false;
        }
        let next = waiting(board).find(|job| {
            let key = (job.workflow, job.id);
            !self.given.contains(&key) && !self.refused.contains(&key)
        });
        let Some(job) = next else { return false };
        self.asking = Some((job.workflow, job.id));
        // The line is erased first: what runs was painted on it.
        let question = format!(
            "\r\x1b[Japprove {} in {}? [y/N] ",
            board.job_label(job),
            board.workflow_name(job.workflow)
        );
        let sender = self.sender.clone();
        // A thread of its own: a terminal that nobody answers at must not keep the process from ending.
        std::thread::spawn(move || {
            let mut out = std::io::stdout();
            let _ = out
                .write_all(question.as_bytes())
                .and_then(|()| out.flush());
            let mut line = String::new();
            let read = std::io::stdin().lock().read_line(&mut line);
            let yes = matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes");
            // Nobody waits for the answer once the run is over.
            let _ = sender.send(read.is_ok() && yes);
        });
        true
    }

    /// Waits for the answer; whether it was yes. Never returns without a question.
    pub async fn answer(&mut self) -> bool {
        let answer = self.answers.recv().await.unwrap_or(false);
        if let Some(key) = self.asking.take() {
            let kept = if answer {
                &mut self.granted
            } else {
                &mut self.refused
            };
            kept.insert(key);
        }
        answer
    }

    /// What is missing, and the flag that gives it.
    pub fn on_hold_message(&self, board: &Board) -> String {
        let mut lines = String::new();
        for job in waiting(board) {
            let workflow = board.workflow_name(job.workflow);
            lines.push_str(&format!(
                "on hold: {} in workflow {workflow} waits for an approval\n  help: capstan approve {name} lets this run go on\n  help: --approve {name} gives it from the start, --approve-all gives every one\n",
                job.name, name = job.name
            ));
        }
        lines
    }
}

fn waiting(board: &Board) -> impl Iterator<Item = &JobView> {
    board
        .jobs
        .iter()
        .filter(|job| job.status == JobStatus::OnHold)
}
