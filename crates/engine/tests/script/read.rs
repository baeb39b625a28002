//! The plan at the head of a script.
//!
//! ```text
//! workflow main auto-reruns 1
//!   build
//!   test x3 requires build
//!   hold approval requires test
//!   deploy group prod requires hold, smoke: failed canceled
//! ```
//!
//! A line `setup` makes it the plan of a setup config, and what stands below a line `continuation` the plan
//! that it continues with.

use capstan_model::Plan;
use capstan_model::plan::{Job, JobKind, RequiredStatus, Requirement, Workflow};

use crate::make;

/// The plan of these lines; other lines are for people.
fn plan<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Plan, String> {
    let mut workflows: Vec<Workflow> = Vec::new();
    for line in lines {
        if let Some(words) = line.strip_prefix("workflow ") {
            workflows.push(workflow(words)?);
        } else if let Some(words) = line.strip_prefix("  ") {
            let workflow = workflows.last_mut().ok_or("a job outside of a workflow")?;
            workflow.jobs.push(job(words)?);
        }
    }
    Ok(make::plan(workflows))
}

/// The plan, and the one it continues with.
pub fn plans(lines: &[&str]) -> Result<[Plan; 2], String> {
    let first = lines.iter().copied();
    let first: Vec<&str> = first.take_while(|line| *line != "continuation").collect();
    let second = lines[first.len()..].iter().copied();
    let setup = first.contains(&"setup");
    let first = plan(first.into_iter())?;
    Ok([Plan { setup, ..first }, plan(second)?])
}

fn workflow(line: &str) -> Result<Workflow, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (name, auto_reruns) = match words.as_slice() {
        [name] => (name, 0),
        [name, "auto-reruns", count] => (name, number(count)?),
        _ => return Err(format!("not a workflow: {line}")),
    };
    let mut workflow = make::workflow(name, Vec::new());
    workflow.max_auto_reruns = auto_reruns;
    Ok(workflow)
}

fn job(line: &str) -> Result<Job, String> {
    let (own, requires) = line.split_once(" requires ").unwrap_or((line, ""));
    let mut words = own.split_whitespace();
    let name = words.next().ok_or("a job without a name")?;
    let mut job = make::job(name, make::build(1));
    while let Some(word) = words.next() {
        match word {
            "approval" => job.kind = JobKind::Approval,
            "no-op" => job.kind = JobKind::NoOp,
            "group" => job.serial_group = Some(words.next().ok_or("no group")?.to_owned()),
            _ => {
                let nodes = word.strip_prefix('x').ok_or("nodes are written x3")?;
                job.kind = make::build(number(nodes)?);
            }
        }
    }
    for one in requires.split(", ").filter(|one| !one.is_empty()) {
        job.requires.push(requirement(one)?);
    }
    Ok(job)
}

fn requirement(text: &str) -> Result<Requirement, String> {
    let Some((job, words)) = text.split_once(": ") else {
        return Ok(make::requires(text, &[RequiredStatus::Success]));
    };
    if words == "terminal" {
        return Ok(make::requires(job, &RequiredStatus::ALL));
    }
    let mut statuses = Vec::new();
    for word in words.split_whitespace() {
        let known = RequiredStatus::ALL
            .into_iter()
            .find(|status| status.as_str() == word);
        statuses.push(known.ok_or_else(|| format!("no status to require: {word}"))?);
    }
    Ok(make::requires(job, &statuses))
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("not a number: {text}"))
}
