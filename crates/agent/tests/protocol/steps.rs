//! What steps do, as transcripts.

use capstan_model::plan::{EnvVar, Shell, Step, StepKind, When};
use capstan_model::wire::{TaskVar, VarSource};

use super::harness::{Agent, check, check_task, checkout, run, run_with, task};

fn when(when: When, step: Step) -> Step {
    Step { when, ..step }
}

fn in_background(command: &str) -> Step {
    run_with(command, |step| step.background = true)
}

fn by(shell: &str, command: &str) -> Step {
    run_with(command, |step| {
        step.shell = Some(Shell::Line(shell.to_owned()));
    })
}

#[test]
fn a_failure_skips_what_follows_but_not_always_and_on_fail() {
    check(
        vec![
            run("echo one; exit 3"),
            run("echo never"),
            when(When::OnFail, run("echo handler")),
            when(When::Always, run("echo anyway; exit 4")),
            when(When::OnFail, run("echo second handler")),
        ],
        "1| one
         1| Exited with code exit status 3
         1 failed 3
         3| handler
         3 success 0
         4| anyway
         4| Exited with code exit status 4
         4 failed 4
         5| second handler
         5 success 0
         failed",
    );
    check(
        vec![
            run("true"),
            when(When::OnFail, run("echo never")),
            when(When::Always, run("echo anyway")),
        ],
        "1 success 0
         3| anyway
         3 success 0
         success",
    );
}

#[test]
fn a_signal_is_128_and_its_number() {
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("SEGV", 139)] {
        check(
            vec![run(&format!("kill -{signal} $$"))],
            &format!(
                "1| Exited with code exit status {code}
                 1 failed {code}
                 failed"
            ),
        );
    }
}

#[test]
fn a_failed_pipe_and_a_failed_line_fail_the_step() {
    check(
        vec![run("false | true; echo not here")],
        "1| Exited with code exit status 1
         1 failed 1
         failed",
    );
    check(
        vec![by("/bin/bash", "false | true; false\necho here")],
        "1| here
         1 success 0
         success",
    );
}

#[test]
fn a_background_step_lives_until_the_job_ends_and_does_not_fail_it() {
    check(
        vec![
            in_background("echo up > up; echo serving; sleep 99"),
            in_background("exit 5"),
            run("while [ ! -e up ]; do sleep 0.02; done; echo found; sleep 0.1"),
        ],
        "3| found
         3 success 0
         1| serving
         1 success 137
         2 success 5
         success",
    );
}

