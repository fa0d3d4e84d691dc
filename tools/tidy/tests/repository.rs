//! The repository is complete: it depends on no machine, its papers are there, and they name what
//! exists.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders of some machine: a home, or the place of one checkout. In pieces, or this file would
/// name them.
const MACHINE_PATHS: [&str; 6] = [
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
    concat!("/tmp/", "wt"),
    concat!("../sha", "red"),
];

/// Hosts that serve packages. Whoever builds chooses one, by the settings of cargo and pip.
const REGISTRY_HOSTS: [&str; 6] = [
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("pypi", ".org"),
    concat!("python", "hosted.org"),
    concat!("download.", "pytorch.org"),
    concat!("registry.", "npmjs.org"),
];

fn root() -> &'static Path {
    let tidy = Path::new(env!("CARGO_MANIFEST_DIR"));
    tidy.ancestors()
        .nth(2)
        .expect("tools/tidy lies in the repository")
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The files that git tracks, or every file of an unpacked archive.
fn committed_files() -> Vec<PathBuf> {
    let listing = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output();
    if let Ok(listing) = listing
        && listing.status.success()
        && !listing.stdout.is_empty()
    {
        let names = String::from_utf8(listing.stdout).expect("file names are UTF-8");
        return names.split_terminator('\0').map(PathBuf::from).collect();
    }
    let mut files = Vec::new();
    collect_files(root(), &mut files);
    files
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let ignored = read(".gitignore");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root()).unwrap().to_path_buf();
        let shown = format!("/{}", name.display());
        if ignored.lines().any(|line| line == shown)
            || name.ends_with(".git")
            || name.ends_with("__pycache__")
        {
            continue;
        }
        if path.is_dir() {
            collect_files(&path, files);
        } else {
            files.push(name);
        }
    }
}

/// Whether `text` has `needle` where a path or a host can begin: a folder of the checkout may end
/// in the same letters.
fn names(text: &str, needle: &str) -> bool {
    text.match_indices(needle).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        !before.is_some_and(|character| character.is_alphanumeric() || "_-}*.".contains(character))
            || !needle.starts_with('/')
    })
}

#[test]
fn a_needle_is_found_only_where_a_path_begins() {
    let home = MACHINE_PATHS[0];
    assert!(names(&format!("cd {home}x"), home));
    assert!(names(&format!("\"{home}x\""), home));
    assert!(names(home, home));
    assert!(!names(&format!("target{home}x"), home));
    assert!(!names(&format!("$OUT}}{home}x"), home));
    let host = REGISTRY_HOSTS[0];
    assert!(names(&format!("https://{host}/"), host));
}

#[test]
fn no_committed_file_names_a_machine_path_or_a_registry_host() {
    let files = committed_files();
    assert!(
        files.iter().any(|file| file == Path::new("Cargo.toml")),
        "the list of files is wrong: {files:?}"
    );
    let mut found = Vec::new();
    for file in &files {
        // Deleted but not committed yet, or binary: nothing to read.
        let Ok(text) = fs::read_to_string(root().join(file)) else {
            continue;
        };
        for needle in MACHINE_PATHS.iter().chain(&REGISTRY_HOSTS) {
            if names(&text, needle) {
                found.push(format!("{} names {needle}", file.display()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_locked_package_comes_from_crates_io() {
    let lock = read("Cargo.lock");
    let sources: Vec<&str> = lock
        .lines()
        .filter_map(|line| line.strip_prefix("source = "))
        .collect();
    assert!(!sources.is_empty());
    for source in sources {
        assert_eq!(
            source,
            "\"registry+https://github.com/rust-lang/crates.io-index\""
        );
    }
}

#[test]
fn the_changelog_names_the_current_version() {
    let heading = format!("## [{}]", env!("CARGO_PKG_VERSION"));
    let changelog = read("CHANGELOG.md");
    let first = changelog.lines().find(|line| line.starts_with("## ["));
    assert!(
        first.is_some_and(|line| line.starts_with(&heading)),
        "CHANGELOG.md: the newest section is {first:?}, not {heading}"
    );
}

#[test]
fn both_licenses_are_there() {
    assert_eq!(env!("CARGO_PKG_LICENSE"), "MIT OR Apache-2.0");
    let mit = read("LICENSE-MIT");
    assert!(
        mit.contains("The tch-tensorboard authors") && mit.contains("Permission is hereby granted")
    );
    let apache = read("LICENSE-APACHE");
    assert!(
        apache.contains("Version 2.0, January 2004")
            && apache.contains("END OF TERMS AND CONDITIONS")
    );
}

#[test]
fn the_readme_mentions_every_example() {
    let readme = read("README.md");
    let mut examples = Vec::new();
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        // As cargo finds them: a file, or a folder with a main.rs.
        if path.extension().is_some_and(|extension| extension == "rs")
            || path.join("main.rs").is_file()
        {
            examples.push(path.file_stem().unwrap().to_string_lossy().into_owned());
        }
    }
    assert!(!examples.is_empty());
    for example in examples {
        let command = format!("--example {example}");
        let path = format!("examples/{example}");
        assert!(
            readme.contains(&command) || readme.contains(&path),
            "README.md mentions neither `{command}` nor `{path}`"
        );
    }
}

/// Whoever searches the documentation for a call that they know finds ours.
#[test]
fn each_method_of_summary_writer_is_an_alias_in_the_documentation() {
    let folder = root().join("src/logger");
    let mut files = Vec::new();
    collect_files(&folder, &mut files);
    let source: String = files
        .iter()
        .map(|file| read(&file.display().to_string()))
        .collect();
    let aliases: Vec<&str> = source
        .split("#[doc(alias")
        .skip(1)
        .filter_map(|rest| rest.split(")]").next())
        .flat_map(|names| names.split('"').skip(1).step_by(2))
        .collect();
    let parity = read("docs/parity.md");
    let rows = parity.lines().filter(|line| line.starts_with("| `add_"));
    let methods: Vec<&str> = rows
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter(|method| method.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        .collect();
    assert!(methods.len() > 15, "{methods:?}");
    for method in methods.into_iter().chain(["SummaryWriter", "watch"]) {
        assert!(aliases.contains(&method), "no alias {method:?}");
    }
}
