//! Claiming a run: exactly the one asked for, or the next number that is free.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::model::types::Existing;
use crate::sink::{Claim, Sharing, Sink};

/// How many names are tried before giving up: a program that makes more runs than that has lost
/// control of them.
const MAX_RUNS: u32 = 100_000;

/// Claims a run, numbered if need be.
///
/// # Errors
///
/// [`Error::InvalidOption`] for an empty path or one that is no path, [`Error::RunExists`] with
/// [`Existing::Fail`], [`Error::NoFreeRun`], and [`Error::Io`] when the run cannot be made, or when
/// there is no name to put a number behind.
pub(crate) fn claim_run(sink: &dyn Sink, run: &Path, existing: Existing) -> Result<Box<dyn Claim>> {
    let run = checked(run)?;
    let sharing = match existing {
        Existing::Append => Sharing::Shared,
        Existing::Fail | Existing::Number => Sharing::Exclusive,
    };
    match (sink.claim(&run, sharing)?, existing) {
        (Some(claim), _) => Ok(claim),
        (None, Existing::Number) => claim_numbered(sink, &run, MAX_RUNS),
        (None, Existing::Fail | Existing::Append) => Err(Error::RunExists { path: run }),
    }
}

/// Claims exactly this run to go on with it, or to begin one.
///
/// # Errors
///
/// As [`claim_run`], and [`Error::RunInUse`] when a logger is writing there, in this process or
/// another one on this machine.
pub(crate) fn claim_again(sink: &dyn Sink, run: &Path) -> Result<Box<dyn Claim>> {
    let run = checked(run)?;
    sink.claim(&run, Sharing::Resumed)?
        .ok_or(Error::RunExists { path: run })
}

/// The path without trailing slashes, so that it reads the same with and without a number.
fn checked(run: &Path) -> Result<PathBuf> {
    let refused = |reason: String| {
        Err(Error::InvalidOption {
            option: "logdir",
            reason: reason.into(),
        })
    };
    if run.as_os_str().is_empty() {
        return refused("the path is empty; name a directory such as \"runs/cnn\"".into());
    }
    let text = run.to_string_lossy();
    if let Some((scheme, place)) = address(&text) {
        let advice = match scheme {
            "file" => format!(
                "give the path alone: {:?}",
                format!("/{}", place.trim_start_matches('/'))
            ),
            _ => format!(
                "runs are written to local or mounted directories; mount it, or log locally \
                 and copy the run (a directory of that name is \"./{text}\")"
            ),
        };
        return refused(format!("{text:?} is an address, not a path; {advice}"));
    }
    if run
        .components()
        .next()
        .is_some_and(|first| first.as_os_str() == "~")
    {
        return refused(format!(
            "{text:?} begins with \"~\", which only a shell replaces by the home directory; join \
             the path to the variable HOME (a directory of that name is \"./{text}\")"
        ));
    }
    Ok(run.components().collect())
}

/// The parts before and behind `://`. One letter before it is a drive of Windows.
fn address(path: &str) -> Option<(&str, &str)> {
    let (scheme, place) = path.split_once("://")?;
    let mut letters = scheme.chars();
    let is_scheme = letters.next()?.is_ascii_alphabetic()
        && letters.clone().next().is_some()
        && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    is_scheme.then_some((scheme, place))
}

