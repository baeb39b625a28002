//! A requirement of a job that its filters leave out whatever is pushed (language 10.8, 10.9.6).

use std::collections::HashSet;

use crate::compiler::Compiler;
use crate::workflow::Draft;
use crate::yaml::Ref;

/// Looks at a workflow; `edges` are the jobs that each requires, with the place in its `requires`.
pub(crate) fn check(compiler: &mut Compiler<'_>, draft: &Draft, edges: &[Vec<(usize, usize)>]) {
    let mut told = HashSet::new();
    for (job, edges) in draft.jobs.iter().zip(edges) {
        for (to, wanted) in edges {
            let (Some(other), Some(wanted)) = (draft.jobs.get(*to), job.requires.get(*wanted))
            else {
                continue;
            };
            if other.filters.as_ref().is_some_and(never) && told.insert(wanted.span.start) {
                let message = format!("{} is required, and never runs", other.base);
                let help = format!(
                    "its filters ignore every branch and name no tags: add `tags: {{only: /.*/}}` to {}",
                    other.base
                );
                compiler.warn_help("W_NEVER_RUNS", message, wanted.span, Some(help));
            }
        }
    }
}

/// Whether filters leave out every branch and every tag.
fn never(filters: &Ref) -> bool {
    let every = |node: &Ref| {
        let item = |node: &Ref| matches!(node.str(), Some("/.*/" | "/^.*$/" | "/.+/"));
        item(node) || node.seq().is_some_and(|items| items.iter().any(item))
    };
    let of = |kind: &str, word: &str| filters.get(kind).and_then(|node| node.get(word));
    let no_branch = of("branches", "ignore").is_some_and(every);
    // Without a filter for tags a job runs on none.
    let no_tag = filters.get("tags").is_none() || of("tags", "ignore").is_some_and(every);
    no_branch && no_tag
}
