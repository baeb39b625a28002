//! `capstan config explain`: where each line of a compiled job comes from; or what a code means.

use capstan_config::codes;
use capstan_config::diagnostic::nearest;
use capstan_model::OriginId;
use capstan_model::plan::{
    BuildJob, EnvVar, Executor, Job, JobKind, Plan, Shell, Step, StepKind, When, Workflow,
};
use capstan_model::source::{Origin, OriginKind, Origins};
use clap::Args;
use serde_json::{Value, json};

use super::{OneConfig, compile_one};
use crate::compile;
use crate::exit::{Code, Failure};
use crate::orb::sources;
use crate::render::Out;
use crate::render::neutral::{Neutralizer, one_line};
use crate::render::out::Style;

/// Arguments of `capstan config explain`.
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
    /// A job (`job` or `workflow/job`), one of its steps by number or name, or a code such as E_PARAM_TYPE
    #[arg(value_name = "JOB[:STEP]|CODE")]
    what: String,
    #[command(flatten)]
    config: OneConfig,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// There is no such code, job or step, or the config is wrong.
pub fn main(args: &ExplainArgs) -> Result<Code, Failure> {
    if codes::looks_like(&args.what) {
        return code(&args.what);
    }
    let (_, done) = {
        let orbs = sources::of(&args.config.values.orbs, args.json)?;
        compile_one(
            args.config.path.as_deref(),
            &args.config.values,
            &*orbs,
            capstan_config::compile,
        )?
    };
    let mut told = done.diagnostics;
    if done.plan.is_some() {
        // The lines of a plan are asked for, not its warnings.
        told.clear();
    }
    compile::accept(&told, &done.sources, args.json)?;
    let Some(plan) = done.plan else {
        return Err(Failure::told(Code::Config));
    };
    let (jobs, step) = find(&plan, &args.what)?;
    let mut out = Out::new();
    for (workflow, job) in jobs {
        let lines = lines(job, step.as_deref(), &plan.origins)?;
        if args.json {
            for line in &lines {
                out.line(&line.json(workflow, job, &plan.origins).to_string());
            }
        } else {
            print(&mut out, workflow, job, &lines, &plan.origins);
        }
    }
    Ok(Code::Success)
}

fn code(code: &str) -> Result<Code, Failure> {
    match codes::find(code) {
        Some(rule) => {
            Out::new().write(rule.page().as_bytes());
            Ok(Code::Success)
        }
        None => {
            let failure = Failure::config(format!("there is no code {code}"));
            Err(match codes::nearest(code) {
                Some(near) => failure.hint(format!("did you mean {near}?")),
                None => failure.hint("docs/diagnostics lists them all"),
            })
        }
    }
}

/// The jobs that are meant, with the step if one is: names may hold slashes and colons themselves, so a
/// name that exists as it stands goes first.
fn find<'p>(plan: &'p Plan, what: &str) -> Result<(Vec<Pair<'p>>, Option<String>), Failure> {
    let found = named(plan, what);
    if !found.is_empty() {
        return Ok((found, None));
    }
    for (at, _) in what.match_indices(':') {
        let (job, step) = (what.get(..at).unwrap_or(""), what.get(at + 1..));
        let found = named(plan, job);
        if !found.is_empty() {
            return Ok((found, step.map(str::to_owned)));
        }
    }
    let job = what.split(':').next().unwrap_or(what);
    let names: Vec<&str> = pairs(plan).map(|(_, job)| job.name.as_str()).collect();
    Err(unknown("job", job, &names, std::iter::empty()))
}

type Pair<'p> = (&'p Workflow, &'p Job);

fn pairs(plan: &Plan) -> impl Iterator<Item = Pair<'_>> {
    let all = plan.workflows.iter();
    all.flat_map(|workflow| workflow.jobs.iter().map(move |job| (workflow, job)))
}

fn named<'p>(plan: &'p Plan, name: &str) -> Vec<Pair<'p>> {
    let by_job = |(_, job): &Pair<'_>| job.name == name;
    let by_both = |(workflow, job): &Pair<'_>| {
        name.strip_prefix(workflow.name.as_str())
            .and_then(|rest| rest.strip_prefix('/'))
            .is_some_and(|rest| rest == job.name)
    };
    let found: Vec<Pair<'p>> = pairs(plan).filter(by_job).collect();
    if found.is_empty() {
        pairs(plan).filter(by_both).collect()
    } else {
        found
    }
}

/// Says which name is near, else which there are; `more` are other words that were possible.
fn unknown<'n>(
    kind: &str,
    name: &str,
    all: &[&'n str],
    more: impl Iterator<Item = &'n str>,
) -> Failure {
    let failure = Failure::config(format!(
        "there is no {kind} `{name}` among those that were compiled"
    ));
    if let Some(near) = nearest(name, all.iter().copied().chain(more)) {
        return failure.hint(format!("did you mean `{near}`?"));
    }
    let mut names: Vec<&str> = Vec::new();
    for name in all {
        if !names.contains(name) {
            names.push(name);
        }
    }
    names.truncate(20);
    failure.hint(format!("there are {}", names.join(", ")))
}

