//! What a config writes to name an orb.

use std::fmt;
use std::str::FromStr;

use url::Url;

/// The longest reference that is looked at.
const LONGEST: usize = 2048;
/// The longest label of a `dev:` version.
const LONGEST_LABEL: usize = 1023;

/// A reference, taken apart. Names hold no dots, slashes or blanks, so they are safe as parts of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// `namespace/name@version`.
    Registry {
        /// Whose it is.
        namespace: String,
        /// Its name there.
        name: String,
        /// Which one.
        version: Version,
    },
    /// `https://host/path/orb.yml`.
    Url(Url),
}

/// Which version is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Version {
    /// `1.2.3`: this one, for ever.
    Exact(Release),
    /// `1.2`: the highest `1.2.x`.
    Minor(u64, u64),
    /// `1`: the highest `1.x.y`.
    Major(u64),
    /// The highest there is.
    Volatile,
    /// `dev:label`: whatever was last published under that label.
    Dev(String),
}

/// A published version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    /// The first number.
    pub major: u64,
    /// The second.
    pub minor: u64,
    /// The third.
    pub patch: u64,
}

impl Version {
    /// Whether a published version is one that is meant.
    pub fn admits(&self, release: Release) -> bool {
        match self {
            Self::Exact(exact) => *exact == release,
            Self::Minor(major, minor) => release.major == *major && release.minor == *minor,
            Self::Major(major) => release.major == *major,
            Self::Volatile => true,
            Self::Dev(_) => false,
        }
    }
}

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("it is longer than {LONGEST} characters"));
        }
        if text.starts_with("https://") || text.starts_with("http://") {
            return Url::parse(text)
                .map(Self::Url)
                .map_err(|error| format!("it is no address: {error}"));
        }
        let (path, version) = text
            .split_once('@')
            .ok_or_else(|| String::from("it has no version; write namespace/name@1.2.3"))?;
        let (namespace, name) = path
            .split_once('/')
            .ok_or_else(|| String::from("it has no namespace; write namespace/name@1.2.3"))?;
        if !is_name(namespace) || !is_name(name) {
            return Err(String::from(
                "namespace and name are lower-case letters, digits, - and _",
            ));
        }
        Ok(Self::Registry {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            version: version.parse()?,
        })
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "volatile" {
            return Ok(Self::Volatile);
        }
        if let Some(label) = text.strip_prefix("dev:") {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
            if label.is_empty() || label.len() > LONGEST_LABEL || !label.chars().all(fits) {
                return Err(format!(
                    "the label after dev: is 1 to {LONGEST_LABEL} of a-z, 0-9, ., _ and -"
                ));
            }
            return Ok(Self::Dev(label.to_owned()));
        }
        let numbers: Option<Vec<u64>> = text.split('.').map(number).collect();
        match numbers.as_deref() {
            Some([major]) => Ok(Self::Major(*major)),
            Some([major, minor]) => Ok(Self::Minor(*major, *minor)),
            Some([major, minor, patch]) => Ok(Self::Exact(Release {
                major: *major,
                minor: *minor,
                patch: *patch,
            })),
            _ => Err(String::from(
                "the version is 1.2.3, 1.2, 1, volatile or dev:label",
            )),
        }
    }
}

impl FromStr for Release {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse()? {
            Version::Exact(release) => Ok(release),
            _ => Err(String::from("a published version is 1.2.3")),
        }
    }
}

/// Whether a text is a namespace or the name of an orb.
pub fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(fits)
}

fn number(text: &str) -> Option<u64> {
    // `parse` alone would take a sign.
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry {
                namespace,
                name,
                version,
            } => write!(f, "{namespace}/{name}@{version}"),
            Self::Url(url) => write!(f, "{url}"),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(release) => write!(f, "{release}"),
            Self::Minor(major, minor) => write!(f, "{major}.{minor}"),
            Self::Major(major) => write!(f, "{major}"),
            Self::Volatile => write!(f, "volatile"),
            Self::Dev(label) => write!(f, "dev:{label}"),
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::{Reference, Release};

    #[test]
    fn references_print_as_they_were_written() {
        for text in [
            "circleci/node@5.2.0",
            "circleci/node@5.2",
            "circleci/node@5",
            "circleci/aws-cli@volatile",
            "acme/x_y@dev:alpha.1_2-3",
            "https://example.com/orbs/a.yml",
        ] {
            let parsed: Reference = text.parse().unwrap();
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn what_could_leave_a_folder_or_is_no_version_is_refused() {
        for text in [
            "circleci/node",
            "node@1.2.3",
            "../x/node@1",
            "circleci/../../etc@1.2.3",
            "circleci/no/de@1",
            "CircleCI/node@1",
            "circleci/node@",
            "circleci/node@1.2.3.4",
            "circleci/node@+1",
            "circleci/node@1.x",
            "circleci/node@latest",
            "circleci/node@99999999999999999999",
            "circleci/node@dev:",
            "circleci/node@dev:a/b",
            "circleci/node@dev:A",
            "https://",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
        let long = format!("acme/{}@1", "x".repeat(4000));
        assert!(long.parse::<Reference>().is_err());
    }

    #[test]
    fn ranges_admit_what_they_say_and_releases_sort_by_number() {
        let version = |text: &str| match format!("a1/b1@{text}").parse() {
            Ok(Reference::Registry { version, .. }) => version,
            other => panic!("{other:?}"),
        };
        let release = |text: &str| text.parse::<Release>().unwrap();
        assert!(version("1").admits(release("1.9.0")));
        assert!(!version("1").admits(release("10.0.0")));
        assert!(version("1.2").admits(release("1.2.30")));
        assert!(!version("1.2").admits(release("1.20.0")));
        assert!(version("volatile").admits(release("0.0.1")));
        assert!(!version("dev:x").admits(release("1.0.0")));
        assert!(release("1.10.0") > release("1.9.9"));
    }
}
