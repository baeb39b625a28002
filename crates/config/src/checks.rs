//! Rules that look at a config as a whole once it is understood: warnings about what compiles and
//! surprises. One rule a file.

use capstan_model::plan::Workflow;

use crate::compiler::Compiler;
use crate::yaml::Ref;

mod unused;

/// Applies every rule.
pub(crate) fn all(compiler: &mut Compiler<'_>, root: &Ref, _workflows: &[Workflow]) {
    unused::check(compiler, root);
}
