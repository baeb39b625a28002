//! The tasks of a pipeline. They are reached by id and by job only, so that an event about one node of a
//! job costs the same however many nodes the job has.

use std::collections::BTreeMap;

use capstan_model::{JobId, TaskId};

use crate::meter;
use crate::rows::TaskRow;

/// Where each task stands, by id: those of a job lie together, node by node, oldest try first.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Tasks {
    rows: BTreeMap<TaskId, TaskRow>,
}

impl Tasks {
    pub(crate) fn get(&self, id: TaskId) -> Option<&TaskRow> {
        meter::look();
        self.rows.get(&id)
    }

    pub(crate) fn set(&mut self, row: TaskRow) {
        meter::look();
        self.rows.insert(row.id, row);
    }

    /// The tasks of a job.
    pub(crate) fn of(&self, job: JobId) -> impl Iterator<Item = &TaskRow> {
        let end = |node, attempt| TaskId { job, node, attempt };
        self.rows
            .range(end(0, 0)..=end(u32::MAX, u32::MAX))
            .map(|(_, row)| counted(row))
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &TaskRow> {
        self.rows.values().map(counted)
    }

    /// Takes over those of a change.
    pub(crate) fn take(&mut self, changed: Self) {
        for (_, row) in changed.rows {
            self.set(row);
        }
    }
}

impl Clone for Tasks {
    fn clone(&self) -> Self {
        let rows = self.iter().map(|row| (row.id, row.clone()));
        Self {
            rows: rows.collect(),
        }
    }
}

fn counted(row: &TaskRow) -> &TaskRow {
    meter::look();
    row
}
