//! What compiles, and may surprise.

use super::Rule;

pub(super) const RULES: &[Rule] = &[
    Rule {
        code: "W_UNKNOWN_KEY",
        title: "a key that means nothing is ignored",
        section: "2",
        mend: Some("begin it with `x-` if it is there for its anchors"),
        text: "
Top-level keys that the language does not know are a usual home for anchors, and are ignored. If it was meant
as one of the language's keys, it is misspelt.",
        wrong: "
version: 2.1
job:
  lint:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
",
        right: "
version: 2.1
jobs:
  lint:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
  build:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
    jobs: [lint, build]
",
    },
    Rule {
        code: "W_IGNORED_KEY",
        title: "a field has no effect here",
        section: "8.5",
        mend: Some("remove it"),
        text: "
The field is known elsewhere and means nothing at this place: a field of another step, an argument that the
matrix gives too, `enum` on a parameter of another type. It is left out.",
        wrong: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - run: {command: make, description: builds it}
",
        right: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - run: {command: make, name: builds it}
",
    },
    Rule {
        code: "W_EMPTY",
        title: "a key has no value, and counts as absent",
        section: "2.1",
        mend: Some("remove it, or indent what belongs below it"),
        text: "
A key with nothing behind it is read as if it were not there. Often what should stand below it is indented too
little, or was commented out.",
        wrong: "
version: 2.1
commands:
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
        code: "W_EMPTY_MATRIX",
        title: "a matrix without values makes no jobs",
        section: "10.11.1",
        mend: Some("give it a value"),
        text: "
A parameter of the matrix has an empty list, so there is no combination, and the job does not run. What
requires it waits for nothing.",
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
      - test: {matrix: {parameters: {version: []}}}
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
        code: "W_NAME",
        title: "an unusual name",
        section: "2.2",
        mend: Some("choose another name"),
        text: "
The name is accepted, and may cause trouble elsewhere: in tags, in URLs, in a shell. Variables that begin with
`CIRCLE_` are set by the service, and yours may be lost. A YAML word such as `on` or `no` becomes `true` or
`false` when it is used as a name.",
        wrong: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    environment: {MY-TOKEN: abc}
    steps: [checkout]
",
        right: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    environment: {MY_TOKEN: abc}
    steps: [checkout]
",
    },
    Rule {
        code: "W_STYLE",
        title: "an old or loose way of writing",
        section: "8.5",
        mend: None,
        text: "
It works and means what the finding says, and there is a clearer way: `restore_cache` instead of
`restore-cache`, a list where a list is meant.",
        wrong: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - restore_cache: {keys: deps-v1}
      - run: make
",
        right: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - restore_cache: {keys: [deps-v1]}
      - run: make
",
    },
    Rule {
        code: "W_NEVER_RUNS",
        title: "a job requires one that never runs",
        section: "10.9",
        mend: Some("require a job that runs, or mend the filters of the one that does not"),
        text: "
The filters of the job that is required fit no branch and no tag. A requirement that is filtered out is
dropped, and a job whose requirements are all dropped does not run either.",
        wrong: "
version: 2.1
jobs:
  build: &job
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
  deploy: *job
workflows:
  main:
    jobs:
      - build: {filters: {branches: {ignore: /.*/}}}
      - deploy: {requires: [build]}
",
        right: "
version: 2.1
jobs:
  build: &job
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
  deploy: *job
workflows:
  main:
    jobs:
      - build
      - deploy: {requires: [build]}
",
    },
    Rule {
        code: "W_NATIVE",
        title: "an orb's command runs natively",
        section: "14.7",
        mend: Some("nothing is wrong; this is said so that nobody is surprised"),
        text: "
The commands `continue` and `finish` of the continuation orb call the API of the hosted service by curl, with
a token, which works neither on a laptop nor on another server. Capstan runs one step of its own in their
place, also where another orb calls them, as path filtering does: arguments, paths and parameters mean the
same. What `capstan config process` prints keeps the orb's own steps. A script that calls the API by itself
is left alone.",
        wrong: "
version: 2.1
setup: true
orbs: {continuation: circleci/continuation@2.0.1}
jobs:
  decide:
    docker: [{image: cimg/base:stable}]
    steps:
      - checkout
      - continuation/continue: {configuration_path: .circleci/next.yml}
workflows: {setup: {jobs: [decide]}}
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
        code: "W_SHADOW",
        title: "a name hides something built in",
        section: "8.1",
        mend: Some("choose another name"),
        text: "
A command that is called like a built-in step takes its place everywhere in the config; an approval that is
called like a job hides the job. If that is not meant, choose another name.",
        wrong: "
version: 2.1
jobs:
  deploy:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
    jobs:
      - deploy: {type: approval}
",
        right: "
version: 2.1
jobs:
  deploy:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
    jobs:
      - hold: {type: approval}
      - deploy: {requires: [hold]}
",
    },
    Rule {
        code: "W_TAG_FILTERS",
        title: "a job runs on tags, and what it requires does not",
        section: "10.8",
        mend: Some("give the required job the same tag filters"),
        text: "
A job without tag filters runs on no tag. One that has them and requires one that has not waits, on a tag, for
a job that is filtered out; where all it requires is filtered out, it does not run at all.",
        wrong: "
version: 2.1
jobs:
  build: &job
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
  deploy: *job
workflows:
  main:
    jobs:
      - build
      - deploy: {requires: [build], filters: {tags: {only: /^v.*/}}}
",
        right: "
version: 2.1
jobs:
  build: &job
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
  deploy: *job
workflows:
  main:
    jobs:
      - build: {filters: {tags: {only: /^v.*/}}}
      - deploy: {requires: [build], filters: {tags: {only: /^v.*/}}}
",
    },
    Rule {
        code: "W_INDENT",
        title: "keys stand beside a name instead of below it",
        section: "10.7",
        mend: Some("indent the keys below the name by two more"),
        text: "
What should belong to the job is indented like the job's name, so the job gets none of it. Indent it by two
more.",
        wrong: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
    jobs:
      - build:
        filters: {branches: {only: main}}
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
      - build:
          filters: {branches: {only: main}}
",
    },
    Rule {
        code: "W_PIPELINE_VALUE",
        title: "a pipeline value that is not known",
        section: "5.1",
        mend: Some("look at the spelling; parameters are `pipeline.parameters.NAME`"),
        text: "
No pipeline value has this name, so it is empty. The documented ones begin with `pipeline.git.`,
`pipeline.project.`, `pipeline.trigger.`, `pipeline.event.` and so on; parameters of the pipeline are
`pipeline.parameters.NAME`.",
        wrong: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - run: echo << pipeline.branch >>
",
        right: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - run: echo << pipeline.git.branch >>
",
    },
    Rule {
        code: "W_ALWAYS_TRUE",
        title: "a condition that is always true",
        section: "5.4.7",
        mend: Some("put the whole comparison into the tag, or leave the tag away"),
        text: "
A tag with text around it becomes a text, and a text that is not empty is true. Put the whole comparison into
the tag, or write it without one.",
        wrong: r#"
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
    when: << pipeline.git.branch >> == "main"
    jobs: [build]
"#,
        right: r#"
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
    when: pipeline.git.branch == "main"
    jobs: [build]
"#,
    },
    Rule {
        code: "W_REGEX_LOOKAROUND",
        title: "a pattern looks around, which CircleCI refuses",
        section: "10.8",
        mend: Some("use `ignore`, or an expression as filter"),
        text: "
CircleCI accepted `(?!…)` and `(?=…)` in filters until the middle of 2026 and refuses them since. Capstan runs
them with a bound on the work. To stay portable, use `ignore`, or an expression as filter.",
        wrong: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
    jobs:
      - build: {filters: {branches: {only: '/^(?!main$).*/'}}}
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
      - build: {filters: {branches: {ignore: main}}}
",
    },
    Rule {
        code: "W_IMAGE",
        title: "no image is named, so the default one is used",
        section: "6.8",
        mend: Some("name one: `image: ubuntu-2404:current`"),
        text: "
The default image of `machine` changes with time. Name one.",
        wrong: "
version: 2.1
jobs:
  build:
    machine: {docker_layer_caching: true}
    steps: [checkout]
",
        right: "
version: 2.1
jobs:
  build:
    machine: {image: ubuntu-2404:current, docker_layer_caching: true}
    steps: [checkout]
",
    },
    Rule {
        code: "W_RESOURCE_CLASS",
        title: "a resource class that is not known",
        section: "6.10",
        mend: Some("use one of small, medium, large, xlarge, or `namespace/name` of a runner of yours"),
        text: "
The class is none of the documented ones for this kind of executor. It compiles; where no runner has it, the
job cannot be scheduled.",
        wrong: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    resource_class: gigantic
    steps: [checkout]
",
        right: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    resource_class: large
    steps: [checkout]
",
    },
    Rule {
        code: "W_DEPRECATED",
        title: "something CircleCI has given up",
        section: "7",
        mend: None,
        text: "
It works no longer, or will stop to: `branches` in a job that workflows use has no effect, and `deploy` is a
`run` step today. The finding names what to use.",
        wrong: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    branches: {only: main}
    steps: [checkout]
workflows:
  main:
    jobs: [build]
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
      - build: {filters: {branches: {only: main}}}
",
    },
    Rule {
        code: "W_UNUSED",
        title: "a definition that nothing uses",
        section: "2.5",
        mend: Some("use it or remove it"),
        text: "
No workflow leads to this job, command, executor, orb or parameter. Use it, or remove it.",
        wrong: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
  old-build:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
    jobs: [build]
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
        code: "W_UNREACHED",
        title: "a definition that only unused ones use",
        section: "2.5",
        mend: Some("use what uses it, or remove both"),
        text: "
Something uses it, and no workflow leads there. What it names and what is passed to it was not looked at
closely.",
        wrong: "
version: 2.1
commands:
  install:
    steps: [{run: make deps}]
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
  old-build:
    docker: [{image: cimg/base:stable}]
    steps: [install]
workflows:
  main:
    jobs: [build]
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
        code: "W_SERIAL_GROUP",
        title: "a serial group stands twice in one workflow",
        section: "10.7",
        mend: Some("say the order with `requires`"),
        text: "
A serial group keeps jobs of several pipelines from running at once. Within one workflow `requires` says what
waits for what, and two jobs with the same group only wait for each other in an order nobody chose.",
        wrong: "
version: 2.1
jobs:
  migrate:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
  deploy:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
    jobs:
      - migrate: {serial-group: production}
      - deploy: {serial-group: production}
",
        right: "
version: 2.1
jobs:
  migrate:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
  deploy:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
    jobs:
      - migrate
      - deploy: {serial-group: production, requires: [migrate]}
",
    },
    Rule {
        code: "W_SETUP",
        title: "a setup config may run more than one workflow",
        section: "14.1",
        mend: Some("give them conditions or filters that exclude each other"),
        text: "
Exactly one workflow of a config with `setup: true` may run. There is no branch and no tag here to tell by, and
without one more than one would. Where there is a branch or a tag and more than one runs, it is `E_SETUP`.",
        wrong: "
version: 2.1
setup: true
jobs:
  choose:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
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
  main:
    jobs: [choose]
",
    },
];
