//! `circleci` as jobs call it.

use super::harness::{check, run};

#[test]
fn tests_are_found_by_patterns() {
    check(
        vec![
            run("mkdir -p spec/models spec/.hidden lib
                 touch spec/a_spec.rb spec/models/b_spec.rb spec/.hidden/c_spec.rb lib/a.rb"),
            run("circleci tests glob 'spec/**/*_spec.rb' 'lib/*.{rb,py}' './spec/a*'"),
            run("circleci tests glob '*'; circleci tests glob '**'"),
            run("circleci tests glob 'none/*.rb' && echo fine"),
            run("circleci tests glob \"$PWD/lib/*.rb\" | sed \"s|$PWD|.|\""),
            run("circleci tests glob"),
        ],
        "1 success 0
         2| lib/a.rb
         2| spec/.hidden/c_spec.rb
         2| spec/a_spec.rb
         2| spec/models/b_spec.rb
         2 success 0
         3| lib
         3| spec
         3| lib/a.rb
         3| spec/.hidden/c_spec.rb
         3| spec/a_spec.rb
         3| spec/models/b_spec.rb
         3 success 0
         4| fine
         4 success 0
         5| ./lib/a.rb
         5 success 0
         6| circleci: tests glob needs a pattern, such as \"tests/**/*.py\" in quotes
         6| Exited with code exit status 2
         6 failed 2
         failed",
    );
}

#[test]
fn each_node_gets_its_share() {
    check(
        vec![
            run(
                "for n in 10 09 08 07 06 05 04 03 02 01; do echo t$n; done > names
                 for index in 0 1 2; do
                   export CIRCLE_NODE_INDEX=$index CIRCLE_NODE_TOTAL=3
                   circleci tests split < names | xargs echo
                 done",
            ),
            run("circleci tests split --index=1 --total 3 --show-counts names | xargs echo"),
            run("circleci tests split names | wc -l"),
            run("circleci tests split --index=3 --total=3 names"),
        ],
        "1| t01 t04 t07 t10
         1| t02 t05 t08
         1| t03 t06 t09
         1 success 0
         2| 3 of 10 tests are for node 1
         2| t02 t05 t08
         2 success 0
         3| 10
         3 success 0
         4| circleci: there is no node 3 of 3: they are counted from 0
         4| Exited with code exit status 2
         4 failed 2
         failed",
    );
}

#[test]
fn shares_go_by_size_and_by_timings_where_there_are_some() {
    let results = r#"{"tests": [{"file": "a", "run_time": 9}, {"file": "b", "run_time": 1}, {"file": "c", "run_time": 1}]}"#;
    check(
        vec![
            run(
                "head -c 100 /dev/zero > a; head -c 10 /dev/zero > b; head -c 20 /dev/zero > c
                 circleci tests split --split-by=filesize --index=0 --total=2 <<< 'a b c'",
            ),
            run("circleci tests split --split-by=timings --index=1 --total=2 <<< 'a b c'"),
            run(&format!(
                "mkdir \"$CIRCLE_INTERNAL_TASK_DATA/circle-test-results\"
                 echo '{results}' > \"$CIRCLE_INTERNAL_TASK_DATA/circle-test-results/results.json\"
                 circleci tests split --split-by=timings --index=1 --total=2 <<< 'a b c'"
            )),
            run(&format!(
                "echo '{results}' > mine; circleci tests split --split-by=timings --timings-type=file \
                 --timings-file=mine --time-default=20s --index=0 --total=2 <<< 'a ./b new'"
            )),
        ],
        "1| a
         1 success 0
         2| Error auto-detecting timing type, falling back to weighting by name.
         2| b
         2 success 0
         3| b
         3| c
         3 success 0
         4| new
         4 success 0
         success",
    );
}

#[test]
fn a_command_gets_its_share_and_gives_its_exit_code() {
    check(
        vec![
            run("printf 'a\\nb\\nc\\n' | circleci tests run --command='xargs echo GOT' --verbose"),
            run("echo a | circleci tests run --index=1 --total=2 --command='echo never'"),
            run(
                "printf 'a\\nb\\n' | circleci tests run --command='cat; exit 7' --index=1 --total=2",
            ),
        ],
        "1| GOT a b c
         1 success 0
         2| No tests for this node; the command is not run.
         2 success 0
         3| b
         3| Exited with code exit status 7
         3 failed 7
         failed",
    );
}

#[test]
fn variables_are_put_into_texts() {
    check(
        vec![
            run("A=1 circleci env subst 'x=$A y=${B:-d} z=$C'"),
            run("printf '{\"foo\": \"$FOO\"}' | FOO=bar circleci env subst"),
            run("circleci env subst '${A'"),
        ],
        "1| x=1 y=d z=
         1 success 0
         2| {\"foo\": \"bar\"}
         2 success 0
         3| circleci: a closing brace is missing after ${A
         3| Exited with code exit status 2
         3 failed 2
         failed",
    );
}

#[test]
fn what_is_not_there_is_said_with_what_is() {
    check(
        vec![
            run("circleci run oidc get 2>&1 | head -1"),
            run("circleci --help | head -1; circleci-agent version > /dev/null"),
        ],
        "1| circleci: `run oidc get` is not supported inside a Capstan job yet
         1| Exited with code exit status 2
         1 failed 2
         failed",
    );
}
