//! The training step of a checkpoint: from its name, its folder's name, what a trainer wrote beside
//! it, or what it says itself.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tch_tensorboard::Checkpoint;

use crate::output::Failure;

/// A checkpoint with its step.
#[derive(Debug, PartialEq)]
pub(super) struct Dated {
    pub(super) path: PathBuf,
    pub(super) step: i64,
}

/// Words before a number that is a step, more exact ones first.
const WORDS: [&str; 10] = [
    "global_step",
    "step",
    "steps",
    "iteration",
    "iter",
    "it",
    "checkpoint",
    "ckpt",
    "epoch",
    "e",
];

/// The longest state file of a trainer that is read.
const LONGEST_STATE: u64 = 64 << 20;

/// The checkpoints with their steps: those given, or found one by one.
pub(super) fn dated(paths: &[PathBuf], steps: &[i64]) -> Result<Vec<Dated>, Failure> {
    if !steps.is_empty() && steps.len() != paths.len() {
        let (steps, paths) = (steps.len(), paths.len());
        return Err(Failure::Argument(format!(
            "--steps gives {steps} steps for {paths} checkpoints; give one for each"
        )));
    }
    let dated = |(index, path): (usize, &PathBuf)| {
        let given = steps.get(index).copied();
        let step = given
            .or_else(|| step_of(path))
            .ok_or_else(|| unknown(path))?;
        Ok(Dated {
            path: path.clone(),
            step,
        })
    };
    paths.iter().enumerate().map(dated).collect()
}

fn unknown(path: &Path) -> Failure {
    Failure::Argument(format!(
        "neither the name of {} nor a trainer's state file says its step; give --steps 100,200,...",
        path.display()
    ))
}

/// In the order of the steps.
pub(super) fn sorted(mut all: Vec<Dated>) -> Result<Vec<Dated>, Failure> {
    all.sort_by_key(|dated| dated.step);
    for pair in all.windows(2) {
        if let [one, other] = pair
            && one.step == other.step
        {
            return Err(Failure::Argument(format!(
                "{} and {} are both of step {}; give --steps",
                one.path.display(),
                other.path.display(),
                one.step
            )));
        }
    }
    Ok(all)
}

/// The step of a checkpoint, as far as anything says it. A folder may be that of a whole
/// experiment: a bare number at the end of its name (`run_7`) counts when nothing else does.
pub(super) fn step_of(path: &Path) -> Option<i64> {
    let name = |path: &Path| Some(path.file_name()?.to_string_lossy().into_owned());
    let is_folder = path.is_dir();
    let folder = match is_folder {
        true => path.to_owned(),
        false => path.parent().map(Path::to_owned).unwrap_or_default(),
    };
    let own = name(path).filter(|_| !is_folder);
    let above = name(&std::path::absolute(&folder).unwrap_or_default());
    let above = above.as_deref().unwrap_or_default();
    own.and_then(|own| in_name(&own))
        .or_else(|| behind_word(above))
        .or_else(|| in_state_file(&folder))
        .or_else(|| Checkpoint::open(path).ok()?.step())
        .or_else(|| last_number(above))
}

/// The number behind a word that means a step; else a number that the name ends with.
fn in_name(name: &str) -> Option<i64> {
    behind_word(name).or_else(|| last_number(name))
}

/// Whether a file is one of several (`model-00001-of-00002.safetensors`), whose numbers are no
/// steps.
pub(super) fn is_shard(name: &str) -> bool {
    name.contains("-of-")
}

fn behind_word(name: &str) -> Option<i64> {
    let stem = stem(name)?;
    let behind = |word: &&str| {
        stem.match_indices(*word).find_map(|(at, _)| {
            let before = stem.get(..at).unwrap_or_default();
            let is_whole = !before.ends_with(|letter: char| letter.is_alphabetic());
            let rest = stem
                .get(at + word.len()..)?
                .trim_start_matches(['-', '_', '=']);
            if is_whole { leading_number(rest) } else { None }
        })
    };
    WORDS.iter().find_map(behind)
}

