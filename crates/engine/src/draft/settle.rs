//! What follows from a change: dependants hear of ends, workflows end or come to rest.

use std::sync::Arc;

use capstan_model::{JobStatus, WorkflowStatus};

use super::{At, Draft};
use crate::decision;
use crate::graph::Edge;
use crate::mutation::{Mutation, planted};
use crate::{Effect, IllegalTransition};

impl Draft<'_> {
    /// Tells dependants of ended jobs, without recursion: a chain may be as long as the workflow.
    pub(super) fn settle(&mut self) -> Result<(), IllegalTransition> {
        loop {
            self.tell_dependants()?;
            if !self.close_workflows()? {
                return Ok(());
            }
        }
    }

    fn tell_dependants(&mut self) -> Result<(), IllegalTransition> {
        while let Some(at) = self.ended.pop_front() {
            let Some(status) = self.job(at).map(|job| job.state.status()) else {
                continue;
            };
            let Some(graph) = self
                .workflow(at.0)
                .map(|workflow| Arc::clone(&workflow.graph))
            else {
                continue;
            };
            let Some(node) = graph.nodes.get(at.1) else {
                continue;
            };
            for next in &node.dependants {
                let Some(edge) = graph.edge(*next) else {
                    continue;
                };
                self.hear((at.0, next.job), at, status, edge)?;
            }
        }
        Ok(())
    }

    /// A job hears how one that it requires ended.
    fn hear(
        &mut self,
        at: At,
        ended: At,
        status: JobStatus,
        edge: &Edge,
    ) -> Result<(), IllegalTransition> {
        let blocked = self
            .job(at)
            .is_some_and(|job| job.state.status() == JobStatus::Blocked);
        if !blocked {
            return Ok(());
        }
        if !edge.accepts(status) && !planted(Mutation::AnyEndWillDo) {
            let reason = decision::never(&self.name(ended), status);
            return self.leave_out(at, &reason);
        }
        self.change(at, |job| job.unmet = job.unmet.saturating_sub(1));
        if self.job(at).is_some_and(|job| job.unmet == 0) {
            self.ready(at, false)
        } else {
            Ok(())
        }
    }

    /// Workflows that ended or came to rest by this change. The answer is whether one of them runs again
    /// by itself, so that more may follow.
    fn close_workflows(&mut self) -> Result<bool, IllegalTransition> {
        let known = self.base.workflows.len();
        let touched: Vec<usize> = self.delta.summaries.keys().copied().collect();
        let touched = touched.into_iter().chain(known..self.workflow_count());
        let mut more = false;
        for w in std::collections::BTreeSet::from_iter(touched) {
            let Some(summary) = self.summary(w) else {
                continue;
            };
            let (id, status) = (summary.id, summary.status());
            let of_base = || Some(self.base.workflows.get(w)?.summary.status());
            let before = self.told.get(&w).copied().or_else(of_base);
            if before == Some(status) {
                continue;
            }
            self.told.insert(w, status);
            if status.is_terminal() {
                let now_ms = self.now_ms;
                self.change_summary(w, |summary| summary.stopped_at_ms = Some(now_ms));
            }
            if status.is_terminal() || status == WorkflowStatus::OnHold {
                self.effects.push(Effect::Notify { workflow: id });
            }
            if status == WorkflowStatus::Failed {
                more |= self.rerun_automatically(w)?;
            }
        }
        Ok(more)
    }
}
