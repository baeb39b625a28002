//! Rules that look at a config as a whole once it is understood: warnings about what compiles and
//! surprises. One rule a file.

use crate::compiler::Compiler;
use crate::workflow::Draft;
use crate::yaml::Ref;

pub(crate) mod condition;
pub(crate) mod image;
mod never_runs;
pub(crate) mod resource_class;
mod tag_filters;
mod unused;

/// Applies every rule.
pub(crate) fn all(compiler: &mut Compiler<'_>, root: &Ref) {
    unused::check(compiler, root);
}

/// Applies the rules about the graph of a workflow, whose edges are the jobs that each job requires.
pub(crate) fn workflow(compiler: &mut Compiler<'_>, draft: &Draft, edges: &[Vec<(usize, usize)>]) {
    tag_filters::check(compiler, draft, edges);
    never_runs::check(compiler, draft, edges);
}
