//! Lines with a prefix, for a file, a pipe or another CI system. Never a question, never a repaint.

use std::collections::HashMap;
use std::io::BufRead;

use capstan_model::{JobStatus, StepStatus, TaskId};
use capstan_server::live::{Update, UpdateKind};

use super::board::is_own_step;
use super::neutral::Neutralizer;
use super::{Board, Out, Renderer, duration};

/// A line longer than this is written in pieces.
const LINE_MAX: usize = 16 << 10;

/// See the module.
#[derive(Debug)]
pub struct Plain {
    out: Out,
    raw: bool,
    lines: HashMap<(TaskId, u32), Partial>,
}

/// The beginning of a line whose end has not come yet.
#[derive(Debug)]
struct Partial {
    neutral: Neutralizer,
    line: Vec<u8>,
}

impl Plain {
    /// Writes to standard output; `raw` lets control sequences through.
    pub fn new(out: Out, raw: bool) -> Self {
        Self {
            out,
            raw,
            lines: HashMap::new(),
        }
    }

    fn finish_line(&mut self, task: TaskId, step: u32, board: &Board) {
        let Some(mut partial) = self.lines.remove(&(task, step)) else {
            return;
        };
        if partial.line.is_empty() {
            return;
        }
        partial.neutral.reset(&mut partial.line);
        partial.line.push(b'\n');
        let mut text = prefix(&board.task_label(task));
        text.append(&mut partial.line);
        self.out.write(&text);
    }
}

fn prefix(label: &str) -> Vec<u8> {
    format!("[{label}] ").into_bytes()
}

impl Renderer for Plain {
    fn update(&mut self, update: &Update, board: &Board) {
        match &update.kind {
            UpdateKind::Pipeline { .. }
            | UpdateKind::Workflow { .. }
            | UpdateKind::TaskStarted { .. }
            | UpdateKind::TaskFinished { .. }
            | UpdateKind::Output { .. } => {}
            UpdateKind::StepStarted { task, step, .. } => {
                if let Some(view) = board.steps.get(&(*task, *step))
                    && !is_own_step(*step)
                {
                    self.out
                        .line(&format!("[{}] ▸ {}", board.task_label(*task), view.name));
                }
            }
            UpdateKind::StepFinished {
                task, step, status, ..
            } => {
                self.finish_line(*task, *step, board);
                if let Some(view) = board.steps.get(&(*task, *step))
                    && (!is_own_step(*step) || *status != StepStatus::Success)
                {
                    let label = board.task_label(*task);
                    self.out
                        .line(&format!("[{label}] {}", super::summary::step_line(view)));
                }
            }
            UpdateKind::Job {
                workflow,
                job,
                status,
                reason,
                ..
            } => {
                let Some(view) = board
                    .jobs
                    .iter()
                    .find(|view| view.id == *job && view.workflow == *workflow)
                else {
                    return;
                };
                let label = board.job_label(view);
                match status {
                    JobStatus::OnHold => {
                        self.out.line(&format!("[{label}] ⏸ waits for an approval"))
                    }
                    status if status.is_terminal() && view.stopped_at_ms.is_some() => {
                        let took = view
                            .elapsed_ms(update.at_ms)
                            .map_or_else(String::new, |ms| format!(" ({})", duration(ms)));
                        let why = match status {
                            JobStatus::Success => String::new(),
                            _ if reason.is_empty() => String::new(),
                            _ => format!(": {reason}"),
                        };
                        let word = status.as_str();
                        self.out.line(&format!(
                            "[{label}] {} {word}{took}{why}",
                            super::summary::mark(*status)
                        ));
                    }
                    _ => {}
                }
            }
        }
    }

    fn output(&mut self, task: TaskId, step: u32, _offset: u64, bytes: &[u8], board: &Board) {
        let raw = self.raw;
        let color = self.out.color;
        let partial = self.lines.entry((task, step)).or_insert_with(|| Partial {
            neutral: Neutralizer::new(color),
            line: Vec::new(),
        });
        let prefix = prefix(&board.task_label(task));
        let mut clean = std::mem::take(&mut partial.line);
        if raw {
            clean.extend_from_slice(bytes);
        } else {
            partial.neutral.push(bytes, &mut clean);
        }
        let mut text = Vec::with_capacity(clean.len() + clean.len() / 2);
        let mut rest = clean.as_slice();
        while !rest.is_empty() {
            let start = text.len();
            text.extend_from_slice(&prefix);
            // A slice is read without fail.
            let length = rest.read_until(b'\n', &mut text).unwrap_or_default();
            if text.ends_with(b"\n") {
                continue;
            }
            if length > LINE_MAX {
                text.push(b'\n');
            } else {
                partial.line = text.split_off(start + prefix.len());
                text.truncate(start);
            }
        }
        self.out.write(&text);
    }

    fn wants_output(&self) -> bool {
        true
    }

    fn tick(&mut self, _board: &Board) {}

    fn note(&mut self, text: &str) {
        self.out.line(text);
    }

    fn pause(&mut self) {}
}
