//! Names that lead nowhere, or in a circle.

use super::Rule;

pub(super) const RULES: &[Rule] = &[
    Rule {
        code: "E_UNKNOWN_JOB",
        title: "a workflow lists a job that is not defined",
        section: "10.7",
        mend: Some("define it under `jobs`; or, if a person is to approve there, say so: `NAME: {type: approval}`"),
        text: "
The name stands neither under `jobs` nor under `job-groups`, or no orb of the config has such a job. Commands
are no jobs: a command is called by a step. An approval needs no definition, but has to say so:
`type: approval`.",
        wrong: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
    jobs: [build, hold]
",
        right: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
    jobs:
      - build
      - hold: {type: approval}
",
    },
    Rule {
        code: "E_UNKNOWN_COMMAND",
        title: "a step is neither built in nor a command",
        section: "8.2",
        mend: Some("define it under `commands`, or put a shell command behind `run:`"),
        text: "
A step is one of the built-in steps (`run`, `checkout`, `save_cache`, …), a command of the config, or
`orb/command`. A shell command stands below `run:`. The commands of an orb are called with the orb's name
before them.",
        wrong: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - checkout
      - npm install
",
        right: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - checkout
      - run: npm install
",
    },
    Rule {
        code: "E_UNKNOWN_EXECUTOR",
        title: "a job names an executor that is not defined",
        section: "6.4",
        mend: Some("define it under `executors`"),
        text: "
The name does not stand under `executors`, or no orb of the config has such an executor. The executors of an
orb are named with the orb before them: `orb/default`.",
        wrong: "
version: 2.1
executors:
  node:
    docker: [{image: \"cimg/node:22.11\"}]
jobs:
  build:
    executor: nodejs
    steps: [checkout]
  lint:
    executor: node
    steps: [checkout]
workflows:
  main:
    jobs: [build, lint]
",
        right: "
version: 2.1
executors:
  node:
    docker: [{image: \"cimg/node:22.11\"}]
jobs:
  build:
    executor: node
    steps: [checkout]
  lint:
    executor: node
    steps: [checkout]
workflows:
  main:
    jobs: [build, lint]
",
    },
    Rule {
        code: "E_UNKNOWN_ORB",
        title: "a name with a slash is of no orb of this config",
        section: "12.3",
        mend: Some("declare the orb: `orbs: {NAME: namespace/name@version}`"),
        text: "
`a/b` means `b` of the orb that the config calls `a`. The orb has to stand under `orbs`, with a version, and
the part before the slash is the name given there, not the orb's own.",
        wrong: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - checkout
      - slack/notify
",
        right: "
version: 2.1
orbs:
  slack: acme/slack@1.2.3
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - checkout
      - slack/notify
",
    },
    Rule {
        code: "E_ORB_REF",
        title: "an orb is named in a way that cannot be resolved",
        section: "12.1",
        mend: Some("write `namespace/name@1.2.3`"),
        text: "
An orb is named as `namespace/name@version`. The version is exact (`1.2.3`), partial (`1.2`, `1`: the newest
that begins so), `volatile` (the newest of all) or `dev:label`.",
        wrong: "
version: 2.1
orbs:
  slack: acme/slack
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - slack/notify
",
        right: "
version: 2.1
orbs:
  slack: acme/slack@1.2.3
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - slack/notify
",
    },
    Rule {
        code: "E_ORB_NOT_FOUND",
        title: "no source has this orb in this version",
        section: "12.1",
        mend: Some("look at the name and the version; private orbs come from `--orb-dir`"),
        text: "
Every source of orbs was asked, and none has it. Look at the spelling and at the version. A private orb has to
be given with `--orb-dir`; with `--offline` only what was fetched before is found.",
        wrong: "
version: 2.1
orbs:
  slack: acme/slack@9.9.9
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - slack/notify
",
        right: "
version: 2.1
orbs:
  slack: acme/slack@1.2.3
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - slack/notify
",
    },
    Rule {
        code: "E_CYCLE",
        title: "something leads back to itself",
        section: "9.4",
        mend: Some("take one of the calls away"),
        text: "
A command calls itself, directly or through others; an executor is its own alias; or orbs import each other.
A condition around the call does not help, because conditions are decided while the call is expanded.

A command that is called like a built-in step means itself by that name: call it something else.",
        wrong: "
version: 2.1
commands:
  install:
    steps:
      - run: make deps
      - compile
  compile:
    steps:
      - install
      - run: make
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [compile]
",
        right: "
version: 2.1
commands:
  install:
    steps:
      - run: make deps
  compile:
    steps:
      - install
      - run: make
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [compile]
",
    },
];