/// A line of a compiled job.
struct Line {
    part: &'static str,
    /// From 1, for steps.
    number: Option<usize>,
    /// As a person reads it, maybe several lines.
    shown: String,
    value: Value,
    /// Where it comes from; `None` where the plan does not say.
    origin: Option<OriginId>,
}

fn lines(job: &Job, step: Option<&str>, origins: &Origins) -> Result<Vec<Line>, Failure> {
    let JobKind::Build(build) = &job.kind else {
        let word = match job.kind {
            JobKind::Approval => "approval",
            _ => "no-op",
        };
        return match step {
            None => Ok(vec![field("type", word, json!(word), Some(job.origin))]),
            Some(step) => Err(Failure::config(format!(
                "{} is of type {word} and has no step {step}",
                job.name
            ))),
        };
    };
    let steps: Vec<Line> = build
        .steps
        .iter()
        .enumerate()
        .map(|(at, step)| step_line(at + 1, step))
        .collect();
    let Some(wanted) = step else {
        let mut all = fields(job, build);
        all.extend(steps);
        return Ok(all);
    };
    let number = wanted.parse::<usize>().ok();
    let matches = |at: usize, step: &Step| {
        Some(at + 1) == number
            || step.title() == wanted
            || key(&step.kind) == wanted
            || of_command(origins, step, wanted)
    };
    let meant: Vec<usize> = (0..build.steps.len())
        .filter(|at| build.steps.get(*at).is_some_and(|step| matches(*at, step)))
        .collect();
    if meant.is_empty() {
        let titles: Vec<String> = build
            .steps
            .iter()
            .map(|step| one_line(step.title()))
            .collect();
        let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
        let keys = build.steps.iter().map(|step| key(&step.kind));
        let failure = unknown("step", wanted, &titles, keys);
        return Err(failure.hint(format!("or a number up to {}", build.steps.len())));
    }
    let numbered = steps.into_iter().enumerate();
    Ok(numbered
        .filter(|(at, _)| meant.contains(at))
        .map(|(_, line)| line)
        .collect())
}

/// Whether a step came to the job by a call of this command.
fn of_command(origins: &Origins, step: &Step, command: &str) -> bool {
    origins.chain(step.origin).any(|origin| match &origin.kind {
        OriginKind::Command(name) | OriginKind::Orb { name, .. } => name == command,
        _ => false,
    })
}

fn field(part: &'static str, shown: &str, value: Value, origin: Option<OriginId>) -> Line {
    Line {
        part,
        number: None,
        shown: shown.to_owned(),
        value,
        origin,
    }
}

/// What stands beside the steps.
fn fields(job: &Job, build: &BuildJob) -> Vec<Line> {
    let mut all = Vec::new();
    match &build.executor {
        Executor::Docker(containers) => {
            for container in containers {
                let origin = build.origin_of("docker");
                all.push(field("docker", &container.image, json!(container), origin));
                for variable in &container.environment {
                    all.push(assignment("docker environment", variable, origin));
                }
            }
        }
        Executor::Machine { image, .. } => {
            let shown = image.as_deref().unwrap_or("the default image");
            all.push(field(
                "machine",
                shown,
                json!(image),
                build.origin_of("machine"),
            ));
        }
        Executor::Macos { xcode } => {
            all.push(field(
                "macos",
                xcode,
                json!(xcode),
                build.origin_of("macos"),
            ));
        }
    }
    if let Some(class) = &build.resource_class {
        let origin = build.origin_of("resource_class");
        all.push(field("resource_class", class, json!(class), origin));
    }
    if let Some(shell) = &build.shell {
        let origin = build.origin_of("shell");
        all.push(field("shell", &shell_text(shell), json!(shell), origin));
    }
    let directory = &build.working_directory;
    all.push(field(
        "working_directory",
        directory,
        json!(directory),
        build.origin_of("working_directory"),
    ));
    if build.parallelism > 1 {
        let n = build.parallelism;
        let origin = build.origin_of("parallelism");
        all.push(field("parallelism", &n.to_string(), json!(n), origin));
    }
    for variable in &build.environment {
        let own = build.origin_of(&format!("environment.{}", variable.name));
        let origin = own.or_else(|| build.origin_of("environment"));
        all.push(assignment("environment", variable, origin));
    }
    for context in &job.contexts {
        all.push(field("context", context, json!(context), Some(job.origin)));
    }
    for wanted in &job.requires {
        let words: Vec<&str> = wanted.statuses.iter().map(|s| s.as_str()).collect();
        let shown = format!("{} ({})", wanted.job, words.join(", "));
        all.push(field("requires", &shown, json!(wanted), Some(job.origin)));
    }
    all
}

fn assignment(part: &'static str, variable: &EnvVar, origin: Option<OriginId>) -> Line {
    let shown = format!("{}={}", variable.name, variable.value);
    field(part, &shown, json!(variable), origin)
}

