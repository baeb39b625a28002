//! Tags, expressions, logic and patterns.

use super::Rule;

pub(super) const RULES: &[Rule] = &[
    Rule {
        code: "E_TEMPLATE",
        title: "a `<< … >>` tag cannot be read",
        section: "4.7",
        mend: Some("write `\\<<` where `<<` is meant as text"),
        text: "
In version 2.1 every `<<` in a value starts a tag, in shell scripts too. Where `<<` is meant as text, as for a
heredoc or a here-string, write `\\<<`: the backslash is taken away.

A list or a map cannot stand in the middle of a text; let the tag be the whole value.",
        wrong: r#"
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - run: |
          cat > settings.ini <<EOF
          debug = true
          EOF
"#,
        right: r#"
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - run: |
          cat > settings.ini \<<EOF
          debug = true
          EOF
"#,
    },
    Rule {
        code: "E_EXPR",
        title: "an expression cannot be read or evaluated",
        section: "5.4",
        mend: Some("join names, \"text\", numbers and /patterns/ with `and`, `or`, `not`, `==`, `matches`, `starts-with`"),
        text: "
An expression joins names, `\"text\"`, numbers, `true`, `false` and `/patterns/` with `and`, `or`, `not`,
`==`, `!=`, `<`, `<=`, `>`, `>=`, `starts-with` and `matches`. Text stands in double quotes. It is `and` and
`or`, not `&&` and `||`. Order is for integers only.",
        wrong: r#"
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
    when: pipeline.git.branch == "main" || pipeline.git.branch == "dev"
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
    when: pipeline.git.branch == "main" or pipeline.git.branch == "dev"
    jobs: [build]
"#,
    },
    Rule {
        code: "E_LOGIC",
        title: "a condition is no logic statement",
        section: "5.3",
        mend: Some("write a value, or a map with one of `and`, `or`, `not`, `equal`, `matches`"),
        text: "
A condition is a value, a tag, or a map with exactly one of `and`, `or`, `not`, `equal` and `matches`. `and`,
`or` and `equal` take a list of at least one; `not` takes one statement; `matches` takes `pattern` and
`value`. To ask two things, put them into an `and`.",
        wrong: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
    when:
      equal: [main, << pipeline.git.branch >>]
      not: << pipeline.git.tag >>
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
    when:
      and:
        - equal: [main, << pipeline.git.branch >>]
        - not: << pipeline.git.tag >>
    jobs: [build]
",
    },
    Rule {
        code: "E_REGEX",
        title: "a pattern is no regular expression",
        section: "10.8",
        mend: Some("`*` repeats what stands before it; for anything at all write `.*`"),
        text: "
A filter value between two slashes is a regular expression that has to match the whole name of the branch or
tag. `*` repeats what stands before it; it is no wild card as in a shell, so \"anything\" is `.*`. Without the
slashes the value is a plain name.",
        wrong: "
version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [checkout]
workflows:
  main:
    jobs:
      - build: {filters: {branches: {only: /*-release/}}}
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
      - build: {filters: {branches: {only: /.*-release/}}}
",
    },
];
