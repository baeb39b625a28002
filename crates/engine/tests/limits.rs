//! Limits of a pipeline.

#[path = "support/make.rs"]
mod make;

use std::sync::Arc;

use capstan_engine::event::{NewWorkflow, RerunScope};
use capstan_engine::{Event, MAX_RERUNS, Pipeline};
use capstan_model::plan::RequiredStatus;
use capstan_model::{JobId, PipelineId, WorkflowId};
use uuid::Uuid;

fn new(n: u128) -> NewWorkflow {
    NewWorkflow {
        id: WorkflowId(Uuid::from_u128(3 * n)),
        jobs: (1..=2).map(|j| JobId(Uuid::from_u128(3 * n + j))).collect(),
        auto_reruns: Vec::new(),
    }
}

#[test]
fn a_workflow_runs_again_a_hundred_times_reruns_of_reruns_included() {
    let id = PipelineId(Uuid::nil());
    let jobs = || {
        let mut test = make::job("test", make::build(1));
        test.requires = vec![make::requires("build", &[RequiredStatus::Success])];
        vec![make::job("build", make::build(1)), test]
    };
    let plan = make::plan(vec![
        make::workflow("main", jobs()),
        make::workflow("other", jobs()),
    ]);
    let mut pipeline = Pipeline::new(id);
    let mut happen = |event: Event| {
        let (delta, _) = pipeline
            .apply(1, &event)
            .map_err(|error| error.to_string())?;
        pipeline.commit(delta);
        Ok::<(), String>(())
    };
    happen(Event::Planned {
        trigger: Box::new(make::trigger(id)),
        plan: make::plan_ref(&Arc::new(plan), 1),
        source: None,
        workflows: vec![new(1), new(2)],
    })
    .unwrap();
    let rerun = |of: u128, n: u128| Event::Rerun {
        of: new(of).id,
        scope: RerunScope::FromStart,
        new: new(n),
        actor: String::from("ann"),
    };
    // Each is a rerun of the one before it.
    let mut of = 1;
    for n in 0..MAX_RERUNS as u128 {
        happen(rerun(of, 10 + n)).unwrap();
        of = 10 + n;
    }
    let refused = happen(rerun(of, 1_000)).unwrap_err();
    assert_eq!(
        refused,
        "workflow main is run again a hundred times already and cannot run again from its start"
    );
    happen(rerun(2, 1_000)).unwrap();
}
