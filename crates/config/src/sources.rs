//! The texts of one compilation, in memory, by file id.

use capstan_model::FileId;
use capstan_model::source::SourceFile;
use indexmap::IndexMap;

/// The config, then every orb text.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<SourceFile>,
    orbs: IndexMap<String, Answer>,
}

/// What a caller found for a reference of [`Compiled::Missing`](crate::Compiled::Missing).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Orb {
    /// The orb's source.
    Found {
        /// What the reference resolved to: `circleci/node@5.2.0`, or a URL as it was asked for.
        exact: String,
        /// Its packed YAML.
        text: String,
    },
    /// Every source was asked, and none has it.
    NotFound,
    /// Nobody was asked, as it may not be fetched from where it is; why, and how to mend it, in words.
    Refused(String),
    /// It could not be asked for; why, and how to mend it, in words.
    Unavailable(String),
}

/// An [`Orb`] with its text filed away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Found { exact: String, file: FileId },
    NotFound,
    Refused(String),
    Unavailable(String),
}

impl Sources {
    /// Starts with the config: its name as a person would write it, and its text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            files: vec![SourceFile {
                name: name.into(),
                text: text.into(),
            }],
            orbs: IndexMap::new(),
        }
    }

    /// Answers what [`Compiled::Missing`](crate::Compiled::Missing) asked for. Two references to one
    /// exact orb share its text. An answer stays; a second one for the same reference is ignored, so
    /// that one compilation never sees two texts of an orb.
    pub fn add_orb(&mut self, reference: impl Into<String>, orb: Orb) {
        let reference = reference.into();
        if self.orbs.contains_key(&reference) {
            return;
        }
        let answer = match orb {
            Orb::NotFound => Answer::NotFound,
            Orb::Refused(why) => Answer::Refused(why),
            Orb::Unavailable(why) => Answer::Unavailable(why),
            Orb::Found { exact, text } => {
                let file = self.filed(&exact).unwrap_or_else(|| {
                    self.files.push(SourceFile {
                        name: exact.clone(),
                        text,
                    });
                    FileId(u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX))
                });
                Answer::Found { exact, file }
            }
        };
        self.orbs.insert(reference, answer);
    }

    fn filed(&self, exact: &str) -> Option<FileId> {
        self.orbs.values().find_map(|answer| match answer {
            Answer::Found { exact: name, file } if name == exact => Some(*file),
            _ => None,
        })
    }

    /// The answer for a reference, if there was one.
    pub(crate) fn orb(&self, reference: &str) -> Option<&Answer> {
        self.orbs.get(reference)
    }

    /// All files, by [`FileId`].
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// One file.
    pub fn get(&self, id: FileId) -> Option<&SourceFile> {
        self.files.get(id.0 as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Orb, Sources};

    fn found(exact: &str, text: &str) -> Orb {
        Orb::Found {
            exact: exact.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn references_to_one_exact_orb_share_its_text() {
        let mut sources = Sources::new("config.yml", "version: 2.1");
        sources.add_orb("a/b@1", found("a/b@1.2.3", "first"));
        sources.add_orb("a/b@1.2", found("a/b@1.2.3", "first"));
        sources.add_orb("a/b@1", found("a/b@1.9.9", "never seen"));
        sources.add_orb("a/c@1", Orb::NotFound);
        assert_eq!(sources.files().len(), 2);
        assert_eq!(sources.orb("a/b@1"), sources.orb("a/b@1.2"));
        assert_eq!(sources.orb("a/c@1"), Some(&Answer::NotFound));
        assert_eq!(sources.orb("a/d@1"), None);
    }
}
