//! Output of jobs is a stranger's text: what it says to a terminal is cut out before it reaches one
//! (safety rule 31). Colours stay, everything else that starts with ESC or is a control character goes.

/// Cuts control sequences out of a stream that comes in pieces.
#[derive(Debug)]
pub struct Neutralizer {
    colors: bool,
    state: State,
    sequence: Vec<u8>,
    colored: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Text,
    /// After ESC.
    Escape,
    /// In `ESC [ …`, kept in `sequence`.
    Control,
    /// In a string: `ESC ] … BEL`, `ESC P … ESC \`.
    Chars,
    /// After ESC in a string.
    CharsEscape,
    /// After the first byte of a two-byte C1 control, U+0080 to U+009F.
    C1,
}

/// A colour sequence longer than this is none.
const SEQUENCE_MAX: usize = 64;

impl Neutralizer {
    /// Keeps colours or cuts them out too.
    pub fn new(colors: bool) -> Self {
        Self {
            colors,
            state: State::Text,
            sequence: Vec::new(),
            colored: false,
        }
    }

    /// Appends to `out` what may be shown of `bytes`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        while let Some((first, after)) = rest.split_first() {
            // Nearly all of nearly every output is text.
            let run = match self.state {
                State::Text => ordinary_run(rest),
                _ => 0,
            };
            if run > 0 {
                let (run, after) = rest.split_at(run);
                out.extend_from_slice(run);
                rest = after;
            } else {
                self.byte(*first, out);
                rest = after;
            }
        }
    }

    /// Whether a colour was left on; switches it off.
    pub fn reset(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.colored) {
            out.extend_from_slice(b"\x1b[0m");
        }
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        match self.state {
            State::Text => match byte {
                0x1B => self.state = State::Escape,
                0xC2 => self.state = State::C1,
                b'\n' | b'\t' => out.push(byte),
                // A carriage return would write over the prefix of its line.
                b'\r' | 0x00..0x20 | 0x7F => {}
                _ => out.push(byte),
            },
            State::C1 => {
                self.state = State::Text;
                match byte {
                    0x9B => self.begin_control(),
                    0x90 | 0x98 | 0x9D..=0x9F => self.state = State::Chars,
                    0x80..0xA0 => {}
                    // Any other character of that block, or no UTF-8 at all.
                    _ => {
                        out.push(0xC2);
                        self.byte(byte, out);
                    }
                }
            }
            State::Escape => match byte {
                b'[' => self.begin_control(),
                b']' | b'P' | b'X' | b'^' | b'_' => self.state = State::Chars,
                // Designators: one more byte follows the intermediates.
                0x20..=0x2F => {}
                0x1B => {}
                _ => self.state = State::Text,
            },
            State::Control => self.control(byte, out),
            State::Chars => match byte {
                0x07 | 0x9C => self.state = State::Text,
                0x1B => self.state = State::CharsEscape,
                // A string that nobody closed ends with its line, or it would swallow the rest.
                b'\n' => {
                    self.state = State::Text;
                    out.push(byte);
                }
                _ => {}
            },
            State::CharsEscape => {
                self.state = if byte == b'\\' {
                    State::Text
                } else {
                    State::Chars
                };
            }
        }
    }

    fn begin_control(&mut self) {
        self.sequence.clear();
        self.state = State::Control;
    }

    fn control(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            0x1B => self.state = State::Escape,
            b'\n' => {
                self.state = State::Text;
                out.push(byte);
            }
            0x40..=0x7E => {
                self.state = State::Text;
                let plain = self
                    .sequence
                    .iter()
                    .all(|b| b.is_ascii_digit() || b";:".contains(b));
                if byte == b'm' && self.colors && plain && self.sequence.len() <= SEQUENCE_MAX {
                    out.extend_from_slice(b"\x1b[");
                    out.extend_from_slice(&self.sequence);
                    out.push(b'm');
                    self.colored = !matches!(self.sequence.as_slice(), b"" | b"0");
                }
            }
            _ if self.sequence.len() <= SEQUENCE_MAX => self.sequence.push(byte),
            _ => {}
        }
    }
}

/// How many bytes from the start on are shown as they are.
fn ordinary_run(bytes: &[u8]) -> usize {
    /// Bytes that are looked at together, which a processor does in one go.
    const TOGETHER: usize = 64;
    let ordinary = |byte: u8| {
        ((byte >= 0x20) & (byte != 0x7F) & (byte != 0xC2)) | (byte == b'\n') | (byte == b'\t')
    };
    let (chunks, _) = bytes.as_chunks::<TOGETHER>();
    let whole = chunks
        .iter()
        .take_while(|chunk| chunk.iter().fold(true, |all, byte| all & ordinary(*byte)))
        .count()
        * TOGETHER;
    let rest = bytes.get(whole..).unwrap_or_default();
    whole + rest.iter().take_while(|byte| ordinary(**byte)).count()
}

/// A short text of a stranger's, a step's title for instance, on one line.
pub fn one_line(text: &str) -> String {
    let mut out = Vec::new();
    Neutralizer::new(false).push(text.as_bytes(), &mut out);
    let clean = String::from_utf8_lossy(&out);
    let line = clean
        .trim()
        .lines()
        .next()
        .unwrap_or_default()
        .trim_end()
        .to_owned();
    if clean.trim().lines().nth(1).is_some() {
        format!("{line} …")
    } else {
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(input: &[u8], piece: usize) -> String {
        let mut neutral = Neutralizer::new(true);
        let mut out = Vec::new();
        for part in input.chunks(piece) {
            neutral.push(part, &mut out);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_text_and_colours_come_through() {
        let cases: &[(&str, &str)] = &[
            ("plain\n", "plain\n"),
            ("\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
            ("\x1b[38:2::1:2:3mx", "\x1b[38:2::1:2:3mx"),
            ("a\x1b[2Jb\x1b[10;10Hc", "abc"),
            ("a\x1b[?25lb", "ab"),
            ("\x1b]0;title\x07x", "x"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1bPq#0\x1b\\x", "x"),
            ("\x1b]52;c;AAAA\nnext", "\nnext"),
            ("50%\r100%\n", "50%100%\n"),
            ("a\x07\x08b", "ab"),
            ("\u{9b}2Jx", "x"),
            ("\u{9d}0;t\u{9c}y", "y"),
            ("°é€😀", "°é€😀"),
            ("\x1b(Bx", "x"),
            ("\x1bcx", "x"),
            ("\x1b[3", ""),
        ];
        for (input, expected) in cases {
            for piece in [1, 2, 3, 100] {
                assert_eq!(
                    shown(input.as_bytes(), piece),
                    *expected,
                    "{input:?} by {piece}"
                );
            }
        }
    }

    #[test]
    fn long_runs_are_cut_where_single_bytes_are() {
        for special in 0..=255_u8 {
            for at in [0, 1, 63, 64, 65, 127, 200] {
                let mut input = vec![b'x'; 201];
                input[at] = special;
                let (mut together, mut single) = (Vec::new(), Vec::new());
                Neutralizer::new(true).push(&input, &mut together);
                let mut neutral = Neutralizer::new(true);
                for byte in &input {
                    neutral.byte(*byte, &mut single);
                }
                assert_eq!(together, single, "{special:#x} at {at}");
            }
        }
    }

    #[test]
    fn titles_stay_on_their_line() {
        assert_eq!(one_line("make\ttest"), "make\ttest");
        assert_eq!(one_line("set -e\nmake\x1b[2J"), "set -e …");
    }
}
