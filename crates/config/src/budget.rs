//! What one compilation may make, counted while it makes it (language 1.1, 18.2; safety rule 39).

use capstan_model::Span;

use crate::compiler::Compiler;

/// Most nodes that may be made, copied and looked at again for each use; a long text counts as several.
const MAX_MADE: u64 = 3_000_000;
/// Most steps of all jobs together.
const MAX_STEPS: u64 = 300_000;
/// Most findings of a kind; nothing more is expanded after as many errors.
pub(crate) const MAX_FOUND: usize = 500;
/// Most concrete jobs of one config.
pub(crate) const MAX_JOBS: usize = 10_000;
/// Most steps of one job.
pub(crate) const MAX_STEPS_OF_A_JOB: usize = 10_000;
/// Deepest chain of commands.
pub(crate) const MAX_CALLS: usize = 100;
/// Deepest nesting of lists of steps, through conditions, calls and arguments.
pub(crate) const MAX_NESTED: usize = 250;
/// Most orbs of one config, those that orbs import included.
pub(crate) const MAX_ORBS: usize = 200;
/// Deepest chain of imports.
pub(crate) const MAX_IMPORTS: usize = 20;
/// Most contexts over all workflows.
pub(crate) const MAX_CONTEXTS: usize = 100;

/// Nodes and steps that were made.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cost {
    made: u64,
    steps: u64,
}

/// What was made so far.
#[derive(Default)]
pub(crate) struct Budget {
    cost: Cost,
    /// Concrete jobs.
    pub(crate) jobs: usize,
    told: bool,
}

impl Budget {
    /// What was made so far.
    pub(crate) fn cost(&self) -> Cost {
        self.cost
    }

    /// What was made since then.
    pub(crate) fn since(&self, before: Cost) -> Cost {
        Cost {
            made: self.cost.made.saturating_sub(before.made),
            steps: self.cost.steps.saturating_sub(before.steps),
        }
    }

    /// Counts what is made another time; false, and nothing is counted, where that would be too much.
    pub(crate) fn again(&mut self, cost: Cost) -> bool {
        let made = self.cost.made.saturating_add(cost.made);
        let steps = self.cost.steps.saturating_add(cost.steps);
        let fits = made <= MAX_MADE && steps <= MAX_STEPS;
        if fits {
            self.cost = Cost { made, steps };
        }
        fits
    }
}

impl Compiler<'_> {
    /// Counts nodes made; false when there are too many, which is reported once.
    pub(crate) fn spend(&mut self, nodes: u64, span: Span) -> bool {
        self.budget.cost.made = self.budget.cost.made.saturating_add(nodes);
        self.within_bounds(self.budget.cost.made <= MAX_MADE, span)
    }

    /// Counts a step; false when there are too many, which is reported once.
    pub(crate) fn spend_step(&mut self, span: Span) -> bool {
        self.budget.cost.steps += 1;
        self.within_bounds(self.budget.cost.steps <= MAX_STEPS, span)
    }

    /// Whether nothing more may be made.
    pub(crate) fn spent(&self) -> bool {
        self.budget.told || self.errors() >= MAX_FOUND
    }

    /// Reports that a value is too large, and that nothing more is made; false.
    pub(crate) fn too_large(&mut self, span: Span) -> bool {
        self.within_bounds(false, span)
    }

    fn within_bounds(&mut self, fine: bool, span: Span) -> bool {
        if !fine && !self.budget.told {
            self.budget.told = true;
            let help = "fewer or smaller matrices, or parameters with less in them";
            self.error_help(
                "E_LIMIT",
                "the expanded config is too large",
                span,
                Some(help.to_owned()),
            );
        }
        fine
    }
}
