//! The two streams of the process. A reader that went away ends the writing, never the run.

use std::io::{IsTerminal, Write};

/// Standard output, with what it can show.
#[derive(Debug)]
pub struct Out {
    /// Whether colours are written.
    pub color: bool,
    /// Whether a person looks at it.
    pub terminal: bool,
    closed: bool,
}

/// The styles in use.
#[derive(Clone, Copy, Debug)]
pub enum Style {
    /// Went well.
    Good,
    /// Went wrong.
    Bad,
    /// Waits.
    Wait,
    /// Of less interest.
    Dim,
    /// Of more.
    Bold,
}

impl Out {
    /// Looks at standard output and `NO_COLOR`.
    pub fn new() -> Self {
        let terminal = std::io::stdout().is_terminal()
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            color: terminal && !refused,
            terminal,
            closed: false,
        }
    }

    /// Writes and flushes. Does nothing once the reader is gone.
    pub fn write(&mut self, text: &[u8]) {
        if self.closed {
            return;
        }
        let mut stdout = std::io::stdout().lock();
        if stdout
            .write_all(text)
            .and_then(|()| stdout.flush())
            .is_err()
        {
            self.closed = true;
        }
    }

    /// Writes a line.
    pub fn line(&mut self, text: &str) {
        let mut bytes = Vec::with_capacity(text.len() + 1);
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(b'\n');
        self.write(&bytes);
    }

    /// The text in a style, or as it is where there are no colours.
    pub fn paint(&self, style: Style, text: &str) -> String {
        if !self.color {
            return text.to_owned();
        }
        let code = match style {
            Style::Good => "32",
            Style::Bad => "31",
            Style::Wait => "33",
            Style::Dim => "2",
            Style::Bold => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

impl Default for Out {
    fn default() -> Self {
        Self::new()
    }
}

/// A line for a person on standard error; a closed one is no reason to stop.
pub fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
}

/// Whether standard error shows colours.
pub fn stderr_color() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !refused
}

/// The columns of the terminal behind standard error, if it is one.
pub fn stderr_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}