/// Claims the first of `run_2`, `run_3`, … that is free.
fn claim_numbered(sink: &dyn Sink, run: &Path, max_runs: u32) -> Result<Box<dyn Claim>> {
    // The last component of "..", "." and "/" is no name.
    let Some(name) = run.file_name() else {
        let reason = "it holds a run already, and its path ends in no name to put a number behind; \
            give the directory by its name";
        return Err(Error::io("number", run, io::Error::other(reason)));
    };
    for number in 2..=max_runs {
        let mut numbered = OsString::from(name);
        numbered.push(format!("_{number}"));
        let candidate = run.with_file_name(numbered);
        // A file of that name does no harm: the next number is as good.
        if sink.is_blocked(&candidate) {
            continue;
        }
        if let Some(claim) = sink.claim(&candidate, Sharing::Exclusive)? {
            return Ok(claim);
        }
    }
    Err(Error::NoFreeRun {
        path: run.to_owned(),
        tried: max_runs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::LocalSink;
    use crate::sink::identity::MARKER;
    use crate::sink::memory::MemorySink;
    use std::collections::BTreeSet;
    use std::fs;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    use std::sync::Barrier;
    use std::thread;

    const CLAIMS: usize = 20;

    fn number(dir: &Path) -> PathBuf {
        claim_run(&LocalSink, dir, Existing::Number)
            .unwrap()
            .path()
            .to_owned()
    }

    /// `dir`, `dir_2` … `dir_20`.
    fn first_numbered(dir: &Path) -> BTreeSet<PathBuf> {
        (1..=CLAIMS)
            .map(|n| match n {
                1 => dir.to_owned(),
                n => PathBuf::from(format!("{}_{n}", dir.display())),
            })
            .collect()
    }

    #[test]
    fn threads_at_once_get_each_their_own() {
        let temp = tempfile::tempdir().unwrap();
        // Many rounds: one alone seldom catches a check that is apart from the claim.
        for round in 0..20 {
            let (name, exists) = (format!("run{round}"), round % 2 == 1);
            let dir = temp.path().join(name);
            if exists {
                fs::create_dir(&dir).unwrap();
            }
            let barrier = Barrier::new(CLAIMS);
            let claimed: BTreeSet<PathBuf> = thread::scope(|scope| {
                let claim = || {
                    barrier.wait();
                    number(&dir)
                };
                let threads: Vec<_> = (0..CLAIMS).map(|_| scope.spawn(claim)).collect();
                threads.into_iter().map(|t| t.join().unwrap()).collect()
            });
            assert_eq!(claimed, first_numbered(&dir));
        }
    }

    #[test]
    fn processes_at_once_get_each_their_own() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("deep/er/run");
        let mut children: Vec<_> = (0..CLAIMS)
            .map(|_| {
                Command::new(std::env::current_exe().unwrap())
                    .args([
                        "--exact",
                        "sink::claim::tests::claim_in_child",
                        "--ignored",
                        "--nocapture",
                    ])
                    .env("TCH_TENSORBOARD_CLAIM", &dir)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        // All have started and wait for their standard input to close.
        let mut outputs: Vec<_> = children
            .iter_mut()
            .map(|child| BufReader::new(child.stdout.take().unwrap()).lines())
            .collect();
        for lines in &mut outputs {
            assert!(lines.any(|line| line.unwrap().ends_with("ready")));
        }
        children
            .iter_mut()
            .for_each(|child| drop(child.stdin.take()));
        let claimed: BTreeSet<PathBuf> = outputs
            .into_iter()
            .flat_map(|lines| lines.map(Result::unwrap))
            .filter_map(|line| Some(line.strip_prefix("claimed ")?.into()))
            .collect();
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        assert_eq!(claimed, first_numbered(&dir));
    }

    /// Not a test by itself: what each process above runs.
    #[test]
    #[ignore = "run by processes_at_once_get_each_their_own"]
    fn claim_in_child() {
        let dir = std::env::var_os("TCH_TENSORBOARD_CLAIM").expect("set by the parent");
        println!("ready");
        io::copy(&mut io::stdin(), &mut io::sink()).unwrap();
        println!("claimed {}", number(Path::new(&dir)).display());
    }

    #[test]
    fn restarts_and_directories_that_exist() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("run");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("config.toml"), "lr = 0.1").unwrap();
        assert_eq!(number(&dir), dir, "a directory without a run is free");
        assert_eq!(number(&dir), temp.path().join("run_2"));
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(number(&dir), dir, "a deleted run frees its name");
        assert_eq!(number(&dir), temp.path().join("run_3"));
    }

    #[test]
    fn a_foreign_run_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("run");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("events.out.tfevents.1700000000.host"), "").unwrap();
        assert_eq!(number(&dir), temp.path().join("run_2"));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        let error = claim_run(&LocalSink, &dir, Existing::Fail).err().unwrap();
        assert!(matches!(error, Error::RunExists { path } if path == dir));
    }

    #[test]
    fn nested_runs_do_not_take_their_parent() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("run");
        assert_eq!(number(&dir.join("val")), dir.join("val"));
        fs::create_dir(dir.join("tfevents.d")).unwrap();
        assert_eq!(number(&dir), dir);
        assert_eq!(number(&dir), temp.path().join("run_2"));
    }

    #[test]
    fn appending_takes_a_run_and_keeps_others_out() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("run");
        for _ in 0..2 {
            assert_eq!(
                claim_run(&LocalSink, &dir, Existing::Append)
                    .unwrap()
                    .path()
                    .to_owned(),
                dir
            );
        }
        assert_eq!(number(&dir), temp.path().join("run_2"));
    }

    #[test]
    fn failing_takes_a_free_directory_once() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("run");
        assert_eq!(
            claim_run(&LocalSink, &dir, Existing::Fail)
                .unwrap()
                .path()
                .to_owned(),
            dir
        );
        let error = claim_run(&LocalSink, &dir, Existing::Fail).err().unwrap();
        assert!(matches!(error, Error::RunExists { path } if path == dir));
    }

    #[cfg(unix)]
    #[test]
    fn a_run_that_is_being_written_is_not_gone_on_with() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("run");
        let writing = claim_run(&LocalSink, &dir, Existing::Number).unwrap();
        let error = claim_again(&LocalSink, &dir).err().unwrap();
        assert!(
            matches!(&error, Error::RunInUse { path } if *path == dir),
            "{error}"
        );
        drop(writing);
        let again = claim_again(&LocalSink, &dir).unwrap();
        assert_eq!(again.path(), dir);
        claim_again(&LocalSink, &dir).err().unwrap();
        // It may also be the first to write there.
        claim_again(&LocalSink, &temp.path().join("new")).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_claim_is_renewed_while_nobody_else_has_taken_the_directory() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("run");
        for existing in [Existing::Number, Existing::Append] {
            let mut claim = claim_run(&LocalSink, &dir, existing).unwrap();
            let mut renew = || claim.is_held(None).unwrap() || claim.reclaim().unwrap();
            assert!(renew(), "nothing has happened");
            fs::remove_file(dir.join(MARKER)).unwrap();
            assert!(renew(), "the marker alone was deleted");
            assert!(dir.join(MARKER).exists());
            fs::remove_file(dir.join(MARKER)).unwrap();
            let other = claim_run(&LocalSink, &dir, Existing::Number).unwrap();
            assert!(!renew(), "another run has begun");
            drop(other);
            fs::remove_dir_all(&dir).unwrap();
            assert!(!renew(), "the directory was deleted");
            assert!(!dir.exists());
            number(&dir);
            assert!(!renew(), "another run in its place");
            fs::remove_dir_all(&dir).unwrap();
        }
    }

    /// The number of a deleted marker goes to the next file that is made.
    #[cfg(unix)]
    #[test]
    fn a_directory_is_known_by_the_text_of_its_marker_too() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("run");
        let mut claim = claim_run(&LocalSink, &dir, Existing::Number).unwrap();
        let marker = dir.join(MARKER);
        let text = fs::read_to_string(&marker).unwrap();
        fs::write(&marker, text.replace("Run id: ", "Run id: 0")).unwrap();
        assert!(!claim.is_held(None).unwrap());
        fs::write(&marker, text).unwrap();
        assert!(claim.is_held(None).unwrap());
    }

    #[cfg(unix)]
    #[test]
    fn a_run_is_found_where_it_was_moved() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("run");
        let mut claim = claim_run(&LocalSink, &dir, Existing::Number).unwrap();
        let moved = temp.path().join("moved");
        fs::rename(&dir, &moved).unwrap();
        let other = claim_run(&LocalSink, &dir, Existing::Number).unwrap();
        assert_eq!(other.path(), dir);
        assert!(!claim.is_held(None).unwrap());
        claim.create("1.tfevents").err().unwrap();
        assert!(claim.is_held(Some(&moved.join("0.tfevents"))).unwrap());
        assert!(claim.create("1.tfevents").unwrap().is_some());
        assert!(moved.join("1.tfevents").exists() && !dir.join("1.tfevents").exists());
        assert_eq!(claim.list().unwrap(), ["1.tfevents"]);
    }

    #[test]
    fn a_claim_that_came_to_nothing_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("deep/er/run");
        for existing in [Existing::Number, Existing::Append] {
            claim_run(&LocalSink, &dir, existing).unwrap().release();
            assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
        }
        number(&dir);
        claim_run(&LocalSink, &dir, Existing::Append)
            .unwrap()
            .release();
        assert!(dir.join(MARKER).exists(), "another run's");
    }

    #[test]
    fn addresses_and_tildes_are_no_directories() {
        for (path, word) in [
            ("s3://bucket/run", "mount"),
            ("gs://bucket/run", "mount"),
            ("file:///tmp/run", "\"/tmp/run\""),
            ("~/runs/cnn", "HOME"),
            ("~", "HOME"),
        ] {
            for error in [
                claim_run(&LocalSink, Path::new(path), Existing::Number).err(),
                claim_again(&LocalSink, Path::new(path)).err(),
            ] {
                let text = error.unwrap().to_string();
                assert!(text.contains(path) && text.contains(word), "{text}");
            }
        }
        let sink = MemorySink::default();
        for path in [
            "C://runs",
            "./s3://bucket",
            "a b://c",
            "://x",
            "./~/runs",
            "~backup",
            "a~/b",
        ] {
            claim_run(&sink, Path::new(path), Existing::Number).unwrap();
        }
    }

    #[test]
    fn odd_spellings_of_a_path() {
        let temp = tempfile::tempdir().unwrap();
        let run = temp.path().join("run");
        let slash = temp.path().join("run///");
        assert_eq!(number(&slash).as_os_str(), run.as_os_str());
        let second = temp.path().join("run_2");
        assert_eq!(number(&slash).as_os_str(), second.as_os_str());
        assert_eq!(number(&run.join(".")), temp.path().join("run_3"));

        // The parent is free, so it can be taken; once taken it cannot be numbered.
        let parent = run.join("..");
        assert_eq!(number(&parent), parent);
        let error = claim_run(&LocalSink, &parent, Existing::Number)
            .err()
            .unwrap();
        assert!(error.to_string().contains("no name"), "{error}");
        assert_eq!(error.path(), Some(parent.as_path()));

        let error = claim_run(&LocalSink, Path::new(""), Existing::Number)
            .err()
            .unwrap();
        assert!(matches!(
            error,
            Error::InvalidOption {
                option: "logdir",
                ..
            }
        ));
    }

    #[test]
    fn files_in_the_way() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        fs::write(&file, "").unwrap();
        for existing in [Existing::Number, Existing::Append, Existing::Fail] {
            for dir in [file.clone(), file.join("run")] {
                let error = claim_run(&LocalSink, &dir, existing).err().unwrap();
                assert!(
                    matches!(&error, Error::Io { path, .. } if *path == dir),
                    "{error}"
                );
            }
        }
        let dir = temp.path().join("run");
        fs::write(temp.path().join("run_2"), "").unwrap();
        assert_eq!(number(&dir), dir);
        assert_eq!(number(&dir), temp.path().join("run_3"));
    }

    // Permissions do not bind root, which tests often run as; nobody can make a directory here.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_parent_that_cannot_be_written() {
        let error = claim_run(&LocalSink, Path::new("/proc/self/run"), Existing::Number)
            .err()
            .unwrap();
        assert!(error.is_io(), "{error}");
        assert_eq!(error.path(), Some(Path::new("/proc/self/run")));
    }

    #[test]
    fn numbering_gives_up() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("run");
        number(&dir);
        for _ in 0..2 {
            claim_numbered(&LocalSink, &dir, 3).unwrap();
        }
        let error = claim_numbered(&LocalSink, &dir, 3).err().unwrap();
        assert!(matches!(error, Error::NoFreeRun { path, tried: 3 } if path == dir));
    }
}
