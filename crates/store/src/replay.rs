//! A pipeline out of its events, and whether the stored rows are what the events make.

use std::collections::BTreeMap;
use std::sync::Arc;

use capstan_engine::{Effect, Event, Pipeline, Row};
use capstan_model::{PipelineId, Plan};

use crate::Store;
use crate::error::StoreError;

/// A pipeline as its events make it.
pub struct Replayed {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// Its events, in order, with plans put back.
    pub events: Vec<Event>,
    /// Every effect they asked for, in order.
    pub effects: Vec<Effect>,
    /// Number of events.
    pub version: u64,
}

impl Store {
    /// Applies the stored events of a pipeline again.
    pub async fn replay(&self, id: PipelineId) -> Result<Replayed, StoreError> {
        let mut pipeline = Pipeline::new(id);
        let mut events = Vec::new();
        let mut effects = Vec::new();
        let mut version = 0;
        for stored in self.events(id).await? {
            let what = || format!("event {} of pipeline {id}", stored.version);
            let mut event: Event = serde_json::from_str(&stored.json)
                .map_err(|error| StoreError::corrupt(what(), error))?;
            if let Some(plan) = event.plan_mut() {
                let bytes = self.blobs().get(&plan.digest)?;
                let read: Plan = serde_json::from_slice(&bytes)
                    .map_err(|error| StoreError::corrupt(format!("plan {}", plan.digest), error))?;
                plan.plan = Some(Arc::new(read));
            }
            let (delta, asked) = pipeline
                .apply(stored.at_ms, &event)
                .map_err(|error| StoreError::corrupt(what(), error))?;
            pipeline.commit(delta);
            effects.extend(asked);
            version = stored.version;
            events.push(event);
        }
        Ok(Replayed {
            pipeline,
            events,
            effects,
            version,
        })
    }

    /// Compares the stored rows of a pipeline with those its events make. The answer names each row
    /// that differs; empty means that the rows are true.
    pub async fn check(&self, id: PipelineId) -> Result<Vec<String>, StoreError> {
        let stored = keyed(self.rows(id).await?);
        let made = keyed(self.replay(id).await?.pipeline.rows());
        let mut differences = Vec::new();
        for (key, row) in &made {
            match stored.get(key) {
                Some(found) if found == row => {}
                Some(found) => {
                    differences.push(format!("{key}: stored {found:?}, the events make {row:?}"));
                }
                None => differences.push(format!("{key}: not stored, the events make {row:?}")),
            }
        }
        for (key, row) in &stored {
            if !made.contains_key(key) {
                differences.push(format!("{key}: stored {row:?}, the events make none"));
            }
        }
        Ok(differences)
    }
}

fn keyed(rows: Vec<Row>) -> BTreeMap<String, Row> {
    let key = |row: &Row| match row {
        Row::Pipeline(row) => format!("pipeline {}", row.id),
        Row::Workflow(row) => format!("workflow {}", row.id),
        Row::Job(row) => format!("job {} of workflow {}", row.id, row.workflow),
        Row::Task(row) => format!("task {}", row.id),
    };
    rows.into_iter().map(|row| (key(&row), row)).collect()
}
