//! Workflows: what waits for what, matrices, groups.

use super::Rule;

pub(super) const RULES: &[Rule] = &[
    Rule {
        code: "E_NO_WORKFLOW",
        title: "there is nothing to run",
        section: "10.1",
        mend: Some("add a workflow that lists your jobs, or call the job `build`"),
        text: "
A config has workflows that list jobs, or a job called `build`, which then runs alone.",
        wrong: "
version: 2.1
jobs:
  test:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
",
        right: "
version: 2.1
jobs:
  test:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
    jobs: [test]
",
    },
    Rule {
        code: "E_REQ_UNKNOWN",
        title: "a job requires one that is not in its workflow",
        section: "10.9.2",
        mend: Some("list that job in this workflow, or drop the requirement"),
        text: "
`requires` names jobs of the same workflow, by the `name` they have there. A job that is defined, and not
listed in this workflow, cannot be waited for. Members of a matrix are called `job-value`; the job's own name,
or the matrix's `alias`, means all of them.",
        wrong: "
version: 2.1
jobs:
  test:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
  deploy:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
    jobs:
      - test: {name: unit}
      - deploy: {requires: [tests]}
",
        right: "
version: 2.1
jobs:
  test:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
  deploy:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
    jobs:
      - test: {name: unit}
      - deploy: {requires: [unit]}
",
    },
    Rule {
        code: "E_REQ_AMBIG",
        title: "a job requires a name that several have",
        section: "10.9.3",
        mend: Some("give each of them a `name`"),
        text: "
The job stands in the workflow more than once, so its name alone does not say which is meant. Give each a
`name` and require that.",
        wrong: "
version: 2.1
jobs:
  say:
    parameters: {what: {type: string}}
    docker: [{image: cimg/base:stable}]
    steps: [{run: echo << parameters.what >>}]
  deploy:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
    jobs:
      - say: {what: one}
      - say: {what: two}
      - deploy: {requires: [say]}
",
        right: "
version: 2.1
jobs:
  say:
    parameters: {what: {type: string}}
    docker: [{image: cimg/base:stable}]
    steps: [{run: echo << parameters.what >>}]
  deploy:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
    jobs:
      - say: {what: one, name: first}
      - say: {what: two, name: second}
      - deploy: {requires: [first, second]}
",
    },
    Rule {
        code: "E_REQ_CYCLE",
        title: "jobs wait for each other",
        section: "10.9.4",
        mend: Some("drop one of these requirements"),
        text: "
None of the jobs in the circle could ever start. At least one job of a workflow requires nothing.",
        wrong: "
version: 2.1
jobs:
  test:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
  deploy:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
    jobs:
      - test: {requires: [deploy]}
      - deploy: {requires: [test]}
",
        right: "
version: 2.1
jobs:
  test:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
  deploy:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
    jobs:
      - test
      - deploy: {requires: [test]}
",
    },
    Rule {
        code: "E_MATRIX",
        title: "a matrix is not one",
        section: "10.11",
        mend: Some("map each parameter to a list of values"),
        text: "
`parameters` of a matrix maps each parameter to a list of values, also where there is one value. Together they
make at most 128 jobs, counted before `exclude`. An entry of `exclude` names parameters of the matrix.",
        wrong: "
version: 2.1
jobs:
  test:
    parameters: {version: {type: string}}
    docker: [{image: \"cimg/node:<< parameters.version >>\"}]
    steps: [checkout]
workflows:
  main:
    jobs:
      - test: {matrix: {parameters: {version: \"22.11\"}}}
",
        right: "
version: 2.1
jobs:
  test:
    parameters: {version: {type: string}}
    docker: [{image: \"cimg/node:<< parameters.version >>\"}]
    steps: [checkout]
workflows:
  main:
    jobs:
      - test: {matrix: {parameters: {version: [\"22.11\"]}}}
",
    },
    Rule {
        code: "E_GROUP",
        title: "a job group is used in a way that groups cannot be",
        section: "11",
        mend: Some("write such keys at the members of the group"),
        text: "
An entry of a workflow that names a job group takes `requires`, `filters`, `name` and `serial-group`, and
nothing else: no matrix, no context, no arguments. Groups do not hold groups. Write such keys at the members.",
        wrong: "
version: 2.1
jobs:
  test:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
job-groups:
  checks:
    jobs: [test]
workflows:
  main:
    jobs:
      - checks: {context: team}
",
        right: "
version: 2.1
jobs:
  test:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
job-groups:
  checks:
    jobs:
      - test: {context: team}
workflows:
  main:
    jobs: [checks]
",
    },
    Rule {
        code: "E_SETUP",
        title: "a setup config would run more than one workflow",
        section: "14.1",
        mend: Some("keep one workflow, or separate them by `when` or filters"),
        text: "
A config with `setup: true` decides what the pipeline continues with, so exactly one of its workflows may run.
Separate them with `when`, with filters, or move the rest into the config that is continued with.",
        wrong: "
version: 2.1
setup: true
jobs:
  choose:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  setup:
    jobs: [choose]
  also:
    jobs: [choose]
",
        right: "
version: 2.1
setup: true
jobs:
  choose:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  setup:
    jobs: [choose]
",
    },
];
