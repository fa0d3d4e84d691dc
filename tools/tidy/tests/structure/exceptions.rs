//! What does not hold yet: lines of `exceptions.txt`, each a rule and what breaks it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

/// The file is rewritten by one test at a time.
static FILE: Mutex<()> = Mutex::new(());

pub(crate) struct Exceptions(Vec<String>);

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/structure/exceptions.txt")
}

fn read_lines() -> Vec<String> {
    let text = fs::read_to_string(path()).expect("exceptions.txt is there");
    text.lines().map(str::to_owned).collect()
}

fn is_update() -> bool {
    std::env::var_os("UPDATE_EXCEPTIONS").is_some()
}

fn is_update_of_all() -> bool {
    std::env::var_os("UPDATE_EXCEPTIONS").is_some_and(|value| value == "all")
}

/// Replaces the exceptions of a rule.
fn rewrite(rule: &str, found: impl Iterator<Item = String>) {
    let _guard = FILE.lock();
    let mut lines = read_lines();
    lines.retain(|line| line.split(' ').next() != Some(rule));
    lines.extend(found.map(|one| format!("{rule} {one}")));
    lines.sort();
    fs::write(path(), lines.join("\n") + "\n").expect("exceptions.txt can be written");
}

impl Exceptions {
    pub(crate) fn read() -> Exceptions {
        let _guard = FILE.lock();
        Exceptions(read_lines())
    }

    /// The exceptions of a rule.
    pub(crate) fn of(&self, rule: &str) -> BTreeSet<String> {
        let rest = |line: &String| {
            line.strip_prefix(rule)?
                .strip_prefix(' ')
                .map(str::to_owned)
        };
        self.0.iter().filter_map(rest).collect()
    }

    /// Fails for what was found and is not listed, and for what is listed and was not found.
    pub(crate) fn check(&self, rule: &str, found: &BTreeSet<String>, problem: &str) {
        if is_update_of_all() {
            return rewrite(rule, found.iter().cloned());
        }
        let listed = self.of(rule);
        let new: Vec<String> = found
            .difference(&listed)
            .map(|one| format!("{one}: {problem}"))
            .collect();
        assert!(new.is_empty(), "{}", new.join("\n"));
        let gone: BTreeSet<&String> = listed.difference(found).collect();
        self.remove(rule, |line| gone.iter().any(|gone| *gone == line), &gone);
    }

    /// As `check`, for exceptions that are a file and a number that may only get smaller.
    pub(crate) fn check_counts(&self, rule: &str, found: &BTreeMap<String, usize>, problem: &str) {
        if is_update_of_all() {
            let lines = found.iter().map(|(file, count)| format!("{file} {count}"));
            return rewrite(rule, lines);
        }
        let mut listed: BTreeMap<String, usize> = BTreeMap::new();
        for line in self.of(rule) {
            let pair = line.rsplit_once(' ');
            let (file, count) = pair.unwrap_or_else(|| panic!("exceptions.txt: `{line}`"));
            listed.insert(file.to_owned(), count.parse().expect("a number"));
        }
        let more = found
            .iter()
            .filter(|(file, count)| listed.get(*file).is_none_or(|most| *count > most));
        let more: Vec<String> = more
            .map(|(file, count)| format!("{file}: {count} {problem}"))
            .collect();
        assert!(more.is_empty(), "{}", more.join("\n"));
        let gone: BTreeSet<&String> = listed
            .keys()
            .filter(|file| !found.contains_key(*file))
            .collect();
        self.remove(
            rule,
            |line| {
                line.rsplit_once(' ')
                    .is_some_and(|(file, _)| gone.contains(&file.to_owned()))
            },
            &gone,
        );
    }

    fn remove(&self, rule: &str, is_gone: impl Fn(&str) -> bool, gone: &BTreeSet<&String>) {
        if gone.is_empty() {
            return;
        }
        assert!(
            is_update(),
            "exceptions.txt: `{rule}` holds for {gone:?}: remove them, or run this test with \
             UPDATE_EXCEPTIONS=1"
        );
        let _guard = FILE.lock();
        let rest = |line: &str| {
            line.strip_prefix(rule)?
                .strip_prefix(' ')
                .map(str::to_owned)
        };
        let mut lines = read_lines();
        lines.retain(|line| !rest(line).is_some_and(|line| is_gone(&line)));
        fs::write(path(), lines.join("\n") + "\n").expect("exceptions.txt can be written");
    }
}
