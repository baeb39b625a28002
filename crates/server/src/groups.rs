//! Serial groups: one job of a group at a time, across pipelines, first come first served. Within a project
//! no job comes after one of a newer pipeline (platform 4.6).

use std::collections::{HashMap, VecDeque};

use capstan_model::{JobId, PipelineId, WorkflowId};

/// A job that wants a group or has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) pipeline: PipelineId,
    pub(crate) workflow: WorkflowId,
    pub(crate) job: JobId,
}

/// Where a job stands in the order of its project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) project: String,
    /// Number of its pipeline.
    pub(crate) number: u64,
}

/// What becomes of a job that asked for a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It has the group.
    Granted,
    /// One of a newer pipeline of its project has it, or waits for it.
    Superseded,
    /// It is told when the group is its.
    Waits,
}

/// Who has which group, and who waits. A cache of the event logs, from which it is made again.
#[derive(Default)]
pub(crate) struct Groups {
    /// The first of each queue has the group.
    queues: HashMap<String, VecDeque<(Member, Turn)>>,
}

impl Groups {
    /// Asks for a group. Asked again, the answer stays the same: an effect may be performed twice.
    pub(crate) fn acquire(&mut self, group: &str, member: Member, turn: Turn) -> Answer {
        let queue = self.queues.entry(group.to_owned()).or_default();
        if !queue.iter().any(|(other, _)| *other == member) {
            let newer = |(_, other): &(Member, Turn)| {
                other.project == turn.project && other.number > turn.number
            };
            if queue.iter().any(newer) {
                return Answer::Superseded;
            }
            queue.push_back((member, turn));
        }
        match queue.front() {
            Some((first, _)) if *first == member => Answer::Granted,
            _ => Answer::Waits,
        }
    }

    /// Gives a group back, or stops waiting for it; the answer is who has it now.
    pub(crate) fn release(&mut self, group: &str, member: Member) -> Option<Member> {
        let queue = self.queues.get_mut(group)?;
        let held = queue.front().is_some_and(|(first, _)| *first == member);
        queue.retain(|(other, _)| *other != member);
        let next = queue.front().map(|(first, _)| *first).filter(|_| held);
        if queue.is_empty() {
            self.queues.remove(group);
        }
        next
    }

    /// Puts a member in the queue that asked before a restart. The answer it had is in its events.
    pub(crate) fn restore(&mut self, group: &str, member: Member, turn: Turn) {
        let queue = self.queues.entry(group.to_owned()).or_default();
        queue.push_back((member, turn));
    }

    /// Puts a member first that was given the group before a restart.
    pub(crate) fn restore_holder(&mut self, group: &str, member: Member) {
        let Some(queue) = self.queues.get_mut(group) else {
            return;
        };
        if let Some(at) = queue.iter().position(|(other, _)| *other == member)
            && let Some(holder) = queue.remove(at)
        {
            queue.push_front(holder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Answer::{Granted, Superseded, Waits};

    fn member() -> Member {
        let id = uuid::Uuid::new_v4;
        Member {
            pipeline: PipelineId(id()),
            workflow: WorkflowId(id()),
            job: JobId(id()),
        }
    }

    fn turn(project: &str, number: u64) -> Turn {
        Turn {
            project: project.to_owned(),
            number,
        }
    }

    #[test]
    fn a_group_goes_round_in_the_order_of_asking() {
        let mut groups = Groups::default();
        let (a, b, c) = (member(), member(), member());
        let acquire =
            |groups: &mut Groups, group: &str, who| groups.acquire(group, who, turn("p", 1));
        assert_eq!(acquire(&mut groups, "g", a), Granted);
        assert_eq!(acquire(&mut groups, "g", b), Waits);
        assert_eq!(acquire(&mut groups, "g", c), Waits);
        assert_eq!(acquire(&mut groups, "other", b), Granted);
        assert_eq!(groups.release("g", b), None, "b only waited");
        assert_eq!(acquire(&mut groups, "g", a), Granted, "asked twice");
        assert_eq!(groups.release("g", a), Some(c));
        assert_eq!(groups.release("g", a), None, "given back twice");
        assert_eq!(groups.release("g", c), None);
        assert!(!groups.queues.contains_key("g"));
    }

    #[test]
    fn no_job_of_a_project_comes_after_one_of_a_newer_pipeline() {
        let mut groups = Groups::default();
        let (old, new, other, again) = (member(), member(), member(), member());
        assert_eq!(groups.acquire("g", new, turn("p", 8)), Granted);
        assert_eq!(groups.acquire("g", old, turn("p", 7)), Superseded);
        assert_eq!(
            groups.acquire("g", other, turn("q", 1)),
            Waits,
            "numbers of another project"
        );
        assert_eq!(
            groups.acquire("g", again, turn("p", 8)),
            Waits,
            "a rerun of the same pipeline"
        );
        assert_eq!(groups.release("g", new), Some(other));
        assert_eq!(groups.release("g", other), Some(again));
        assert_eq!(groups.release("g", again), None);
        assert_eq!(
            groups.acquire("g", old, turn("p", 7)),
            Granted,
            "nobody newer is left"
        );
    }

    #[test]
    fn after_a_restart_the_holder_is_first_whoever_is_read_first() {
        let mut groups = Groups::default();
        let (waits, holds) = (member(), member());
        groups.restore("g", waits, turn("p", 1));
        groups.restore("g", holds, turn("q", 1));
        groups.restore_holder("g", holds);
        assert_eq!(groups.acquire("g", waits, turn("p", 1)), Waits);
        assert_eq!(groups.release("g", holds), Some(waits));
    }
}
