//! Output of steps: an append-only file each, with an index of lines.
//!
//! The index holds, for every whole block of [`BLOCK`] bytes, the number of line ends up to its end.
//! Counting line ends a block at a time costs next to nothing, finding a line needs one block. It is a
//! cache of the log: whatever is missing is counted again.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use capstan_model::TaskId;

use crate::error::StoreError;

/// Bytes of log for one entry of the index.
const BLOCK: u64 = 64 * 1024;
/// Log files held open.
const OPEN_MAX: usize = 64;

/// All logs of a store.
pub struct Logs {
    dir: PathBuf,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    clock: u64,
    /// Each with when it was last used.
    files: HashMap<(TaskId, u32), (u64, SharedLog)>,
}

type SharedLog = Arc<Mutex<Log>>;

struct Log {
    path: PathBuf,
    file: File,
    index: Option<File>,
    length: u64,
    /// Line ends in `0..length`.
    lines: u64,
}

/// A stretch of lines of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lines {
    /// Offset of the first byte.
    pub offset: u64,
    /// The lines, each with its end.
    pub bytes: Vec<u8>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic in between leaves counters that are written last; they are still true.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Logs {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            open: Mutex::default(),
        }
    }

    /// Appends output of a step and returns the stretch that is new; its end is the length stored now.
    /// Bytes that are stored already are passed over, so a chunk may come twice.
    ///
    /// # Errors
    /// The chunk begins after the end of what is stored, or the file cannot be written.
    pub fn append(
        &self,
        task: TaskId,
        step: u32,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Range<u64>, StoreError> {
        let log = self.get(task, step, true)?;
        let Some(log) = log else {
            return Err(StoreError::LogGap {
                task,
                step,
                offset,
                stored: 0,
            });
        };
        let mut log = lock(&log);
        if offset > log.length {
            return Err(StoreError::LogGap {
                task,
                step,
                offset,
                stored: log.length,
            });
        }
        let known = usize::try_from(log.length - offset).unwrap_or(usize::MAX);
        let before = log.length;
        if let Some(new) = bytes.get(known..) {
            log.append(new)?;
        }
        Ok(before..log.length)
    }

    /// Length of a step's output, 0 when there is none.
    pub fn length(&self, task: TaskId, step: u32) -> Result<u64, StoreError> {
        Ok(self
            .get(task, step, false)?
            .map_or(0, |log| lock(&log).length))
    }

    /// Number of lines of a step's output; an unfinished last line counts.
    pub fn line_count(&self, task: TaskId, step: u32) -> Result<u64, StoreError> {
        let Some(log) = self.get(task, step, false)? else {
            return Ok(0);
        };
        let log = lock(&log);
        let mut last = [b'\n'];
        if log.length > 0 {
            log.read_at(&mut last, log.length - 1)?;
        }
        Ok(log.lines + u64::from(last != [b'\n']))
    }

    /// At most `max` bytes from `offset`; fewer only at the end.
    pub fn read(
        &self,
        task: TaskId,
        step: u32,
        offset: u64,
        max: usize,
    ) -> Result<Vec<u8>, StoreError> {
        let Some(log) = self.get(task, step, false)? else {
            return Ok(Vec::new());
        };
        let log = lock(&log);
        let size = usize::try_from(log.length.saturating_sub(offset))
            .unwrap_or(usize::MAX)
            .min(max);
        let mut bytes = vec![0; size];
        log.read_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// `count` lines from line `from`, counted from 0, cut after `max` bytes.
    pub fn lines(
        &self,
        task: TaskId,
        step: u32,
        from: u64,
        count: u64,
        max: usize,
    ) -> Result<Lines, StoreError> {
        let Some(log) = self.get(task, step, false)? else {
            return Ok(Lines {
                offset: 0,
                bytes: Vec::new(),
            });
        };
        let log = lock(&log);
        let start = log.line_start(from)?;
        let end = log.line_start(from.saturating_add(count))?;
        let size = usize::try_from(end.saturating_sub(start))
            .unwrap_or(usize::MAX)
            .min(max);
        let mut bytes = vec![0; size];
        log.read_at(&mut bytes, start)?;
        Ok(Lines {
            offset: start,
            bytes,
        })
    }

    fn get(&self, task: TaskId, step: u32, create: bool) -> Result<Option<SharedLog>, StoreError> {
        let mut open = lock(&self.open);
        open.clock += 1;
        let clock = open.clock;
        if let Some((used, log)) = open.files.get_mut(&(task, step)) {
            *used = clock;
            return Ok(Some(Arc::clone(log)));
        }
        let Some(log) = Log::open(&self.dir, task, step, create)? else {
            return Ok(None);
        };
        if open.files.len() >= OPEN_MAX {
            // One that is in use has to stay: two handles of one log would each count for themselves.
            let oldest = open
                .files
                .iter()
                .filter(|(_, (_, log))| Arc::strong_count(log) == 1)
                .min_by_key(|(_, (used, _))| *used)
                .map(|(key, _)| *key);
            if let Some(key) = oldest {
                open.files.remove(&key);
            }
        }
        let log = Arc::new(Mutex::new(log));
        open.files.insert((task, step), (clock, Arc::clone(&log)));
        Ok(Some(log))
    }
}

impl Log {
    fn open(dir: &Path, task: TaskId, step: u32, create: bool) -> Result<Option<Self>, StoreError> {
        let path = dir.join(format!("{task}.{step}.log"));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(create);
        let file = match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !create {
                    return Ok(None);
                }
                fs::create_dir_all(dir).map_err(StoreError::io("making", dir))?;
                options.open(&path)
            }
            other => other,
        }
        .map_err(StoreError::io("opening", &path))?;
        let length = file
            .metadata()
            .map_err(StoreError::io("reading", &path))?
            .len();
        let mut log = Self {
            path,
            file,
            index: None,
            length,
            lines: 0,
        };
        if length > 0 {
            log.recount()?;
        }
        Ok(Some(log))
    }

    /// Counts what the index does not cover. A killed process may have written a log further than its
    /// index, never the other way round.
    fn recount(&mut self) -> Result<(), StoreError> {
        let whole = self.length / BLOCK;
        let mut covered = 0;
        if whole > 0 {
            let index = self.index_file()?;
            covered = index
                .metadata()
                .map_err(StoreError::io("reading", &self.path))?
                .len()
                / 8;
            covered = covered.min(whole);
        }
        self.lines = self.lines_before_block(covered)?;
        let end = self.length;
        let mut at = covered * BLOCK;
        let mut block = vec![0; usize::try_from(BLOCK).unwrap_or(usize::MAX)];
        while at < end {
            let size = usize::try_from((end - at).min(BLOCK)).unwrap_or(usize::MAX);
            let Some(part) = block.get_mut(..size) else {
                break;
            };
            self.read_at(part, at)?;
            self.lines += count(part);
            at += part.len() as u64;
            if at.is_multiple_of(BLOCK) {
                self.note_block(at / BLOCK - 1)?;
            }
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file
            .write_all_at(bytes, self.length)
            .map_err(StoreError::io("writing", &self.path))?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = usize::try_from(BLOCK - self.length % BLOCK).unwrap_or(usize::MAX);
            let (part, after) = rest.split_at(room.min(rest.len()));
            self.lines += count(part);
            self.length += part.len() as u64;
            if self.length.is_multiple_of(BLOCK) {
                self.note_block(self.length / BLOCK - 1)?;
            }
            rest = after;
        }
        Ok(())
    }

    fn note_block(&mut self, block: u64) -> Result<(), StoreError> {
        let entry = self.lines.to_le_bytes();
        self.index_file()?
            .write_all_at(&entry, block * 8)
            .map_err(StoreError::io("writing the index of", &self.path))
    }

    /// Opened when the first block is full: most logs never get there.
    fn index_file(&mut self) -> Result<&File, StoreError> {
        if self.index.is_none() {
            self.index = Some(open_index(&self.path)?);
        }
        self.index
            .as_ref()
            .ok_or_else(|| StoreError::corrupt("a log index", "it is not open"))
    }

    /// Line ends before the first byte of a block.
    fn lines_before_block(&self, block: u64) -> Result<u64, StoreError> {
        let (Some(index), Some(before)) = (&self.index, block.checked_sub(1)) else {
            return Ok(0);
        };
        let mut entry = [0; 8];
        index
            .read_exact_at(&mut entry, before * 8)
            .map_err(StoreError::io("reading the index of", &self.path))?;
        Ok(u64::from_le_bytes(entry))
    }

    /// Offset of the first byte of a line, the end of the log when there are fewer.
    fn line_start(&self, line: u64) -> Result<u64, StoreError> {
        if line == 0 {
            return Ok(0);
        }
        if line > self.lines {
            return Ok(self.length);
        }
        // The block that holds line end number `line` is the last one with fewer before it.
        let (mut low, mut high) = (0, self.length / BLOCK);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if self.lines_before_block(middle)? < line {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        let mut wanted = line - self.lines_before_block(low)?;
        let start = low * BLOCK;
        let size = usize::try_from((self.length - start).min(BLOCK)).unwrap_or(usize::MAX);
        let mut block = vec![0; size];
        self.read_at(&mut block, start)?;
        for (at, byte) in block.iter().enumerate() {
            if *byte == b'\n' {
                wanted -= 1;
                if wanted == 0 {
                    return Ok(start + at as u64 + 1);
                }
            }
        }
        Err(StoreError::corrupt(
            format!("{}", self.path.display()),
            "its line index is wrong",
        ))
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), StoreError> {
        self.file
            .read_exact_at(bytes, offset)
            .map_err(StoreError::io("reading", &self.path))
    }
}

fn open_index(log: &Path) -> Result<File, StoreError> {
    let path = log.with_extension("idx");
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(StoreError::io("opening", path))
}

/// Line ends, counted in stretches short enough for a byte-wide counter, which cannot overflow: so the
/// compiler makes vector instructions of it.
fn count(bytes: &[u8]) -> u64 {
    let ends = |part: &[u8]| {
        let ends = part.iter().map(|byte| u8::from(*byte == b'\n'));
        u64::from(ends.fold(0, u8::wrapping_add))
    };
    let (whole, rest) = bytes.as_chunks::<128>();
    whole.iter().map(|part| ends(part)).sum::<u64>() + ends(rest)
}

#[cfg(test)]
#[path = "logs/tests.rs"]
mod tests;