#[test]
fn a_step_ends_with_its_shell_and_what_it_left_ends_with_the_job() {
    check(
        vec![
            run("(sleep 60; echo late) & echo shell"),
            run(
                "setsid nohup sh -c 'while :; do touch a; sleep 0.05; done' > /dev/null 2>&1 &
                 ( ( while :; do touch b; sleep 0.05; done & ) & )
                 echo forked",
            ),
            run("for file in a b; do
                   while [ ! -e $file ]; do sleep 0.02; done
                 done
                 echo alive"),
        ],
        "1| shell
         1 success 0
         2| forked
         2 success 0
         3| alive
         3 success 0
         success",
    );
}

#[test]
fn silence_ends_a_step_and_words_keep_it_alive() {
    let short = |command: &str| run_with(command, |step| step.no_output_timeout_ms = Some(1_200));
    check(
        vec![
            short("for word in 1 2 3 4 5; do printf .; sleep 0.3; done; echo"),
            short("printf 'once'; sleep 60"),
        ],
        "1| .....
         1 success 0
         2| once
         2| Too long with no output (exceeded 1.2s): context deadline exceeded
         2 timedout
         failed",
    );
}

#[test]
fn the_end_of_the_jobs_time_ends_everything() {
    let mut spec = task(vec![
        in_background("sleep 99"),
        run("echo first; sleep 60"),
        when(When::Always, run("echo never")),
    ]);
    spec.max_run_time_ms = 500;
    check_task(
        spec,
        "2| first
         2| The job ran longer than it may
         2 timedout
         1 success 137
         timedout",
    );
}

#[test]
fn limits_may_be_of_any_length() {
    let mut spec = task(vec![run_with("sleep 0.1; echo patient", |step| {
        step.no_output_timeout_ms = Some(u64::MAX);
    })]);
    spec.max_run_time_ms = u64::MAX;
    check_task(spec, "1| patient\n1 success 0\nsuccess");
}

#[test]
fn a_job_halts_well_unless_its_step_fails() {
    for halt in [
        "circleci-agent step halt",
        "circleci step halt",
        "circleci task halt",
    ] {
        check(
            vec![
                run(&format!("{halt}; echo to the end")),
                run("exit 1"),
                when(When::Always, run("exit 1")),
            ],
            "1| to the end
             1 success 0
             success",
        );
    }
    check(
        vec![run("circleci-agent step halt; exit 2"), run("echo never")],
        "1| Exited with code exit status 2
         1 failed 2
         failed",
    );
}

#[test]
fn variables_have_their_order_and_go_on_by_bash_env_only() {
    let variable = |name: &str, value: &str, source| TaskVar {
        name: name.to_owned(),
        value: value.to_owned(),
        source,
    };
    let mut spec = task(vec![
        run("export C=lost; echo 'export D=kept' >> \"$BASH_ENV\""),
        run_with("echo \"$A $B ${C:-unset} $D\"", |step| {
            step.environment = vec![EnvVar {
                name: String::from("B"),
                value: String::from("step"),
            }];
        }),
        when(When::Always, run("echo \"$A $B $D\"")),
    ]);
    spec.environment = vec![
        variable("A", "context", VarSource::Context),
        variable("A", "job", VarSource::Job),
        variable("B", "job", VarSource::Job),
    ];
    check_task(
        spec,
        "1 success 0
         2| job step unset kept
         2 success 0
         3| job job kept
         3 success 0
         success",
    );
}

#[test]
fn every_shell_gets_its_script() {
    check(
        vec![
            run("echo $0"),
            by("/bin/sh", "echo $0"),
            by("perl", "use strict;\nprint \"from perl\\n\";"),
            by("/usr/bin/env perl -w", "print \"and by env\\n\";"),
            by("awk -f", "BEGIN { print \"from a file\" }"),
            run_with("echo $0 $-", |step| {
                let words = ["bash", "-e", "-u"];
                step.shell = Some(Shell::List(words.map(str::to_owned).into()));
            }),
            by("no-such-shell", "true"),
        ],
        "1| /bin/bash
         1 success 0
         2| /bin/sh
         2 success 0
         3| from perl
         3 success 0
         4| and by env
         4 success 0
         5| from a file
         5 success 0
         6| bash ehuBc
         6 success 0
         7| the shell no-such-shell does not exist here
         7 failed
         failed",
    );
}

#[test]
fn a_long_script_is_written_through_no_link() {
    // Longer than an argument may be, so it goes through a file in a folder that steps can write to.
    let long = format!("echo {}\necho end", "x".repeat(10)) + &"\n# filler".repeat(20_000);
    check(
        vec![
            run("for number in 1 2 3; do
                   ln -s \"$PWD/victim\" \"$CIRCLE_INTERNAL_TASK_DATA/script-$number\"
                 done"),
            run(&long),
            run("test ! -e victim; ls \"$CIRCLE_INTERNAL_TASK_DATA\" | grep -c script"),
        ],
        "1 success 0
         2| xxxxxxxxxx
         2| end
         2 success 0
         3| 4
         3 success 0
         success",
    );
}

#[test]
fn a_step_is_tried_again_as_often_as_it_may() {
    let tries = |often: u32| {
        run_with("echo x >> tries; [ $(wc -l < tries) -ge 3 ]", |step| {
            step.max_auto_reruns = often;
        })
    };
    check(
        vec![tries(2)],
        "1| Exited with code exit status 1
         1| Trying again, 2 more at most
         1| Exited with code exit status 1
         1| Trying again, 1 more at most
         1 success 0
         success",
    );
    check(
        vec![tries(1)],
        "1| Exited with code exit status 1
         1| Trying again, 1 more at most
         1| Exited with code exit status 1
         1 failed 1
         failed",
    );
}

#[test]
fn a_step_runs_where_it_is_told() {
    let at = |path: &str| {
        run_with("basename \"$PWD\"", |step| {
            step.working_directory = Some(path.to_owned());
        })
    };
    check(
        vec![
            run("mkdir -p sub ~/other"),
            at("sub"),
            at("~/other"),
            at("~"),
        ],
        "1 success 0
         2| sub
         2 success 0
         3| other
         3 success 0
         4| home
         4 success 0
         success",
    );
    let transcript = Agent::with_steps(vec![at("missing")]).finish();
    assert!(
        transcript.contains("missing does not exist"),
        "{transcript}"
    );
}

#[test]
fn what_cannot_be_executed_is_refused_by_its_name() {
    let step = Step {
        kind: StepKind::Other {
            step: String::from("save_cache"),
            fields: serde_json::json!({}),
        },
        ..checkout(None)
    };
    check(
        vec![step],
        "1| the step save_cache cannot be executed by this version
         1 failed
         failed",
    );
}
