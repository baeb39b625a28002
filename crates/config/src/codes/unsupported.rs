//! What is right, and not built yet. An entry goes when its part is built.

use super::Rule;

pub(super) const RULES: &[Rule] = &[
    Rule {
        code: "U_SERVICES",
        title: "service containers",
        section: "6.7",
        mend: None,
        text: "
Entries of `docker` after the first are not started yet. Start the service in a step with `background: true`.",
        wrong: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}, {image: \"cimg/redis:7.2\"}]
    steps: [checkout]
",
        right: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - run: {command: redis-server, background: true}
      - checkout
",
    },
    Rule {
        code: "U_REGISTRY_AUTH",
        title: "registry logins of a cloud",
        section: "6.7",
        mend: None,
        text: "
`aws_auth` and `gcp_auth` are not built yet. `auth` with a user name and a password works.",
        wrong: "
version: 2.1
jobs:
  build:
    docker:
      - image: cimg/base:stable
        aws_auth: {aws_access_key_id: $ID, aws_secret_access_key: $KEY}
    steps: [checkout]
",
        right: "
version: 2.1
jobs:
  build:
    docker:
      - image: cimg/base:stable
        auth: {username: $USER, password: $PASSWORD}
    steps: [checkout]
",
    },
    Rule {
        code: "U_STEP",
        title: "a built-in step that cannot be executed yet",
        section: "8.7",
        mend: None,
        text: "
The step compiles, and nothing executes it yet. A `run` step can often do the same.",
        wrong: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - run: make
      - store_artifacts: {path: out}
",
        right: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - run: make && ls -l out
",
    },
    Rule {
        code: "U_JOB_TYPE",
        title: "a type of job that cannot be executed yet",
        section: "7.2",
        mend: None,
        text: "
Jobs of type `release`, `lock` and `unlock` compile, and nothing executes them yet.",
        wrong: "
version: 2.1
jobs:
  ship: {type: release, plan_name: production}
workflows:
  main:
    jobs: [ship]
",
        right: "
version: 2.1
jobs:
  ship:
    docker: [{image: cimg/base:stable}]
    steps: [{run: make deploy}]
workflows:
  main:
    jobs: [ship]
",
    },
];
