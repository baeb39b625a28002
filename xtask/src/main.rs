//! `cargo xtask check`: formatting, lints, tests, tidiness and dependencies, the same here and in CI.

use std::process::{Command, ExitCode};

const HELP: &str = "\
usage: cargo xtask <command>

  check      everything below, in this order
  fmt        cargo fmt --check
  clippy     cargo clippy, warnings denied
  test       cargo test
  tidy       crate borders, stray files, long files
  deny       banned crates and licences; advisories where cargo-deny is installed
";

type Step = (&'static str, fn() -> Result<(), String>);

const STEPS: [Step; 5] = [
    ("fmt", fmt),
    ("clippy", clippy),
    ("tidy", tidy),
    ("deny", deny),
    ("test", test),
];

fn main() -> ExitCode {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let steps: Vec<Step> = match wanted.as_str() {
        "check" => STEPS.to_vec(),
        name => STEPS
            .into_iter()
            .filter(|(step, _)| *step == name)
            .collect(),
    };
    if steps.is_empty() {
        eprint!("{HELP}");
        return ExitCode::from(2);
    }
    for (name, step) in steps {
        eprintln!("xtask: {name}");
        if let Err(why) = step() {
            eprintln!("xtask: {name} failed: {why}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn fmt() -> Result<(), String> {
    cargo(&["fmt", "--all", "--check"])
}

fn clippy() -> Result<(), String> {
    cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ])
}

fn test() -> Result<(), String> {
    cargo(&["test", "--workspace"])
}

fn tidy() -> Result<(), String> {
    report(xtask::tidy::problems(&xtask::root()))
}

fn deny() -> Result<(), String> {
    report(xtask::deny::problems(&xtask::root())?)?;
    if Command::new("cargo-deny")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("xtask: advisories skipped: cargo-deny is not installed");
        return Ok(());
    }
    cargo(&["deny", "--all-features", "check", "advisories"])
}

fn report(problems: Vec<String>) -> Result<(), String> {
    for problem in &problems {
        eprintln!("  {problem}");
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(format!("{} problems", problems.len()))
    }
}

fn cargo(arguments: &[&str]) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(arguments)
        .current_dir(xtask::root())
        .status()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("cargo {} said {status}", arguments[0]))
    }
}
