//! The text of source files, without comments and tests.

use std::fs;
use std::path::Path;

/// The repository.
pub(crate) fn root() -> &'static Path {
    let tidy = Path::new(env!("CARGO_MANIFEST_DIR"));
    tidy.ancestors()
        .nth(2)
        .expect("tools/tidy lies in the repository")
}

/// Files below a folder of the repository, by their paths from its root.
pub(crate) fn files(folder: &str, suffix: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).expect("the folder is there") {
            let entry = entry.expect("it can be listed");
            let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !name.ends_with("/target") => folders.push(name),
                Ok(kind) if kind.is_file() && name.ends_with(suffix) => found.push(name),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// A source file of the library.
pub(crate) struct Source {
    /// The path from `src`.
    pub(crate) name: String,
    /// The code that is compiled outside tests.
    pub(crate) code: String,
}

impl Source {
    /// Hand-written files below a folder of the repository.
    pub(crate) fn all(folder: &str) -> Vec<Source> {
        let prefix = format!("{folder}/");
        let names = files(folder, ".rs").into_iter();
        let is_generated =
            |name: &String| name.starts_with("src/format/proto/") && !name.ends_with("/mod.rs");
        let sources = names.filter(|name| !is_generated(name)).map(|name| {
            let text = fs::read_to_string(root().join(&name)).expect("sources are UTF-8");
            Source {
                name: name.strip_prefix(&prefix).unwrap_or(&name).to_owned(),
                code: without_tests(&text),
            }
        });
        // Files that hold nothing but tests.
        sources
            .filter(|source| !source.name.ends_with("tests.rs"))
            .collect()
    }

    /// Structs, enums, traits, unions and aliases that the file defines.
    pub(crate) fn type_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for line in self.code.lines() {
            let mut item = line.trim_start();
            // `pub`, `pub(crate)`, `pub(in path)`.
            if let Some(rest) = item.strip_prefix("pub") {
                let rest = match rest.strip_prefix('(') {
                    Some(scope) => scope.split_once(')').map_or("", |(_, rest)| rest),
                    None => rest,
                };
                item = rest.trim_start();
            }
            let keywords = ["struct ", "enum ", "trait ", "union "];
            let mut definition = keywords
                .iter()
                .find_map(|keyword| item.strip_prefix(keyword));
            // Indented aliases are associated types.
            if definition.is_none() && !line.starts_with(' ') {
                definition = item.strip_prefix("type ");
            }
            if let Some(definition) = definition {
                let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
                let name: String = definition.chars().take_while(|l| is_name(*l)).collect();
                names.push(name);
            }
        }
        names
    }
}

/// Drops comments, and what is behind the first module of tests, which ends a file.
fn without_tests(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let next = lines.peek().map_or("", |next| next.trim_start());
        let is_test = line.trim_start().starts_with("#[cfg(test)]")
            || line.trim_start().starts_with("#[cfg(all(test");
        let is_module = next.starts_with("mod ") || next.starts_with("pub(crate) mod ");
        if is_test && is_module {
            if next.ends_with('{') {
                break;
            }
            // A module of tests in a file of its own.
            lines.next();
            continue;
        }
        let line = line.split_once("//").map_or(line, |(code, _)| code);
        code.push_str(line);
        code.push('\n');
    }
    code
}
