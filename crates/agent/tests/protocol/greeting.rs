//! Versions, and what comes before a task.

use capstan_model::wire::{AgentMessage, Frame, PROTO, PROTO_MIN, RunnerMessage, TaskSpec};

use super::harness::{Agent, run, task};

#[test]
fn it_says_hello_first_and_waits() {
    let mut agent = Agent::start();
    let Some(Frame::Agent(AgentMessage::Hello {
        proto,
        min,
        version,
    })) = agent.next()
    else {
        panic!("no hello");
    };
    assert_eq!((proto, min), (PROTO, PROTO_MIN));
    assert!(!version.is_empty());
    let more = agent.next_within(std::time::Duration::from_millis(100));
    assert_eq!(more, None, "it did not wait for a welcome");
}

#[test]
fn it_works_in_every_version_from_the_oldest_to_its_own_and_in_no_other() {
    for proto in PROTO_MIN..=PROTO {
        let mut agent = Agent::start();
        agent.next();
        agent.send(RunnerMessage::Welcome { proto });
        agent.send(RunnerMessage::Task(Box::new(task(vec![run("true")]))));
        assert_eq!(agent.finish(), "1 success 0\nsuccess\n", "version {proto}");
    }
    for proto in [PROTO_MIN - 1, PROTO + 1, u32::MAX] {
        refused(
            &[RunnerMessage::Welcome { proto }, a_task()],
            &format!("version {proto}"),
        );
    }
}

#[test]
fn nothing_but_a_welcome_and_then_a_task_makes_it_work() {
    let welcome = || RunnerMessage::Welcome { proto: PROTO };
    refused(&[a_task(), welcome()], "did not greet");
    refused(&[RunnerMessage::Goodbye], "did not greet");
    refused(&[welcome(), welcome(), a_task()], "gave no task");
}

#[test]
fn what_a_newer_runner_says_beyond_the_protocol_is_ignored() {
    let mut spec = serde_json::to_value(TaskSpec::default()).unwrap();
    spec["on_disconnect"] = serde_json::json!({"hold": {"for_ms": 1}});
    spec["working_directory"] = serde_json::json!("~/project");
    spec["max_run_time_ms"] = serde_json::json!(60_000);
    spec["type"] = serde_json::json!("task");
    spec["colour"] = serde_json::json!([1, 2]);
    let body = serde_json::to_vec(&spec).unwrap();
    let mut frame = u32::try_from(body.len() + 1)
        .unwrap()
        .to_le_bytes()
        .to_vec();
    frame.push(1);
    frame.extend(body);
    let mut agent = Agent::greeted();
    agent.send_bytes(&frame);
    assert_eq!(agent.finish(), "success\n");
}

fn a_task() -> RunnerMessage {
    RunnerMessage::Task(Box::new(task(vec![run("touch ran")])))
}

fn refused(messages: &[RunnerMessage], why: &str) {
    let mut agent = Agent::start();
    agent.next();
    for message in messages {
        agent.send(message.clone());
    }
    assert_eq!(agent.next(), None, "after {messages:?}");
    let (status, said) = agent.ended();
    assert!(
        status.code() == Some(1) && said.contains(why),
        "after {messages:?}: {status}: {said}"
    );
    assert!(!agent.file("ran").exists());
}
