//! The house is as its plan says: rooms and who imports whom, no operator named where none should be, documents that
//! quote files quote them as they are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The rooms from the lowest up. Each may import those before it that are listed as its own.
const ROOMS: &[(&str, &[&str])] = &[
    ("ir", &[]),
    ("loops", &["ir"]),
    ("ops", &["ir", "loops"]),
    ("onnx", &["ir", "ops"]),
    ("rewrite", &["ir", "loops", "ops"]),
    ("schedule", &["ir", "loops", "targets"]),
    ("memory", &[]),
    ("codegen", &["ir", "loops", "targets"]),
    ("native", &[]),
    ("machines", &["ir", "targets"]),
    ("tune", &["ir", "loops", "schedule", "codegen", "native", "machines", "targets"]),
    (
        "driver",
        &[
            "ir", "loops", "ops", "onnx", "rewrite", "schedule", "memory", "codegen", "native", "machines",
            "tune", "targets",
        ],
    ),
];

/// Heavy crates and the one room that may have each.
const KEPT: &[(&str, &str)] = &[
    ("prost", "onnx"),
    ("egg", "rewrite"),
    ("melior", "codegen"),
    ("mlir-sys", "codegen"),
    ("inkwell", "codegen"),
];

/// The names under `[dependencies]`; what tests alone need is no part of the house.
fn dependencies(room: &str) -> BTreeSet<String> {
    let manifest = read(&format!("compiler/{room}/Cargo.toml"));
    let lines = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    lines
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn lower_rooms_import_no_upper_ones() {
    let crates: BTreeSet<&str> = ROOMS.iter().map(|(room, _)| *room).chain(["targets", "onnxc"]).collect();
    for (room, allowed) in ROOMS {
        for dependency in dependencies(room).iter().filter(|name| crates.contains(name.as_str())) {
            assert!(allowed.contains(&dependency.as_str()), "`{room}` must not import `{dependency}`");
        }
    }
}

#[test]
fn heavy_crates_stay_in_their_rooms() {
    for (room, _) in ROOMS {
        let dependencies = dependencies(room);
        for (kept, home) in KEPT {
            assert!(
                room == home || !dependencies.contains(*kept),
                "`{kept}` belongs into `{home}`, not into `{room}`"
            );
        }
    }
}

#[test]
fn the_architecture_names_every_room_and_no_other() {
    let text = read("docs/architecture.md");
    let section =
        text.split("<!-- rooms -->").nth(1).and_then(|rest| rest.split("<!-- /rooms -->").next()).unwrap();
    let named: Vec<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix("- `"))
        .filter_map(|l| l.split('`').next())
        .collect();
    let mut folders: Vec<String> = fs::read_dir(root().join("compiler"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    folders.sort();
    let mut sorted = named.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, folders, "docs/architecture.md and compiler/ name different rooms");
    let mut rooms: Vec<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    rooms.sort_unstable();
    assert_eq!(sorted, rooms, "the table of this test and docs/architecture.md name different rooms");
}

/// A line `<!-- include: PATH -->` in a document is followed by that file's text in a fence.
#[test]
fn quoted_files_are_quoted_as_they_are() {
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let fresh = with_files(&text);
        if std::env::var_os("UPDATE").is_some() && fresh != text {
            fs::write(&path, &fresh).unwrap();
            continue;
        }
        assert!(
            fresh == text,
            "{} quotes a file as it no longer is: UPDATE=1 cargo test -p tests --test tidy",
            path.display()
        );
    }
}

fn with_files(text: &str) -> String {
    let mut fresh = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        fresh += line;
        fresh.push('\n');
        let Some(path) = line.strip_prefix("<!-- include: ").and_then(|rest| rest.strip_suffix(" -->"))
        else {
            continue;
        };
        let quoted = read(path);
        // A snapshot's own head is not worth quoting.
        let body = quoted
            .strip_prefix("---\n")
            .and_then(|rest| rest.split_once("---\n"))
            .map_or(quoted.as_str(), |(_, b)| b);
        fresh += &format!("```\n{}\n```\n", body.trim_end());
        lines.by_ref().filter(|old| *old == "```").nth(1);
    }
    fresh
}

