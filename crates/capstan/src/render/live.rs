//! A terminal with a person before it: what runs is repainted at the bottom, what ended is one line
//! above it.

use std::time::{Duration, Instant};

use capstan_model::{JobStatus, StepStatus, TaskId};
use capstan_server::live::{Update, UpdateKind};

use super::board::is_own_step;
use super::neutral::one_line;
use super::out::Style;
use super::{Board, Out, Renderer, duration, summary};
use crate::data::now_ms;

const FRAME: Duration = Duration::from_millis(100);
const SPINNER: [&str; 8] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧"];
/// Jobs shown at once; the rest is a number.
const ROWS: usize = 12;

/// See the module.
#[derive(Debug)]
pub struct Live {
    out: Out,
    painted: usize,
    last: Option<Instant>,
    frame: usize,
    dirty: bool,
}

impl Live {
    /// Writes to standard output, which is a terminal.
    pub fn new(out: Out) -> Self {
        Self {
            out,
            painted: 0,
            last: None,
            frame: 0,
            dirty: false,
        }
    }

    fn erase(&mut self) -> String {
        match std::mem::take(&mut self.painted) {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\r\x1b[J"),
        }
    }

    /// A line that stays.
    fn above(&mut self, text: &str) {
        let mut bytes = self.erase();
        bytes.push_str(text);
        bytes.push('\n');
        self.out.write(bytes.as_bytes());
        self.dirty = true;
    }

    fn paint(&mut self, board: &Board) {
        self.last = Some(Instant::now());
        self.dirty = false;
        self.frame = self.frame.wrapping_add(1);
        let spinner = SPINNER
            .get(self.frame % SPINNER.len())
            .copied()
            .unwrap_or("·");
        let width = terminal_width();
        let now_ms = now_ms();
        let mut lines = Vec::new();
        let running = |status| matches!(status, JobStatus::NotRunning | JobStatus::Running);
        for job in board.jobs.iter().filter(|job| running(job.status)) {
            let step = match board.running_step(job) {
                Some((_, _, view)) => {
                    let elapsed = duration(now_ms - view.started_at_ms);
                    format!("{}  {elapsed}", view.name)
                }
                None => String::from("preparing"),
            };
            let text = format!("{spinner} {} › {step}", board.job_label(job));
            lines.push(cut(&text, width));
        }
        let hidden = lines.len().saturating_sub(ROWS);
        lines.truncate(ROWS);
        let count = |wanted: fn(JobStatus) -> bool| {
            board.jobs.iter().filter(|job| wanted(job.status)).count()
        };
        let waiting = count(|status| matches!(status, JobStatus::Blocked | JobStatus::Queued));
        let mut more = Vec::new();
        if hidden > 0 {
            more.push(format!("{hidden} more running"));
        }
        if waiting > 0 {
            more.push(format!("{waiting} waiting"));
        }
        if !more.is_empty() {
            let text = self
                .out
                .paint(Style::Dim, &cut(&format!("  {}", more.join(", ")), width));
            lines.push(text);
        }
        let mut text = self.erase();
        self.painted = lines.len();
        for line in &lines {
            text.push_str(line);
            text.push('\n');
        }
        self.out.write(text.as_bytes());
    }
}

impl Renderer for Live {
    fn update(&mut self, update: &Update, board: &Board) {
        match &update.kind {
            UpdateKind::StepFinished {
                task, step, status, ..
            } => {
                if let Some(view) = board.steps.get(&(*task, *step))
                    && !matches!(status, StepStatus::Running | StepStatus::Success)
                    && !(is_own_step(*step) && *status == StepStatus::Canceled)
                {
                    let head = summary::failure_head(board, *task, *step, view);
                    let head = self.out.paint(Style::Bad, &head);
                    self.above(&head);
                }
            }
            UpdateKind::Job {
                workflow,
                job,
                status,
                reason,
                ..
            } => {
                if let Some(view) = board
                    .jobs
                    .iter()
                    .find(|view| view.id == *job && view.workflow == *workflow)
                    && status.is_terminal()
                    && view.stopped_at_ms.is_some()
                {
                    let took = view
                        .elapsed_ms(update.at_ms)
                        .map_or_else(String::new, duration);
                    let why = if *status == JobStatus::Success {
                        String::new()
                    } else {
                        one_line(reason)
                    };
                    let label = board.job_label(view);
                    let mark = self
                        .out
                        .paint(summary::style(*status), summary::mark(*status));
                    let rest = self.out.paint(Style::Dim, format!("{took}  {why}").trim());
                    self.above(&format!("{mark} {label}  {rest}"));
                }
            }
            _ => {}
        }
        self.dirty = true;
    }

    fn output(&mut self, _task: TaskId, _step: u32, _offset: u64, _bytes: &[u8], _board: &Board) {}

    fn wants_output(&self) -> bool {
        false
    }

    fn tick(&mut self, board: &Board) {
        let due = self.last.is_none_or(|last| last.elapsed() >= FRAME);
        if due || (self.dirty && self.painted == 0) {
            self.paint(board);
        }
    }

    fn note(&mut self, text: &str) {
        self.above(text);
    }

    fn pause(&mut self) {
        let erase = self.erase();
        self.out.write(erase.as_bytes());
        self.last = None;
    }
}

/// A line that wraps would be erased by half.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() < width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(2)).collect();
    short.push('…');
    short
}

fn terminal_width() -> usize {
    rustix::termios::tcgetwinsize(std::io::stdout())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 0)
        .unwrap_or(80)
}
