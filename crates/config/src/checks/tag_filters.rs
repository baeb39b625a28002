//! A job that runs on tags, and requires one that does not (language 10.8). On a tag the other is left
//! out: the deploy then runs without its tests, or not at all.

use std::collections::HashSet;

use crate::compiler::Compiler;
use crate::workflow::Draft;
use crate::yaml::Ref;

/// Looks at a workflow; `edges` are the jobs that each requires, with the place in its `requires`.
pub(crate) fn check(compiler: &mut Compiler<'_>, draft: &Draft, edges: &[Vec<(usize, usize)>]) {
    let mut told = HashSet::new();
    for (job, edges) in draft.jobs.iter().zip(edges) {
        let named = |node: &Ref| {
            node.get("tags")
                .is_some_and(|tags| tags.get("only").is_some())
        };
        if !job.filters.as_ref().is_some_and(named) {
            continue;
        }
        for (to, wanted) in edges {
            let (Some(other), Some(wanted)) = (draft.jobs.get(*to), job.requires.get(*wanted))
            else {
                continue;
            };
            let left_out = other.filters.as_ref().is_none_or(|filters| {
                // An expression may ask for anything.
                filters.map().is_some() && filters.get("tags").is_none()
            });
            if left_out && wanted.at.is_none() && told.insert(wanted.span.start) {
                let message = format!(
                    "{} runs on tags, and {}, which it requires, does not",
                    job.base, other.base
                );
                let help = format!(
                    "on a tag {} is left out: give it the same filter for tags",
                    other.base
                );
                compiler.warn_help("W_TAG_FILTERS", message, wanted.span, Some(help));
            }
        }
    }
}
