//! A text that many nodes share.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::rc::Rc;

/// Text of a scalar or a key: a stretch of a text that is kept as long as any stretch of it. Cloned by
/// counting, and cut from the text of a file without being copied.
#[derive(Clone)]
pub(crate) struct Text {
    whole: Rc<Box<str>>,
    start: u32,
    /// Behind the last byte, or [`WHOLE`].
    end: u32,
}

/// The end of a text that is no part of another one.
const WHOLE: u32 = u32::MAX;

impl Text {
    pub(crate) fn as_str(&self) -> &str {
        if self.end == WHOLE {
            return &self.whole;
        }
        let range = self.start as usize..self.end as usize;
        self.whole.get(range).unwrap_or_default()
    }

    /// How many bytes it has, without a look at them.
    pub(crate) fn len(&self) -> usize {
        match self.end {
            WHOLE => self.whole.len(),
            end => end.saturating_sub(self.start) as usize,
        }
    }

    /// The bytes `start..end` of a text that is no part of another one; both are ends of characters.
    pub(super) fn part(&self, start: u32, end: u32) -> Self {
        Self {
            whole: Rc::clone(&self.whole),
            start,
            end,
        }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

/// As a `str` hashes, so that maps of texts can be asked for one.
impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::from(String::from(text))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self {
            whole: Rc::new(text.into()),
            start: 0,
            end: WHOLE,
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}