fn last_number(name: &str) -> Option<i64> {
    let stem = stem(name)?;
    let digits = stem.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let number = stem.get(digits.len()..)?;
    let is_apart = digits.is_empty() || digits.ends_with(['-', '_', '.', '=']);
    if is_apart { number.parse().ok() } else { None }
}

/// The name without its endings; `None` for that of a shard.
fn stem(name: &str) -> Option<String> {
    let stem = without_endings(name).to_lowercase();
    (!is_shard(&stem)).then_some(stem)
}

fn leading_number(text: &str) -> Option<i64> {
    let end = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    text.get(..end)?.parse().ok()
}

fn without_endings(name: &str) -> &str {
    let others = [".index.json", ".tar"];
    let endings = Checkpoint::FILE_ENDINGS.iter().chain(&others);
    let mut stem = name;
    while let Some(shorter) = endings.clone().find_map(|ending| stem.strip_suffix(ending)) {
        stem = shorter;
    }
    stem
}

/// What trainers write beside their checkpoints.
#[derive(Deserialize)]
struct TrainerState {
    #[serde(alias = "step", alias = "iteration")]
    global_step: i64,
}

fn in_state_file(folder: &Path) -> Option<i64> {
    let path = folder.join("trainer_state.json");
    let length = std::fs::metadata(&path).ok()?.len();
    (length <= LONGEST_STATE).then_some(())?;
    let state: TrainerState = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    Some(state.global_step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_give_steps() {
        for (name, step) in [
            ("checkpoint-1500", Some(1500)),
            ("epoch=3-step=1200.ckpt", Some(1200)),
            ("epoch_7.pth", Some(7)),
            ("model_000250.pt", Some(250)),
            ("global_step400", Some(400)),
            ("ckpt_iter_12.safetensors", Some(12)),
            ("step-00042.safetensors.index.json", Some(42)),
            ("500.npz", Some(500)),
            ("checkpoint.pth.tar", None),
            ("model-00001-of-00002.safetensors", None),
            ("resnet50.pth", None),
            ("pytorch_model.bin", None),
        ] {
            assert_eq!(in_name(name), step, "{name}");
        }
    }

    #[test]
    fn folders_and_state_files_give_steps() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("checkpoint-30");
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(step_of(&folder.join("model.safetensors")), Some(30));
        assert_eq!(step_of(&folder), Some(30));
        let folder = dir.path().join("last");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(
            folder.join("trainer_state.json"),
            r#"{"epoch": 1.5, "global_step": 77}"#,
        )
        .unwrap();
        assert_eq!(step_of(&folder.join("model.safetensors")), Some(77));
        // A number in the name of an experiment is no step where anything better is there.
        let folder = dir.path().join("experiment_7");
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(step_of(&folder.join("best.pt")), Some(7));
        std::fs::write(folder.join("trainer_state.json"), r#"{"global_step": 90}"#).unwrap();
        assert_eq!(step_of(&folder.join("best.pt")), Some(90));
        assert_eq!(step_of(&folder), Some(90));
        assert_eq!(step_of(&folder.join("model_5.pt")), Some(5));
        let error = dated(&[dir.path().join("best.pt")], &[])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("best.pt") && error.contains("--steps"),
            "{error}"
        );
    }

    #[test]
    fn steps_that_are_given_win_and_must_differ() {
        let paths = [PathBuf::from("checkpoint-9"), PathBuf::from("checkpoint-4")];
        let found = sorted(dated(&paths, &[20, 10]).unwrap()).unwrap();
        assert_eq!(
            found.iter().map(|dated| dated.step).collect::<Vec<_>>(),
            [10, 20]
        );
        assert!(dated(&paths, &[1]).is_err());
        assert!(sorted(dated(&paths, &[5, 5]).unwrap()).is_err());
    }
}
