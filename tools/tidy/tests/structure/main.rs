//! The structure of the sources: rooms import one way, no files form a circle, type names are
//! unique, and lines are at most 100 columns wide.
//!
//! `exceptions.txt` lists what does not hold yet. It only shrinks: an exception that is no longer
//! needed fails a test, and `UPDATE_EXCEPTIONS=1 cargo test -p tch-tensorboard-tidy` removes it.
//! With `UPDATE_EXCEPTIONS=all` the file becomes what is found, for changes that move code.

mod exceptions;
mod modules;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use exceptions::Exceptions;
use modules::Modules;
use source::{Source, root};

/// The rooms of `src` from the bottom to the top: a room imports from lower levels only.
const LEVELS: [&[&str]; 12] = [
    &["error", "model"],
    &["platform"],
    &["format", "kernel", "source"],
    &["sink", "tensor"],
    &["options", "summary"],
    &["read", "report"],
    &["capture", "checkpoint"],
    &["analysis", "comparison"],
    &["log_report", "run"],
    &["worker"],
    &["logger"],
    &["fuzzing"],
];

/// Columns of a line.
const WIDTH: usize = 100;

/// Folders whose lines are checked.
const FOLDERS: [&str; 6] = ["src", "cli", "tests", "examples", "benches", "tools"];

fn level(room: &str) -> Option<usize> {
    LEVELS.iter().position(|rooms| rooms.contains(&room))
}

fn room(file: &str) -> &str {
    let first = file.split('/').next().unwrap_or(file);
    first.strip_suffix(".rs").unwrap_or(first)
}

#[test]
fn rooms_import_one_way() {
    let modules = Modules::read();
    let mut found = BTreeSet::new();
    for (from, to) in modules.imports() {
        let (from_room, to_room) = (room(from), room(to));
        if from == "lib.rs" || from_room == to_room {
            continue;
        }
        let levels = level(from_room).zip(level(to_room));
        let (upper, lower) = levels.unwrap_or_else(|| {
            panic!("{from_room} or {to_room} is a new room: give it a level in LEVELS")
        });
        if upper <= lower {
            found.insert(format!("{from} {to_room}"));
        }
    }
    Exceptions::read().check(
        "import",
        &found,
        "imports from a room that is not below its own",
    );
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let modules = Modules::read();
    let mut imports: BTreeSet<(&str, &str)> = modules.imports().collect();
    let exceptions = Exceptions::read();
    let listed = exceptions.of("circle");
    let mut found = BTreeSet::new();
    // An exception is an import whose removal breaks a circle.
    for exception in &listed {
        let Some((from, to)) = exception.split_once(' ') else {
            panic!("exceptions.txt: `{exception}` is not two files");
        };
        let circle = modules::path(&imports, to, from);
        if imports.contains(&(from, to)) && circle.is_some() {
            found.insert(exception.clone());
        }
    }
    imports.retain(|(from, to)| !listed.contains(&format!("{from} {to}")));
    for (from, to) in imports.clone() {
        if let Some(path) = modules::path(&imports, to, from) {
            println!("circle: {from} -> {}", path.join(" -> "));
            found.insert(format!("{from} {to}"));
            imports.remove(&(from, to));
        }
    }
    exceptions.check(
        "circle",
        &found,
        "is an import that closes a circle of files",
    );
}

#[test]
fn type_names_are_unique() {
    let mut files: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in Source::all("src") {
        // Compiled instead of the rest of its room.
        if source.name == "tensor/no_tensor.rs" {
            continue;
        }
        for name in source.type_names() {
            files.entry(name).or_default().insert(source.name.clone());
        }
    }
    let twice = files.into_iter().filter(|(_, files)| files.len() > 1);
    let found = twice.map(|(name, files)| {
        println!(
            "{name}: {}",
            files.into_iter().collect::<Vec<_>>().join(", ")
        );
        name
    });
    Exceptions::read().check("type", &found.collect(), "is the name of several types");
}

#[test]
fn lines_are_at_most_100_columns_wide() {
    let mut long = BTreeMap::new();
    for file in FOLDERS
        .iter()
        .flat_map(|folder| source::files(folder, ".rs"))
    {
        // Generated.
        if file.starts_with("src/format/proto/") && !file.ends_with("/mod.rs") {
            continue;
        }
        let text = fs::read_to_string(root().join(&file)).expect("sources are UTF-8");
        let count = text
            .lines()
            .filter(|line| line.chars().count() > WIDTH)
            .count();
        if count > 0 {
            long.insert(file, count);
        }
    }
    assert!(!source::files("src", ".rs").is_empty());
    Exceptions::read().check_counts("width", &long, "lines are wider than 100 columns");
}
