//! Resource classes that the hosted service does not have (language 6.10). A job of such a class compiles,
//! and finds no machine there.

use capstan_model::Span;

use crate::ast::suggest;
use crate::compiler::Compiler;

const SIZES: [&str; 8] = [
    "small", "medium", "medium+", "large", "xlarge", "2xlarge", "2xlarge+", "3xlarge",
];
/// Families of machines, as they stand before a size. Those that were retired are no mistake of a writer.
const FAMILIES: [&str; 11] = [
    "arm.",
    "windows.",
    "windows.gpu.",
    "windows.gpu.nvidia.",
    "gpu.",
    "gpu.nvidia.",
    "macos.x86.",
    "macos.m1.",
    "m2pro.",
    "m4pro.",
    "android.",
];

/// Looks at a class as a job has it in the end.
pub(crate) fn check(compiler: &mut Compiler<'_>, class: &str, span: Span) {
    // A runner's own classes hold a slash; what a shell would replace is nobody's to judge.
    if class.contains(['/', '$']) || is_known(class) {
        return;
    }
    let message = format!("[{class}] is no known resource class");
    let plain = SIZES.into_iter().map(str::to_owned);
    let arm = SIZES.into_iter().map(|size| format!("arm.{size}"));
    let all: Vec<String> = plain.chain(arm).collect();
    let help = suggest(class, all.iter().map(String::as_str)).unwrap_or_else(|| {
        String::from(
            "such as medium, large or arm.medium; a class of your own runners is namespace/name",
        )
    });
    compiler.warn_help("W_RESOURCE_CLASS", message, span, Some(help));
}

fn is_known(class: &str) -> bool {
    let size = FAMILIES
        .iter()
        .filter_map(|family| class.strip_prefix(family))
        .min_by_key(|size| size.len())
        .unwrap_or(class);
    let (size, suffix) = size.split_once('.').unwrap_or((size, "gen2"));
    let generation = suffix
        .strip_prefix("gen")
        .is_some_and(|n| n.parse::<u8>().is_ok());
    SIZES.contains(&size) && (generation || suffix == "multi")
}

#[cfg(test)]
mod tests {
    use super::is_known;

    #[test]
    fn classes_of_the_tables_are_known() {
        let known = [
            "small",
            "2xlarge+",
            "large.gen3",
            "arm.2xlarge",
            "windows.gpu.nvidia.medium",
            "gpu.nvidia.small.multi",
            "macos.m1.medium.gen1",
            "m4pro.large",
        ];
        for class in known {
            assert!(is_known(class), "{class}");
        }
        for class in [
            "",
            "huge",
            "arm.",
            "arm",
            "large.",
            "large.fast",
            "Large",
            "windows.arm.large",
        ] {
            assert!(!is_known(class), "{class}");
        }
    }
}