/// The rules are listed in docs/rewriting.md by theme, with what the doc comment of each says.
#[test]
fn the_rules_are_documented() {
    const START: &str = "<!-- rules: generated by UPDATE=1 cargo test -p tests --test tidy -->\n";
    const END: &str = "<!-- /rules -->";
    let path = "docs/rewriting.md";
    let text = read(path);
    let (before, rest) = text.split_once(START).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let fresh = format!("{before}{START}{}{END}{after}", rule_tables());
    if std::env::var_os("UPDATE").is_some() {
        fs::write(root().join(path), &fresh).unwrap();
    } else {
        assert!(fresh == text, "{path} is stale: UPDATE=1 cargo test -p tests --test tidy");
    }
}

/// A table per file under `rules/`, in the order in which the rules run.
fn rule_tables() -> String {
    let folder = root().join("compiler/rewrite/src/rules");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut themes: Vec<(PathBuf, String)> =
        files.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect();
    themes.sort();
    let mut tables: Vec<((usize, &Path), String)> = Vec::new();
    for (phase, rules) in rewrite::rules::phases().into_iter().enumerate() {
        for rule in rules {
            let line = format!("name: \"{}\"", rule.name);
            let (path, source) = themes
                .iter()
                .find(|(_, source)| source.contains(&line))
                .unwrap_or_else(|| panic!("no file under rules/ has {line}"));
            let place = (phase, path.as_path());
            if tables.last().is_none_or(|(last, _)| *last != place) {
                let theme = source.lines().next().and_then(|line| line.strip_prefix("//! ")).unwrap();
                let heading = format!("**{}** (phase {})", theme.trim_end_matches('.'), phase + 1);
                tables.push((
                    place,
                    format!("{heading}\n\n| rule | what it says | tolerance |\n|---|---|--:|\n"),
                ));
            }
            let says = says(source, &line).unwrap_or_else(|| panic!("{} has no doc comment", rule.name));
            let row = format!("| `{}` | {} | {} |\n", rule.name, says.replace('|', "\\|"), rule.tolerance);
            tables.last_mut().unwrap().1 += &row;
        }
    }
    let tables: Vec<String> = tables.into_iter().map(|(_, table)| table).collect();
    format!("{}\n", tables.join("\n"))
}

/// The first paragraph above the function that the rule's `line` names.
fn says(source: &str, line: &str) -> Option<String> {
    let rule = &source[source.find(line)?..];
    let function = rule[rule.find("apply: ")?..].strip_prefix("apply: ")?;
    let function = &function[..function.find([' ', ',', '}'])?];
    let lines: Vec<&str> = source.lines().collect();
    let at = lines.iter().position(|line| line.starts_with(&format!("fn {function}(")))?;
    let comment = lines[..at].iter().rev().take_while(|line| line.starts_with("///")).count();
    let paragraph = lines[at - comment..at].iter().map(|line| line.trim_start_matches("///").trim());
    let paragraph: Vec<&str> = paragraph.take_while(|line| !line.is_empty()).collect();
    (!paragraph.is_empty()).then(|| paragraph.join(" "))
}

/// Outside their own room and the rules, operators are asked, not named.
#[test]
fn no_room_but_ops_and_the_rules_names_an_operator() {
    for room in
        ["ir", "loops", "onnx", "schedule", "memory", "codegen", "native", "machines", "tune", "driver"]
    {
        let mut work = vec![root().join("compiler").join(room).join("src")];
        while let Some(folder) = work.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    work.push(path);
                } else {
                    // What stands behind `mod tests` may build graphs of what it likes.
                    let text = fs::read_to_string(&path).unwrap();
                    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
                    assert!(!code.contains("ops::ops::"), "{} names an operator", path.display());
                }
            }
        }
    }
}
