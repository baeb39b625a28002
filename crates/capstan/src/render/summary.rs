//! The words for how steps and jobs ended, and the last lines of a run.

use capstan_model::{JobStatus, StepStatus};

use super::board::StepView;
use super::neutral::one_line;
use super::out::Style;
use super::{Board, Out, duration};

/// A sign for a job's status.
pub fn mark(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Success => "✓",
        JobStatus::OnHold => "⏸",
        JobStatus::NotRun | JobStatus::Canceled | JobStatus::Retried => "-",
        status if status.is_terminal() => "✗",
        _ => "·",
    }
}

/// The style of a job's status.
pub fn style(status: JobStatus) -> Style {
    match status {
        JobStatus::Success => Style::Good,
        JobStatus::OnHold => Style::Wait,
        status if status.is_failure() || status == JobStatus::Unauthorized => Style::Bad,
        _ => Style::Dim,
    }
}

/// How a step ended, on one line: `✗ make test (exit code 2, 1.3s)`.
pub fn step_line(view: &StepView) -> String {
    let took = duration(view.duration_ms);
    let name = &view.name;
    match view.status {
        StepStatus::Running => format!("▸ {name}"),
        StepStatus::Success => format!("✓ {name} ({took})"),
        status => format!(
            "✗ {name} ({}, {took}){}",
            step_end(view, status),
            reason(view)
        ),
    }
}

fn step_end(view: &StepView, status: StepStatus) -> String {
    match (status, view.exit_code) {
        (StepStatus::Failed, Some(code)) => format!("exit code {code}"),
        (status, _) => status.as_str().replace('_', " "),
    }
}

fn reason(view: &StepView) -> String {
    match view.reason.as_deref().map(one_line) {
        // The exit code has been said.
        Some(reason) if !reason.is_empty() && view.exit_code.is_none() => format!(": {reason}"),
        _ => String::new(),
    }
}

/// The line over a failed step's output: `✗ build › make test  .circleci/config.yml:12  exit code 2`.
pub fn failure_head(
    board: &Board,
    task: capstan_model::TaskId,
    step: u32,
    view: &StepView,
) -> String {
    let place = board
        .location(task, step)
        .map_or_else(String::new, |at| format!("  {}:{}", at.file, at.line));
    let label = board.task_label(task);
    format!(
        "✗ {label} › {}{place}  {}{}",
        view.name,
        step_end(view, view.status),
        reason(view)
    )
}

/// One line per job, then the total.
pub fn print(out: &mut Out, board: &Board, total_ms: i64, now_ms: i64) {
    let width = board
        .jobs
        .iter()
        .map(|job| board.job_label(job).chars().count())
        .max()
        .unwrap_or(0);
    out.line("");
    for job in &board.jobs {
        let label = board.job_label(job);
        let pad = " ".repeat(width.saturating_sub(label.chars().count()));
        let took = job
            .elapsed_ms(now_ms)
            .filter(|_| job.stopped_at_ms.is_some());
        let took = took.map_or_else(String::new, duration);
        let why = match job.status {
            JobStatus::Success | JobStatus::Failed => String::new(),
            _ => one_line(&job.reason),
        };
        let word = job.status.as_str().replace('_', " ");
        let line = format!(
            "{} {label}{pad}  {word:<9} {took:>7}  {why}",
            mark(job.status)
        );
        let line = out.paint(style(job.status), line.trim_end());
        out.line(&line);
    }
    let mut parts = Vec::new();
    for workflow in &board.workflows {
        parts.push(format!(
            "{} {}",
            workflow.name,
            workflow.status.as_str().replace('_', " ")
        ));
    }
    let run = board
        .pipeline
        .map_or_else(String::new, |(id, number)| format!("run {id} (#{number})"));
    out.line(&out.paint(
        Style::Bold,
        &format!("{} in {}", parts.join(", "), duration(total_ms)),
    ));
    out.line(&out.paint(Style::Dim, &run));
}
