//! `capstan plan`: what would run, and why.

use clap::Args;

use crate::args::{ExecutionArgs, TriggerArgs};
use crate::exit::{Code, Failure};
use crate::orb::sources;
use crate::render::Out;
use crate::render::out::Style;
use crate::verdict::{self, Verdict, Word};
use crate::{compile, project, select};

/// Arguments of `capstan plan`.
#[derive(Args, Clone, Debug)]
pub struct PlanArgs {
    #[command(flatten)]
    trigger: TriggerArgs,
    /// Plan the config of this commit
    #[arg(long = "ref", value_name = "COMMIT")]
    reference: Option<String>,
    #[command(flatten)]
    execution: ExecutionArgs,
}

/// Runs the subcommand.
///
/// # Errors
/// There is no plan.
pub fn main(args: &PlanArgs) -> Result<Code, Failure> {
    let worktree = project::find(args.trigger.config.as_deref())?;
    let worktree = project::at(worktree, args.reference.as_deref())?;
    let number = args.trigger.values.pipeline_number.unwrap_or(1);
    let trigger = project::trigger(&worktree, &args.trigger, number);
    let json = args.execution.json;
    let orbs = sources::of(&args.trigger.values.orbs, json)?;
    let done = compile::project_config(&worktree, trigger, &*orbs)?;
    compile::accept(&done.diagnostics, &done.sources, json)?;
    let Some(plan) = done.plan else {
        return Err(Failure::told(Code::Config));
    };
    select::check(&plan, &done.trigger.selection)?;
    let verdicts = verdict::all(&plan);
    let mut out = Out::new();
    if json {
        for verdict in &verdicts {
            let text = serde_json::to_string(verdict)
                .map_err(|error| Failure::setup(format!("cannot write JSON: {error}")))?;
            out.line(&text);
        }
    } else {
        print(&mut out, &verdicts);
    }
    Ok(Code::Success)
}

fn print(out: &mut Out, verdicts: &[Verdict]) {
    let width = verdicts
        .iter()
        .filter_map(|verdict| verdict.job.as_ref())
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0);
    for verdict in verdicts {
        match &verdict.job {
            None => {
                let head = out.paint(Style::Bold, &verdict.workflow);
                out.line(&format!("{head}  {}", tail(out, verdict)));
            }
            Some(job) => {
                let pad = " ".repeat(width.saturating_sub(job.chars().count()));
                out.line(&format!("  {job}{pad}  {}", tail(out, verdict)));
            }
        }
    }
    if !verdicts
        .iter()
        .any(|verdict| verdict.job.is_some() && verdict.verdict != Word::Skipped)
    {
        out.line("nothing would run");
    }
}

/// The verdict's word, reason, and what decided it.
pub fn tail(out: &Out, verdict: &Verdict) -> String {
    let style = match verdict.verdict {
        Word::Runs => Style::Good,
        Word::Waits => Style::Wait,
        Word::Skipped => Style::Dim,
    };
    let word = out.paint(style, &format!("{:<7}", verdict.verdict.as_str()));
    let mut decided = format!("{}:{}", verdict.file, verdict.line);
    if let Some(clause) = &verdict.clause {
        decided.push_str(&format!("  {}", crate::render::neutral::one_line(clause)));
        if let Some(value) = &verdict.value {
            decided.push_str(&format!(
                "  (is {})",
                crate::render::neutral::one_line(value)
            ));
        }
    }
    format!(
        "{word}  {}  {}",
        verdict.reason,
        out.paint(Style::Dim, &decided)
    )
}
