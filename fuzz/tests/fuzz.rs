//! Every input that failed once, and some new ones; `cargo run --release -p capstan-fuzz` makes a
//! million of each target.

use std::process::Command;

use capstan_fuzz::parent::{fails, regressions};
use capstan_fuzz::target::Target;

const PROGRAM: &str = env!("CARGO_BIN_EXE_capstan-fuzz");

#[test]
fn what_failed_once_does_not_fail_again() {
    let mut wrong = Vec::new();
    for target in Target::ALL {
        let Ok(files) = std::fs::read_dir(regressions(target)) else {
            continue;
        };
        for file in files {
            let path = file.unwrap().path();
            if let Some(why) = fails(PROGRAM.as_ref(), target, &path).unwrap() {
                wrong.push(format!("{}: {why}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_few_thousand_inputs_of_each_target_do_not_fail() {
    for target in Target::ALL {
        let runs = match target {
            Target::Config | Target::Orb | Target::Yaml => "1500",
            _ => "5000",
        };
        let output = Command::new(PROGRAM)
            .args([target.name(), "--runs", runs, "--seed", "1"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(said.contains(&format!("{runs} runs")), "{said}");
    }
}
