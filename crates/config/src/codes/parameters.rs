//! Parameters and arguments.

use super::Rule;

pub(super) const RULES: &[Rule] = &[
    Rule {
        code: "E_PARAM_MISSING",
        title: "a call lacks a required argument",
        section: "3.3",
        mend: Some("pass it, or give the parameter a default where it is declared"),
        text: "
A parameter without a `default` has to be given by every caller. `default:` with nothing behind it counts as
no default. Pass the argument, or give the parameter a default where it is declared.

A job with such a parameter cannot stand bare in a workflow: its arguments are keys below its name.",
        wrong: "
version: 2.1
commands:
  greet:
    parameters:
      to: {type: string}
    steps:
      - run: echo hello << parameters.to >>
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [greet]
",
        right: "
version: 2.1
commands:
  greet:
    parameters:
      to: {type: string}
    steps:
      - run: echo hello << parameters.to >>
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - greet: {to: world}
",
    },
    Rule {
        code: "E_PARAM_UNEXPECTED",
        title: "a call passes an argument that nothing declares",
        section: "3.7",
        mend: Some("remove it, or declare it where it is called"),
        text: "
The command, job or executor declares no parameter of this name, or the pipeline was started with a value
that the config does not declare under its top-level `parameters`.

The usual causes: a misspelt name; `when:` beside the arguments of a command, which commands do not take (put
the step into a `when` step); `parameters:` around the arguments, which stand directly below the name.",
        wrong: "
version: 2.1
commands:
  greet:
    parameters:
      name: {type: string, default: world}
    steps:
      - run: echo hello << parameters.name >>
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - greet: {nmae: Ada}
",
        right: "
version: 2.1
commands:
  greet:
    parameters:
      name: {type: string, default: world}
    steps:
      - run: echo hello << parameters.name >>
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - greet: {name: Ada}
",
    },
    Rule {
        code: "E_PARAM_TYPE",
        title: "an argument has the wrong type",
        section: "3.6",
        mend: Some("pass a value of that type"),
        text: "
The value is not of the type that the parameter declares. YAML decides the type of a value without quotes:
`3.8` is a number, `yes`, `no`, `on` and `off` are booleans, `0123` is an integer. A `string` parameter takes
none of them: put the value into quotes. A `boolean` or `integer` takes no text: leave the quotes away. An
`enum` takes one of its members.",
        wrong: "
version: 2.1
jobs:
  test:
    parameters:
      python: {type: string}
    docker: [{image: \"cimg/python:<< parameters.python >>\"}]
    steps: [checkout]
workflows:
  main:
    jobs:
      - test: {python: 3.10}
",
        right: "
version: 2.1
jobs:
  test:
    parameters:
      python: {type: string}
    docker: [{image: \"cimg/python:<< parameters.python >>\"}]
    steps: [checkout]
workflows:
  main:
    jobs:
      - test: {python: \"3.10\"}
",
    },
    Rule {
        code: "E_PARAM_DEFAULT",
        title: "the default of a parameter is not of its type",
        section: "3.5",
        mend: Some("give a default of that type"),
        text: "
A default is held against the declared type even where nobody uses it. Defaults of pipeline parameters hold
no tags.",
        wrong: "
version: 2.1
parameters:
  deploy: {type: boolean, default: \"false\"}
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - run: echo << pipeline.parameters.deploy >>
",
        right: "
version: 2.1
parameters:
  deploy: {type: boolean, default: false}
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - run: echo << pipeline.parameters.deploy >>
",
    },
    Rule {
        code: "E_PARAM_UNDECLARED",
        title: "a tag names something that is not declared here",
        section: "3.8",
        mend: Some("declare it under `parameters` of the element that the text stands in, and pass it there"),
        text: "
A tag sees the parameters of the job, command or executor whose text it stands in, and no others: the
parameters of a job are not visible in the commands it calls. Declare the parameter there and pass it on.

`pipeline.parameters.x` needs `x` under the top-level `parameters`, and is not visible in orbs. `matrix.x` is
visible only in the entry of the workflow that has the matrix. Environment variables are no tags: write
`$NAME`.",
        wrong: "
version: 2.1
commands:
  greet:
    steps:
      - run: echo hello << parameters.who >>
jobs:
  build:
    parameters:
      who: {type: string, default: world}
    docker: [{image: cimg/base:stable}]
    environment: {WHO: << parameters.who >>}
    steps: [greet]
",
        right: "
version: 2.1
commands:
  greet:
    parameters:
      name: {type: string}
    steps:
      - run: echo hello << parameters.name >>
jobs:
  build:
    parameters:
      who: {type: string, default: world}
    docker: [{image: cimg/base:stable}]
    environment: {WHO: << parameters.who >>}
    steps:
      - greet: {name: << parameters.who >>}
",
    },
    Rule {
        code: "E_PARAM_RESERVED",
        title: "a parameter has a name that means something else already",
        section: "3.11",
        mend: Some("call it something else"),
        text: "
In a workflow the arguments of a job stand beside keys such as `name`, `requires`, `context`, `filters` and
`matrix`, so no parameter of a job can be called so. A parameter of an executor cannot be called `name`.
Choose another name.",
        wrong: "
version: 2.1
jobs:
  test:
    parameters:
      context: {type: string, default: staging}
    docker: [{image: cimg/base:stable}]
    steps:
      - run: echo << parameters.context >>
workflows:
  main:
    jobs: [test]
",
        right: "
version: 2.1
jobs:
  test:
    parameters:
      target: {type: string, default: staging}
    docker: [{image: cimg/base:stable}]
    steps:
      - run: echo << parameters.target >>
workflows:
  main:
    jobs: [test]
",
    },
];
