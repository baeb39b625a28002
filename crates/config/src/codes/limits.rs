//! Bounds.

use super::Rule;

pub(super) const RULES: &[Rule] = &[Rule {
    code: "E_LIMIT",
    title: "the config is larger than a config can be",
    section: "18.2",
        mend: Some("split it, or use less of what the message counts"),
    text: "
Bounds that no honest config meets keep a broken or hostile one from taking the machine: 4 MiB of text, 64
levels, 1,000,000 nodes once aliases are expanded, 10,000 steps a job, commands that call commands 100 deep,
100 contexts, 32 MiB of result. The message says which one it was.",
    wrong: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - run:
          command: make
          environment: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]
",
    right: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - run:
          command: make
          environment: [LEVEL=70]
",
}];
