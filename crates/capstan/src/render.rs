//! What a person, or a program, sees of a run. One [`Board`] knows how things stand; a renderer decides
//! what of it is shown: [`live`] on a terminal, [`plain`] without one, [`json`] for programs.

pub mod board;
pub mod json;
pub mod live;
pub mod neutral;
pub mod out;
pub mod plain;
pub mod summary;

use capstan_model::TaskId;
use capstan_server::live::Update;

pub use board::Board;
pub use out::Out;

/// Shows a run as it goes.
pub trait Renderer {
    /// Something changed; the board knows it already.
    fn update(&mut self, update: &Update, board: &Board);

    /// Output of a step: the bytes from `offset` on.
    fn output(&mut self, task: TaskId, step: u32, offset: u64, bytes: &[u8], board: &Board);

    /// Whether output is wanted at all, so that nobody reads what nobody sees.
    fn wants_output(&self) -> bool;

    /// Time passed.
    fn tick(&mut self, board: &Board);

    /// A message of Capstan itself.
    fn note(&mut self, text: &str);

    /// Leaves the terminal to somebody else: a question, the summary.
    fn pause(&mut self);
}

/// `0.3s`, `1m 05s`, `2h 03m`.
pub fn duration(ms: i64) -> String {
    let ms = ms.max(0);
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{}.{}s", seconds, ms % 1000 / 100),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn durations_keep_two_units() {
        let cases = [
            (0, "0.0s"),
            (349, "0.3s"),
            (59_999, "59.9s"),
            (65_000, "1m 05s"),
            (7_380_000, "2h 03m"),
        ];
        for (ms, text) in cases {
            assert_eq!(super::duration(ms), text);
        }
    }
}
