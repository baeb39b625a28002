//! Dependencies: crates that must never come in, and licences that we can pass on. The list of licences
//! is the `allow` list of `deny.toml`, so that `cargo deny` and this agree.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Crates that would bring a second crypto stack, a second clock, or a verification tool chain.
const BANNED: &[&str] = &[
    "aws-lc-rs",
    "aws-lc-sys",
    "openssl-sys",
    "native-tls",
    "vstd",
    "chrono-tz",
    "chrono",
];

/// Everything wrong with the dependencies, one sentence each.
///
/// # Errors
/// When `cargo metadata` or `deny.toml` cannot be read.
pub fn problems(root: &Path) -> Result<Vec<String>, String> {
    let packages = packages(root)?;
    let allowed = allowed_licences(root)?;
    let mut found = Vec::new();
    for package in &packages {
        let name = package["name"].as_str().unwrap_or("?");
        if BANNED.contains(&name) {
            found.push(format!(
                "{name}: banned; `cargo tree -i {name}` tells who brings it"
            ));
        }
        let licence = package["license"].as_str().unwrap_or("");
        if !acceptable(licence, &allowed) {
            found.push(format!(
                "{name}: licence {licence:?} is not in the allow list of deny.toml"
            ));
        }
    }
    Ok(found)
}

fn packages(root: &Path) -> Result<Vec<Value>, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
        ])
        .arg("x86_64-unknown-linux-gnu")
        .current_dir(root)
        .output()
        .map_err(|error| format!("cannot start cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let mut metadata: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("cargo metadata is not JSON: {error}"))?;
    match metadata["packages"].take() {
        Value::Array(packages) => Ok(packages),
        _ => Err(String::from("cargo metadata lists no packages")),
    }
}

fn allowed_licences(root: &Path) -> Result<Vec<String>, String> {
    let text = fs::read_to_string(root.join("deny.toml")).map_err(|error| error.to_string())?;
    let list = text
        .split("allow = [")
        .nth(1)
        .and_then(|rest| rest.split(']').next())
        .ok_or("deny.toml has no allow list")?;
    Ok(list
        .split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect())
}

/// An SPDX expression is acceptable when one of its `OR` branches names allowed licences only.
fn acceptable(expression: &str, allowed: &[String]) -> bool {
    let flat = expression.replace(['(', ')'], " ").replace('/', " OR ");
    flat.split(" OR ").any(|branch| {
        branch
            .split(" AND ")
            .all(|licence| allowed.iter().any(|known| known == licence.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_allowed() {
        let problems = problems(&crate::root()).unwrap();
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }

    #[test]
    fn expressions_are_read() {
        let allowed = ["MIT".to_owned(), "ISC".to_owned()];
        assert!(acceptable("MIT OR Apache-2.0", &allowed));
        assert!(acceptable("MIT/Apache-2.0", &allowed));
        assert!(acceptable("MIT AND ISC", &allowed));
        assert!(!acceptable("MIT AND GPL-3.0", &allowed));
        assert!(!acceptable("", &allowed));
    }
}
