//! One JSON object a line, for programs. `docs/json.md` describes them.

use std::collections::HashMap;

use capstan_model::TaskId;
use capstan_server::live::{Update, UpdateKind};
use serde::Serialize;

use super::out::complain;
use super::{Board, Out, Renderer};

/// See the module.
#[derive(Debug)]
pub struct Json {
    out: Out,
    /// The first bytes of a character whose last ones have not come yet, by step.
    partial: HashMap<(TaskId, u32), Vec<u8>>,
}

#[derive(Serialize)]
struct OutputLine<'a> {
    r#type: &'static str,
    task: TaskId,
    step: u32,
    offset: u64,
    text: &'a str,
}

impl Json {
    /// Writes to standard output.
    pub fn new(out: Out) -> Self {
        Self {
            out,
            partial: HashMap::new(),
        }
    }

    fn print(&mut self, value: &impl Serialize) {
        match serde_json::to_string(value) {
            Ok(text) => self.out.line(&text),
            Err(error) => complain(&format!("error: cannot write JSON: {error}")),
        }
    }
}

impl Renderer for Json {
    fn update(&mut self, update: &Update, _board: &Board) {
        match &update.kind {
            // Told by the text itself.
            UpdateKind::Output { .. } => return,
            UpdateKind::StepFinished { task, step, .. } => {
                self.partial.remove(&(*task, *step));
            }
            _ => {}
        }
        self.print(update);
    }

    fn output(&mut self, task: TaskId, step: u32, offset: u64, bytes: &[u8], _board: &Board) {
        let mut pending = self.partial.remove(&(task, step)).unwrap_or_default();
        let offset = offset.saturating_sub(pending.len() as u64);
        pending.extend_from_slice(bytes);
        let rest = pending.split_off(pending.len() - incomplete_tail(&pending));
        if !pending.is_empty() {
            let text = String::from_utf8_lossy(&pending);
            self.print(&OutputLine {
                r#type: "output",
                task,
                step,
                offset,
                text: &text,
            });
        }
        if !rest.is_empty() {
            self.partial.insert((task, step), rest);
        }
    }

    fn wants_output(&self) -> bool {
        true
    }

    fn tick(&mut self, _board: &Board) {}

    fn note(&mut self, text: &str) {
        complain(text);
    }

    fn pause(&mut self) {}
}

/// How many bytes at the end begin a character that is not complete.
fn incomplete_tail(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let Some(byte) = bytes.get(bytes.len() - back) else {
            return 0;
        };
        let length = match byte {
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF7 => 4,
            // A continuation byte: its first byte lies further back.
            0x80..=0xBF => continue,
            _ => return 0,
        };
        return if length > back { back } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::incomplete_tail;

    #[test]
    fn a_character_is_never_cut() {
        let text = "a€😀é".as_bytes();
        for end in 0..=text.len() {
            let (head, _) = text.split_at(end);
            let kept = head.len() - incomplete_tail(head);
            assert!(std::str::from_utf8(&head[..kept]).is_ok(), "cut at {end}");
        }
        assert_eq!(incomplete_tail(b"\xff"), 0);
    }
}