fn shell_text(shell: &Shell) -> String {
    match shell {
        Shell::Line(line) => line.clone(),
        Shell::List(words) => words.join(" "),
    }
}

fn key(kind: &StepKind) -> &str {
    match kind {
        StepKind::Run(_) => "run",
        StepKind::Checkout { .. } => "checkout",
        StepKind::Continue(_) => "continue the pipeline",
        StepKind::Other { step, .. } => step,
    }
}

fn step_line(number: usize, step: &Step) -> Line {
    let mut shown = match &step.name {
        Some(name) => format!("{}: {name}", key(&step.kind)),
        None => key(&step.kind).to_owned(),
    };
    match step.when {
        When::OnSuccess => {}
        When::OnFail => shown.push_str("  (when: on_fail)"),
        When::Always => shown.push_str("  (when: always)"),
    }
    match &step.kind {
        StepKind::Run(run) => {
            for line in run.command.trim_end().lines() {
                shown.push_str("\n  ");
                shown.push_str(line);
            }
        }
        StepKind::Checkout {
            path: Some(path), ..
        } => {
            shown.push_str(&format!("\n  path: {path}"));
        }
        StepKind::Checkout { .. } => {}
        StepKind::Continue(step) => {
            let nothing = String::from("nothing");
            let with = step.configuration.as_ref().unwrap_or(&nothing);
            shown.push_str(&format!(
                "\n  with: {with}\n  parameters: {}",
                step.parameters
            ));
        }
        StepKind::Other { fields, .. } => {
            for (key, value) in fields.as_object().into_iter().flatten() {
                shown.push_str(&format!("\n  {key}: {value}"));
            }
        }
    }
    Line {
        part: "step",
        number: Some(number),
        shown,
        value: json!({"name": step.title(), "when": step.when, "does": step.kind}),
        origin: Some(step.origin),
    }
}

impl Line {
    fn json(&self, workflow: &Workflow, job: &Job, origins: &Origins) -> Value {
        let chain: Vec<Value> = self
            .origin
            .into_iter()
            .flat_map(|origin| origins.chain(origin))
            .map(|origin| {
                let at = origins.locate(origin.span);
                json!({"what": what(origin), "file": at.file, "line": at.line, "column": at.column})
            })
            .collect();
        json!({"workflow": workflow.name, "job": job.name, "part": self.part,
            "number": self.number, "value": self.value, "origin": chain})
    }
}

fn print(out: &mut Out, workflow: &Workflow, job: &Job, lines: &[Line], origins: &Origins) {
    let head = format!("{}/{}", workflow.name, job.name);
    let head = out.paint(Style::Bold, &neutral(&head));
    out.line(&head);
    let of_job: Vec<&Origin> = origins.chain(job.origin).collect();
    chain(out, &of_job, origins, "  ");
    for line in lines {
        let name = match line.number {
            Some(number) => format!("{number}."),
            None => format!("{}:", line.part),
        };
        let shown = neutral(&line.shown).replace('\n', "\n  ");
        out.line(&format!("  {} {shown}", out.paint(Style::Bold, &name)));
        let of_line = line.origin.into_iter().flat_map(|id| origins.chain(id));
        // What leads to the job stands above, once.
        let of_line: Vec<&Origin> = of_line.filter(|one| !of_job.contains(one)).collect();
        chain(out, &of_line, origins, "       ");
    }
}

/// Nearest first: where it was written, then each call that led there.
fn chain(out: &mut Out, all: &[&Origin], origins: &Origins, indent: &str) {
    for origin in all {
        let at = origins.locate(origin.span);
        let place = format!("{}:{}:{}", at.file, at.line, at.column);
        let text = format!("{indent}{}  {}", neutral(&place), neutral(&what(origin)));
        let text = out.paint(Style::Dim, &text);
        out.line(&text);
    }
}

/// An origin in words that follow its place.
fn what(origin: &Origin) -> String {
    match &origin.kind {
        OriginKind::Written => String::from("written here"),
        OriginKind::Workflow(name) => format!("in workflow '{name}'"),
        OriginKind::Job(name) => format!("by job '{name}'"),
        OriginKind::Command(name) => format!("by the call of command '{name}'"),
        OriginKind::Executor(name) => format!("by executor '{name}'"),
        OriginKind::Matrix(values) => {
            let values: Vec<String> = values.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("by the matrix, with {}", values.join(", "))
        }
        OriginKind::Parameter(name) => format!("as the value of parameter '{name}'"),
        OriginKind::AroundSteps(which) => format!("by the {which} of the workflow's entry"),
        OriginKind::Condition => String::from("by a condition that holds"),
        OriginKind::Orb { name, reference } => format!("in '{name}' of the orb {reference}"),
        OriginKind::Shim(name) => format!("run natively in place of '{name}'"),
    }
}

/// A text of the config without what a terminal could take for a command; line breaks stay.
fn neutral(text: &str) -> String {
    let mut clean = Vec::new();
    Neutralizer::new(false).push(text.as_bytes(), &mut clean);
    String::from_utf8_lossy(&clean).into_owned()
}
