//! A condition of a step that reads like an expression and is a text, which always holds (language 5.4.8).

use crate::compiler::Compiler;
use crate::yaml::Ref;

/// What names and comparisons of expressions look like.
const SIGNS: [&str; 6] = [
    "pipeline.",
    "parameters.",
    "matrix.",
    " == ",
    " != ",
    " matches ",
];

/// Looks at a condition as it was written.
pub(crate) fn check(compiler: &mut Compiler<'_>, condition: &Ref) {
    let Some(text) = condition.str().filter(|text| !text.contains("<<")) else {
        return;
    };
    if SIGNS.iter().any(|sign| text.contains(sign)) {
        let message = "this condition is a text, and a text that is not empty always holds";
        let help = format!("evaluate it: condition: << {text} >>");
        compiler.warn_help("W_ALWAYS_TRUE", message, condition.span, Some(help));
    }
}
