//! Which steps a task may speak of, and the output of each on its way through the mask.

use std::collections::BTreeMap;

use crate::mask::{MaskStream, Masker};

/// Steps by their number.
#[derive(Default)]
pub(super) struct Steps {
    known: BTreeMap<u32, Step>,
}

struct Step {
    state: State,
    mask: MaskStream,
    /// Bytes that came.
    taken: u64,
    /// Masked bytes that went on.
    given: u64,
}

/// Where a step stands. It goes from one to the next, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Due,
    Running,
    Over,
}

/// Masked output, ready to be stored.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Masked {
    /// Where it stands in the masked output of its step.
    pub(super) offset: u64,
    /// The bytes; never none.
    pub(super) bytes: Vec<u8>,
    /// So many bytes of what came are decided with it.
    pub(super) taken: u64,
}

impl Steps {
    /// These steps, and no others, may be spoken of.
    pub(super) fn expect(&mut self, masker: &Masker, numbers: impl IntoIterator<Item = u32>) {
        for number in numbers {
            self.known.insert(
                number,
                Step {
                    state: State::Due,
                    mask: masker.stream(),
                    taken: 0,
                    given: 0,
                },
            );
        }
    }

    /// A step begins.
    pub(super) fn begin(&mut self, number: u32) -> Result<(), String> {
        let step = self.step(number)?;
        if step.state != State::Due {
            return Err(format!("step {number} began twice"));
        }
        step.state = State::Running;
        Ok(())
    }

    /// Output of a step, as its sender counts it.
    pub(super) fn take(
        &mut self,
        number: u32,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Option<Masked>, String> {
        let step = self.running(number)?;
        if step.taken != offset {
            let expected = step.taken;
            return Err(format!(
                "output of step {number} at {offset}, not at {expected}"
            ));
        }
        step.taken = step.taken.saturating_add(bytes.len() as u64);
        Ok(step.mask(bytes))
    }

    /// Output of ours in a step: its sender does not count it.
    pub(super) fn insert(&mut self, number: u32, text: &str) -> Result<Option<Masked>, String> {
        Ok(self.running(number)?.mask(text.as_bytes()))
    }

    /// A step ends; what the mask still holds comes out.
    pub(super) fn end(&mut self, number: u32) -> Result<Option<Masked>, String> {
        let step = self.running(number)?;
        step.state = State::Over;
        Ok(step.rest())
    }

    /// What is held of steps nobody ended, each once.
    pub(super) fn cut_off(&mut self) -> Vec<(u32, Masked)> {
        let open = self
            .known
            .iter_mut()
            .filter(|(_, step)| step.state == State::Running);
        open.filter_map(|(number, step)| {
            step.state = State::Over;
            Some((*number, step.rest()?))
        })
        .collect()
    }

    /// Every later byte of every step is masked by this, what is held back included.
    pub(super) fn mask_by(&mut self, masker: &Masker) {
        for step in self.known.values_mut() {
            step.mask.mask_by(masker);
        }
    }

    fn running(&mut self, number: u32) -> Result<&mut Step, String> {
        let step = self.step(number)?;
        match step.state {
            State::Running => Ok(step),
            State::Due => Err(format!("step {number} has not begun")),
            State::Over => Err(format!("step {number} is over")),
        }
    }

    fn step(&mut self, number: u32) -> Result<&mut Step, String> {
        self.known
            .get_mut(&number)
            .ok_or_else(|| format!("there is no step {number}"))
    }
}

impl Step {
    fn mask(&mut self, bytes: &[u8]) -> Option<Masked> {
        let mut masked = Vec::with_capacity(bytes.len() + 64);
        self.mask.push(bytes, &mut masked);
        self.give(masked)
    }

    fn rest(&mut self) -> Option<Masked> {
        let mut masked = Vec::new();
        self.mask.finish(&mut masked);
        self.give(masked)
    }

    fn give(&mut self, bytes: Vec<u8>) -> Option<Masked> {
        if bytes.is_empty() {
            return None;
        }
        let offset = self.given;
        self.given += bytes.len() as u64;
        Some(Masked {
            offset,
            bytes,
            taken: self.taken.saturating_sub(self.mask.held() as u64),
        })
    }
}
