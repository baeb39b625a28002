//! Machine images of no family that the hosted service has (language 6.8). Tags are not looked at: they
//! come and go.

use capstan_model::Span;

use crate::compiler::Compiler;

const FAMILIES: [&str; 8] = [
    "ubuntu-",
    "ubuntu:",
    "windows-",
    "windows:",
    "android:",
    "linux-cuda-",
    "circleci/classic:",
    "default",
];

/// Looks at the image of a machine that is not one's own.
pub(crate) fn check(compiler: &mut Compiler<'_>, image: &str, span: Span) {
    if image.contains('$') || FAMILIES.iter().any(|family| image.starts_with(family)) {
        return;
    }
    let message = format!("[{image}] is no known image of a machine");
    let help = match image.contains('/') {
        true => "an image of a registry runs in `docker: [{image: …}]`",
        false => "such as ubuntu-2404:current or windows-server-2022:current",
    };
    compiler.warn_help("W_IMAGE", message, span, Some(help.to_owned()));
}
