//! The texts of one compilation, in memory, by file id.

use capstan_model::FileId;
use capstan_model::source::SourceFile;

/// The config, then every orb text.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<SourceFile>,
}

impl Sources {
    /// Starts with the config: its name as a person would write it, and its text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            files: vec![SourceFile {
                name: name.into(),
                text: text.into(),
            }],
        }
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
