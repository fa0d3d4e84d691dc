//! What logs of version 0.1 say in prose, before there was a private record. Frozen: the texts
//! below are those of that version, whatever texts are written today.

use crate::model::types::DType;
use crate::model::variable_info::VariableInfo;
use crate::report::Verdict;
use crate::report::codes::{dtype_of, role_of, verdict_of};

/// How the descriptions of the histograms of weights, of their changes and of gradients begin.
const HISTOGRAMS: [&str; 3] = [
    "Distribution of the weights. It should move and widen slowly; a shape that never changes \
     belongs to a variable that does not learn.",
    "Distribution of w(t) - w(t-1), what one step changed. All mass at zero: the variable is not \
     updated.",
    "Distribution of the gradient left by the last backward pass.",
];

const BEGIN: &str = "Variable: ";
const HIDDEN: &str = ", not given to optimizers";

/// Dimensions that are read; PyTorch's own tensors have 64 at most.
const RANK: usize = 64;

/// Causes by their texts, as codes.
const CAUSES: [(&str, &str); 5] = [
    ("not in the optimizer", "not_in_optimizer"),
    ("learning rate 0", "learning_rate_zero"),
    ("step is not called", "step_not_called"),
    ("not part of the loss", "no_gradient"),
    ("updates below half a unit in the last place", "rounding"),
];

/// True for the description of a histogram that this crate wrote.
pub(crate) fn is_ours(description: &str) -> bool {
    HISTOGRAMS.iter().any(|text| description.starts_with(text))
}

/// From the end of a description (`Variable: f32 64x10, trainable.`); `None` where there are none,
/// as in those of other writers.
pub(crate) fn traits(description: &str) -> Option<VariableInfo> {
    let (_, text) = description.rsplit_once(BEGIN)?;
    let text = text.strip_suffix('.')?;
    let (text, is_member) = match text.strip_suffix(HIDDEN) {
        Some(text) => (text, Some(false)),
        None => (text, None),
    };
    let (dtype, rest) = text.split_once(' ')?;
    let (shape, role) = rest.split_once(", ")?;
    let dtype: DType = dtype_of(dtype)?;
    let role = role_of(role)?;
    let size = |size: &str| size.parse::<i64>().ok().filter(|size| *size >= 0);
    let shape: Vec<i64> = match shape {
        "scalar" => Vec::new(),
        sizes => sizes
            .split('x')
            .take(RANK + 1)
            .map(size)
            .collect::<Option<_>>()?,
    };
    (shape.len() <= RANK).then_some(VariableInfo {
        dtype,
        shape,
        role,
        is_member,
    })
}

/// The verdicts in the table of a report in Markdown, by the variable's name with its scope.
pub(crate) fn verdicts(markdown: &str) -> Vec<(String, Verdict)> {
    let row = |line: &str| {
        let line = line.strip_prefix("| ")?.strip_suffix(" |")?;
        let (name, text) = (line.split(" | ").next()?, line.rsplit(" | ").next()?);
        let name = name
            .strip_prefix("**")
            .and_then(|name| name.strip_suffix("**"))
            .unwrap_or(name);
        Some((plain(name), verdict(text)?))
    };
    markdown.lines().filter_map(row).collect()
}

/// `non finite`, `not updated: learning rate 0 or step is not called`, `learning, 25 % of its units
/// still`.
fn verdict(text: &str) -> Option<Verdict> {
    let none: [&str; 0] = [];
    if text.starts_with("learning, ") {
        return Some(Verdict::Learning);
    }
    let Some(causes) = text.strip_prefix("not updated: ") else {
        return verdict_of(&text.replace(' ', "_"), &none);
    };
    let code = |text: &str| {
        let cause = CAUSES.iter().find(|(known, _)| *known == text);
        cause.map(|(_, code)| *code)
    };
    let codes: Vec<&str> = causes
        .split(", ")
        .flat_map(|causes| causes.split(" or "))
        .map(code)
        .collect::<Option<_>>()?;
    verdict_of("not_updated", &codes)
}

/// A name as it was before it was escaped for Markdown, but for control characters.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        plain.extend(if letter == '\\' {
            letters.next()
        } else {
            Some(letter)
        });
    }
    let entities = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&#124;", "|"),
        ("&amp;", "&"),
    ];
    entities.iter().fold(plain, |plain, (entity, letter)| {
        plain.replace(entity, letter)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Cause;
    use crate::source::named_tensors::Role;

    #[test]
    fn traits_are_read_from_a_description() {
        let text = "Mean of the weights. Estimated from 10 of 20 elements. Variable: bf16 8x0x3, \
                    buffer, not given to optimizers.";
        let expected = VariableInfo {
            dtype: DType::BF16,
            shape: vec![8, 0, 3],
            role: Role::Buffer,
            is_member: Some(false),
        };
        assert_eq!(traits(text), Some(expected));
        let scalar = traits("Variable: f64 scalar, frozen.").expect("traits");
        assert_eq!((scalar.shape.len(), scalar.is_member), (0, None));
    }

    #[test]
    fn other_texts_have_no_traits() {
        for text in [
            "",
            "Mean of the weights.",
            "Variable: ",
            "Variable: f32 3x, trainable.",
            "Variable: f32 -3, trainable.",
            "Variable: f32 3, admired.",
            "Variable: f33 3, trainable.",
            "Variable: f32 3, trainable",
        ] {
            assert_eq!(traits(text), None, "{text}");
        }
        let many = format!("Variable: f32 {}1, trainable.", "1x".repeat(64));
        assert_eq!(traits(&many), None);
    }

    #[test]
    fn verdicts_are_read_from_the_table() {
        let text = "**5 variables**\n\n\
            - G/\\| x \\| frozen \\|: detached since step 1: | y | frozen |; advice\n\n\
            | variable | shape | norm | update ratio | changed | drift | verdict |\n\
            |---|---|--:|--:|--:|--:|---|\n\
            | **G/a&#124;b\\*c\\_d&lt;s&gt;\\# h\\\\** | 2x3 | 1 | 0 | 0 % | 0 | not updated: \
            learning rate 0, step is not \
            called, not in the optimizer or updates below half a unit in the last place |\n\
            | &amp;lt; | 2 | 1 | 1e-3 | 100 % | 0.1 | learning, 25 % of its units still |\n\
            | w | 2 | 1 | 1e-3 | 100 % | 0.1 | moving while frozen |\n\
            | a | nonsense |\n";
        let found = verdicts(text);
        let names: Vec<&str> = found.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["G/a|b*c_d<s># h\\", "&lt;", "w"]);
        assert_eq!(found[1].1, Verdict::Learning);
        assert_eq!(found[2].1, Verdict::MovingWhileFrozen);
        let Verdict::NotUpdated { cause } = found[0].1 else {
            panic!("{:?}", found[0].1);
        };
        assert!(cause.candidates().contains(&Cause::LearningRateZero));
        assert!(cause.candidates().contains(&Cause::Rounding));
        assert!(verdicts("| | |\n|\n| a | nonsense |").is_empty());
        assert!(verdicts("| a | not updated: why |").is_empty());
    }

    #[test]
    fn histograms_are_known_by_their_description() {
        assert!(is_ours(
            "Distribution of w(t) - w(t-1), what one step changed. All mass at zero: the variable \
             is not updated. Variable: f32 3, trainable."
        ));
        assert!(!is_ours("Distribution of the weights of a layer."));
    }
}
