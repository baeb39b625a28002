//! What is right, and not built yet. An entry goes when its part is built.

use super::Rule;

pub(super) const RULES: &[Rule] = &[
    Rule {
        code: "U_VERSION",
        title: "version 2 of the language",
        section: "18",
        mend: None,
        text: "
Configs of version 2 and 2.0 are not compiled yet. Most need no change but the version; every `<<` that is
text then becomes `\\<<`.",
        wrong: "
version: 2
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
        code: "U_ORB",
        title: "orbs",
        section: "12",
        mend: None,
        text: "
Orbs are not compiled yet. Write the command, job or executor into the config.",
        wrong: "
version: 2.1
orbs:
  tools:
    commands:
      greet:
        steps: [{run: echo hello}]
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [tools/greet]
",
        right: "
version: 2.1
commands:
  greet:
    steps: [{run: echo hello}]
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [greet]
",
    },
    Rule {
        code: "U_JOB_GROUPS",
        title: "job groups",
        section: "11",
        mend: None,
        text: "
Job groups are not compiled yet. List the jobs in the workflow.",
        wrong: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
job-groups:
  checks:
    jobs: [build]
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
        code: "U_SETUP",
        title: "setup configs",
        section: "14",
        mend: None,
        text: "
Dynamic configuration is not built yet. Run the config that is continued with.",
        wrong: "
version: 2.1
setup: true
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
        code: "U_SERIAL_GROUP",
        title: "serial groups",
        section: "10.7",
        mend: None,
        text: "
`serial-group` is not obeyed yet. Without it, jobs of several pipelines may run at once.",
        wrong: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
    jobs:
      - build: {serial-group: deploys}
",
        right: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
    jobs: [build]
",
    },
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
