//! Claims tasks, gives each a place, masks and relays what comes out of it: claim, prepare, start,
//! watch, free. Knows nothing of workflows, and nothing of what a step does.

pub mod executor;
