//! A compiler: config text and a trigger go in; a plan, its origins and diagnostics come out. It does no
//! IO and asks no clock; orb texts it lacks are named in [`Compiled::Missing`], and the caller brings
//! them.

mod ast;
mod budget;
mod checks;
pub mod codes;
mod compiler;
pub mod continuation;
pub mod diagnostic;
mod expand;
mod expr;
mod filter;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod graph;
mod language;
mod logic;
mod lower;
mod matrix;
mod orbs;
pub mod pack;
mod processed;
mod quote;
mod regex;
pub mod schema;
mod shims;
pub mod sources;
mod space;
mod template;
mod values;
mod workflow;
mod yaml;

use capstan_model::{Plan, Trigger};

use lower::Lowered;

pub use diagnostic::{Diagnostic, Severity};
pub use sources::{Orb, Sources};

/// What a compilation gives.
#[derive(Debug)]
pub enum Compiled {
    /// It went through.
    Done {
        /// The plan, if no diagnostic is an error. A plan that holds things nothing can execute yet
        /// comes with diagnostics of [`Severity::Unsupported`]; running it is to be refused.
        plan: Option<Box<Plan>>,
        /// Everything found, in file order.
        diagnostics: Vec<Diagnostic>,
    },
    /// These orbs are needed, each reference once, as written but with its tags replaced: add an answer
    /// for each to the sources and compile again. An orb may import further ones, so this can happen
    /// more than once; an answered reference is never asked for again.
    Missing(Vec<String>),
}

/// Compiles the first file of `sources` for `trigger`. The same input gives the same output.
pub fn compile(sources: &Sources, trigger: &Trigger) -> Compiled {
    told(
        sources,
        lower::lower(sources, trigger, compiler::Wanted::Plan),
    )
}

/// Finds what [`compile`] would find, and makes no plan: what it would ask for, or what is to be said.
///
/// # Errors
/// Orbs are missing, as in [`Compiled::Missing`].
pub fn check(sources: &Sources, trigger: &Trigger) -> Result<Vec<Diagnostic>, Vec<String>> {
    match told(
        sources,
        lower::lower(sources, trigger, compiler::Wanted::Findings),
    ) {
        Compiled::Missing(orbs) => Err(orbs),
        Compiled::Done { diagnostics, .. } => Ok(diagnostics),
    }
}

/// Checks the first file of `sources` as the text of an orb: its shape, and what each of its elements
/// refers to. The plan of a sound orb is empty.
pub fn validate_orb(sources: &Sources, trigger: &Trigger) -> Compiled {
    told(sources, lower::lower_orb(sources, trigger))
}

fn told(sources: &Sources, lowered: Lowered) -> Compiled {
    match lowered {
        Lowered::Missing(orbs) => Compiled::Missing(orbs),
        Lowered::Done(plan, mut diagnostics) => {
            diagnostic::advise(sources, &mut diagnostics);
            for found in &mut diagnostics {
                compiler::shorten(found);
            }
            diagnostics.sort_by_key(|found| (found.span.file, found.span.start));
            Compiled::Done {
                plan: plan.map(Box::new),
                diagnostics,
            }
        }
    }
}
