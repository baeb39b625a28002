//! Serial groups: one job of a group at a time, across pipelines, first come first served.

use std::collections::{HashMap, VecDeque};

use capstan_model::{JobId, PipelineId, WorkflowId};

/// A job that wants a group or has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) pipeline: PipelineId,
    pub(crate) workflow: WorkflowId,
    pub(crate) job: JobId,
}

/// Who has which group, and who waits. A cache of the event logs, from which it is made again.
#[derive(Default)]
pub(crate) struct Groups {
    /// The first of each queue has the group.
    queues: HashMap<String, VecDeque<Member>>,
}

impl Groups {
    /// Asks for a group; the answer is who is to be told that it has it.
    pub(crate) fn acquire(&mut self, group: &str, member: Member) -> Option<Member> {
        let queue = self.queues.entry(group.to_owned()).or_default();
        if !queue.contains(&member) {
            queue.push_back(member);
        }
        // Asked again by the holder, it is told again: an effect may be performed twice.
        queue.front().copied().filter(|first| *first == member)
    }

    /// Gives a group back, or stops waiting for it; the answer is who has it now.
    pub(crate) fn release(&mut self, group: &str, member: Member) -> Option<Member> {
        let queue = self.queues.get_mut(group)?;
        let held = queue.front() == Some(&member);
        queue.retain(|other| *other != member);
        let next = queue.front().copied().filter(|_| held);
        if queue.is_empty() {
            self.queues.remove(group);
        }
        next
    }

    /// Puts a member first that was given the group before a restart.
    pub(crate) fn restore_holder(&mut self, group: &str, member: Member) {
        let queue = self.queues.entry(group.to_owned()).or_default();
        queue.retain(|other| *other != member);
        queue.push_front(member);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> Member {
        let id = uuid::Uuid::new_v4;
        Member {
            pipeline: PipelineId(id()),
            workflow: WorkflowId(id()),
            job: JobId(id()),
        }
    }

    #[test]
    fn a_group_goes_round_in_the_order_of_asking() {
        let mut groups = Groups::default();
        let (a, b, c) = (member(), member(), member());
        assert_eq!(groups.acquire("g", a), Some(a));
        assert_eq!(groups.acquire("g", b), None);
        assert_eq!(groups.acquire("g", c), None);
        assert_eq!(groups.acquire("other", b), Some(b));
        assert_eq!(groups.release("g", b), None, "b only waited");
        assert_eq!(groups.acquire("g", a), Some(a), "asked twice");
        assert_eq!(groups.release("g", a), Some(c));
        assert_eq!(groups.release("g", a), None, "given back twice");
        assert_eq!(groups.release("g", c), None);
        assert!(!groups.queues.contains_key("g"));
    }
}
