//! Which files of the library import from which others.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Source;

/// The modules of `src` with what they import and what they export again.
pub(crate) struct Modules {
    /// The file of each module; the root has the empty path.
    files: BTreeMap<Vec<String>, String>,
    /// By module and name: the path of what is exported again under that name.
    exports: BTreeMap<(Vec<String>, String), Vec<String>>,
    imports: BTreeSet<(String, String)>,
}

/// A path in a file, with the module it is seen from.
struct Import {
    module: Vec<String>,
    path: Vec<String>,
    is_export: bool,
    /// The code of the file names it, too.
    is_used: bool,
}

impl Modules {
    pub(crate) fn read() -> Modules {
        let sources = Source::all("src");
        let mut modules = Modules {
            files: BTreeMap::new(),
            exports: BTreeMap::new(),
            imports: BTreeSet::new(),
        };
        for source in &sources {
            modules
                .files
                .insert(module(&source.name), source.name.clone());
        }
        let all: Vec<Import> = sources
            .iter()
            .flat_map(|source| imports(&module(&source.name), &source.code))
            .collect();
        for import in all.iter().filter(|import| import.is_export) {
            if let (Some(path), Some(name)) = (modules.absolute(import), import.path.last()) {
                let key = (import.module.clone(), name.clone());
                modules.exports.insert(key, path);
            }
        }
        for import in &all {
            // A parent that only exports what its children define does not depend on them.
            if import.is_export && !import.is_used {
                continue;
            }
            let Some(path) = modules.absolute(import) else {
                continue;
            };
            let to = modules.file_of(&path, 8);
            let from = modules.files.get(&import.module);
            if let (Some(from), Some(to)) = (from, to)
                && from != to
            {
                modules.imports.insert((from.clone(), to.clone()));
            }
        }
        assert!(modules.imports.len() > 50, "the imports were not found");
        modules
    }

    /// Pairs of a file and one that it imports from.
    pub(crate) fn imports(&self) -> impl Iterator<Item = (&str, &str)> {
        self.imports
            .iter()
            .map(|(from, to)| (from.as_str(), to.as_str()))
    }

    /// The path from the root of the crate; `None` for another crate.
    fn absolute(&self, import: &Import) -> Option<Vec<String>> {
        let (first, rest) = import.path.split_first()?;
        let mut path = match first.as_str() {
            "crate" => Vec::new(),
            "self" => import.module.clone(),
            "super" => import.module.split_last()?.1.to_vec(),
            _ => {
                let mut child = import.module.clone();
                child.push(first.clone());
                let is_child = self.files.contains_key(&child);
                return is_child.then(|| [&child[..], rest].concat());
            }
        };
        for part in rest {
            match part.as_str() {
                "super" => drop(path.pop()),
                "self" => {}
                _ => path.push(part.clone()),
            }
        }
        Some(path)
    }

    /// The file that defines what a path names, through at most `depth` exports.
    fn file_of(&self, path: &[String], depth: usize) -> Option<&String> {
        let mut module = Vec::new();
        for (at, part) in path.iter().enumerate() {
            let export = self.exports.get(&(module.clone(), part.clone()));
            if let Some(export) = export.filter(|_| depth > 0) {
                let rest = path.get(at + 1..).unwrap_or_default();
                return self.file_of(&[&export[..], rest].concat(), depth - 1);
            }
            module.push(part.clone());
            if !self.files.contains_key(&module) {
                module.pop();
                break;
            }
        }
        self.files.get(&module)
    }
}

/// The path of a module by its file.
fn module(file: &str) -> Vec<String> {
    let path = file.strip_suffix(".rs").unwrap_or(file);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    match path {
        "lib" => Vec::new(),
        path => path.split('/').map(str::to_owned).collect(),
    }
}

/// What a file names by `use`, and by a path that begins with `crate::`.
fn imports(module: &[String], code: &str) -> Vec<Import> {
    let mut found = Vec::new();
    let mut add = |path: Vec<String>, is_export| {
        found.push(Import {
            module: module.to_vec(),
            path,
            is_export,
            is_used: false,
        });
    };
    let mut rest = String::new();
    let statements = code.split_inclusive(';');
    for statement in statements {
        let Some(start) = statement
            .rfind("use ")
            .filter(|start| is_use(statement, *start))
        else {
            rest.push_str(statement);
            continue;
        };
        let (before, tree) = statement.split_at(start);
        rest.push_str(before);
        let last_line = before.rsplit('\n').next().unwrap_or_default();
        let is_export = last_line.trim_start().starts_with("pub");
        let tree = tree.trim_start_matches("use ").trim_end_matches(';');
        for path in leaves(tree) {
            add(path, is_export);
        }
    }
    let words: BTreeSet<&str> = rest.split(|letter| !is_word(letter)).collect();
    for (at, _) in rest.match_indices("crate::") {
        let is_path = |letter: char| is_word(letter) || letter == ':';
        let path: String = rest[at..]
            .chars()
            .take_while(|letter| is_path(*letter))
            .collect();
        let parts = path.split("::").filter(|part| !part.is_empty());
        add(parts.map(str::to_owned).collect(), false);
    }
    for import in &mut found {
        let name = import.path.last();
        import.is_used = name.is_some_and(|name| words.contains(name.as_str()));
    }
    found
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Whether a `use` begins a statement here: only a visibility is before it on its line.
fn is_use(statement: &str, start: usize) -> bool {
    let before = statement[..start]
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .trim();
    before.is_empty() || before.starts_with("pub")
}

/// The paths of a tree such as `a::{b, c::{self, d as e}}`.
fn leaves(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let parts = |path: &str| -> Vec<String> {
        let path = path.split(" as ").next().unwrap_or_default();
        let parts = path
            .split("::")
            .map(str::trim)
            .filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect()
    };
    let Some((prefix, branches)) = tree.split_once('{') else {
        return vec![parts(tree)];
    };
    let branches = branches.trim_end().strip_suffix('}').unwrap_or(branches);
    let mut found = Vec::new();
    for branch in split_branches(branches) {
        for leaf in leaves(branch) {
            found.push([parts(prefix), leaf].concat());
        }
    }
    found
}

/// The branches between commas that are in no inner braces.
fn split_branches(branches: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, letter) in branches.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&branches[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&branches[start..]);
    found.retain(|branch| !branch.trim().is_empty());
    found
}

/// The files from one to another along imports.
pub(crate) fn path<'a>(
    imports: &BTreeSet<(&'a str, &'a str)>,
    from: &str,
    to: &str,
) -> Option<Vec<&'a str>> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let start = imports
        .iter()
        .flat_map(|(a, b)| [*a, *b])
        .find(|file| *file == from)?;
    let mut next = vec![start];
    while let Some(file) = next.pop() {
        if file == to {
            let mut path = vec![file];
            while let Some(previous) = path.last().and_then(|file| before.get(file)) {
                path.push(previous);
            }
            path.reverse();
            return Some(path);
        }
        for (_, import) in imports
            .range((file, "")..)
            .take_while(|(from, _)| *from == file)
        {
            if *import != start && !before.contains_key(import) {
                before.insert(import, file);
                next.push(import);
            }
        }
    }
    None
}

#[test]
fn trees_of_imports_are_taken_apart() {
    let found = leaves("crate::a::{self, b::{C as D, e}, f}");
    let found: Vec<String> = found.iter().map(|path| path.join("::")).collect();
    let expected = [
        "crate::a::self",
        "crate::a::b::C",
        "crate::a::b::e",
        "crate::a::f",
    ];
    assert_eq!(found, expected);
}
