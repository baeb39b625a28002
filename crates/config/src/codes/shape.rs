//! The file as YAML, its version, and the shape of what it holds.

use super::Rule;

pub(super) const RULES: &[Rule] = &[
    Rule {
        code: "E_YAML",
        title: "the file is not YAML, or not a map",
        section: "1",
        mend: None,
        text: "
The text could not be read as YAML, so nothing else was looked at; or a map has a key twice, or something
that is not a map is merged with `<<:`.

The usual causes: a text that holds `: ` or starts with `{`, `[`, `*`, `&`, `!` or `@` without quotes; tabs
for indentation; an item that is indented less than the list it belongs to; the same job or key written
twice. Put quotes around the text, indent with blanks, remove one of the two.",
        wrong: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - run: echo done: yes
",
        right: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - run: \"echo done: yes\"
",
    },
    Rule {
        code: "E_VERSION",
        title: "the version is none of 2, 2.0 and 2.1",
        section: "1.8",
        mend: Some("write `version: 2.1`"),
        text: "
`version` names the version of the config language, not of your project. New configs say `2.1`.",
        wrong: "
version: 3
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
",
        right: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
",
    },
    Rule {
        code: "E_SCHEMA",
        title: "something has the wrong shape: a key, a type or a value",
        section: "2.6",
        mend: None,
        text: "
A key stands where it means nothing, a required key is missing, or a value is of the wrong type. The message
names the key and what is permitted there.

The usual causes: a misspelt key; a key of a workflow's job (`requires`, `filters`, `context`) written in the
job itself; the arguments of a step at the indentation of the step's name; a job without `docker`, `machine`,
`macos` or `executor`; a string where a list is wanted.",
        wrong: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    working_dir: ~/app
    steps: [checkout]
",
        right: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    working_directory: ~/app
    steps: [checkout]
",
    },
    Rule {
        code: "E_DUP",
        title: "two things share a name that has to be unique",
        section: "2.3",
        mend: Some("rename one of the two"),
        text: "
Names of jobs differ by more than upper and lower case, and no name stands under both `jobs` and
`job-groups`. Rename one of the two.",
        wrong: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
  Build:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
    jobs: [build, Build]
",
        right: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
  build-docs:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
    jobs: [build, build-docs]
",
    },
    Rule {
        code: "E_STEP",
        title: "a step cannot stand in this job",
        section: "8.7",
        mend: Some("remove this one"),
        text: "
`setup_remote_docker` gives a container job a Docker engine. A job has it at most once, counting the steps of
the commands it calls, and a `machine` job needs none: it has an engine of its own.",
        wrong: "
version: 2.1
jobs:
  build:
    machine: {image: ubuntu-2404:current}
    steps:
      - setup_remote_docker
      - run: docker build .
",
        right: "
version: 2.1
jobs:
  build:
    machine: {image: ubuntu-2404:current}
    steps:
      - run: docker build .
",
    },
];
