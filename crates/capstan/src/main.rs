//! The `capstan` command: arguments in, a terminal and an exit code out. Each subcommand has its file;
//! what it asks of the project goes through [`project`], what it asks of a run through [`session`] (one
//! that goes on) or [`history`] (one that is over).

mod approve;
mod args;
mod compile;
mod config;
mod data;
mod dotenv;
mod exit;
mod history;
mod late;
mod logs;
mod orb;
mod plan;
mod project;
mod render;
mod rerun;
mod run;
mod runs;
mod select;
mod session;
mod show;
mod sockets;
mod verdict;
mod why;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use late::Late;

/// Runs CircleCI configs, unmodified, on this machine
#[derive(Parser, Debug)]
#[command(
    name = "capstan",
    version,
    max_term_width = 100,
    after_help = "Start here:
  capstan run                       what a push of these files would start
  capstan plan --branch main        what would run on main, and which clause says so
  capstan config validate           what is wrong with the config

Exit codes:
  0 success · 1 a job failed · 2 config or arguments wrong · 3 this machine lacks something
  4 on hold: an approval nobody gave · 130 canceled"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the workflows a push of these files would start
    #[command(after_help = "Examples:
  capstan run                                     everything this branch starts
  capstan run --branch main --approve-all         as if on main, approvals given
  capstan run --job test --env TOKEN              one job, with TOKEN from your environment
  capstan run --context deploy=deploy.env         with the variables of a context
  capstan run --executor host                     container jobs on this machine, without Docker

Jobs check out the files as they stand: uncommitted changes included, ignored files left out.
--branch and --tag only label the run. Ctrl-C cancels; twice, it kills.")]
    Run(Late<run::RunArgs>),
    /// Say what would run, what would wait, what would be skipped, and why
    #[command(after_help = "Examples:
  capstan plan --branch feature
  capstan plan --tag v1.2.0 --json")]
    Plan(Late<plan::PlanArgs>),
    /// Run a run again, or part of it, with the config and sources it had
    #[command(after_help = "Examples:
  capstan rerun                            the last run, from its start
  capstan rerun --from-failed              what failed, and what waited for it
  capstan rerun 3f2a --job test            one job of that run, even a green one
  capstan rerun --job build --with-downstream")]
    Rerun(Late<rerun::RerunArgs>),
    /// Approve what a run waits for, and let it go on
    #[command(
        override_usage = "capstan approve [OPTIONS] [RUN] <NAME>",
        after_help = "Examples:
  capstan approve hold                     the last run, which ended with exit code 4
  capstan approve 3f2a deploy/hold         a run by the beginning of its id
  capstan approve hold --context prod=prod.env

Jobs check out the sources the run had. Variables and contexts are not kept with a run: give them again."
    )]
    Approve(Late<approve::ApproveArgs>),
    /// List the runs of this project
    Runs(Late<runs::RunsArgs>),
    /// Show the workflows, jobs and steps of a run
    Show(Late<show::ShowArgs>),
    /// Print the output of a run's steps
    #[command(after_help = "Examples:
  capstan logs                       everything the last run wrote
  capstan logs latest test           one job
  capstan logs 3f2a test --step 102  one step")]
    Logs(Late<logs::LogsArgs>),
    /// Say why each job ran, waited or was skipped
    Why(Late<why::WhyArgs>),
    /// Check or expand config files
    #[command(subcommand)]
    Config(Late<config::ConfigArgs>),
    /// Look at orbs, and make them
    #[command(subcommand)]
    Orb(Late<orb::OrbCommand>),
}

fn main() -> ExitCode {
    // Runner and places start this very program as agent and guard. They come first and without the
    // argument parser: a job pays for every millisecond of it.
    let mut raw = std::env::args_os();
    let called = raw.next().unwrap_or_default();
    match raw.next().as_ref().and_then(|verb| verb.to_str()) {
        _ if capstan_agent::is_job_command(&called) => {
            return capstan_agent::main(std::env::args_os());
        }
        Some("agent") => return capstan_agent::main(std::env::args_os()),
        Some("guard") => return capstan_runner::guard::main(raw.collect()),
        _ => {}
    }
    capstan_sys::keep_memory();
    let result = match &Cli::parse().command {
        Command::Run(Late(args)) => run::main(args),
        Command::Plan(Late(args)) => plan::main(args),
        Command::Rerun(Late(args)) => rerun::main(args),
        Command::Approve(Late(args)) => approve::main(args),
        Command::Runs(Late(args)) => runs::main(args),
        Command::Show(Late(args)) => show::main(args),
        Command::Logs(Late(args)) => logs::main(args),
        Command::Why(Late(args)) => why::main(args),
        Command::Config(Late(args)) => config::main(args),
        Command::Orb(Late(args)) => orb::main(args),
    };
    match result {
        Ok(code) => code.into(),
        Err(failure) => {
            if !failure.message.is_empty() {
                render::out::complain(&failure.to_string());
            }
            failure.code.into()
        }
    }
}
