//! Style turned into a failing test: what CONTRIBUTING.md asks for and a machine can see. Pure: it
//! reads the source tree and starts nothing.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

#[path = "tidy/scan.rs"]
mod scan;

use scan::{Function, functions, without_tests, without_text};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Longest line, in columns.
const MAX_COLUMNS: usize = 100;
/// Longest function, in lines, from `fn` to its closing brace.
const MAX_FUNCTION_LINES: usize = 70;
/// Longest file, in lines, without its tests.
const MAX_FILE_LINES: usize = 500;
/// Library and binary code on the path of data.
const DATA_PATH: &[&str] = &["router/src/", "console/src/", "proxy/src/", "rebalancer/src/"];
/// What the router must not touch.
const ROUTER_FORBIDS: &[&str] = &[
    "std::net",
    "std::fs",
    "std::env",
    "std::thread",
    "std::process",
    "Instant::now",
    "SystemTime::now",
    "tokio",
    "async fn",
];

struct SourceFile {
    /// Relative to the workspace, with `/`.
    name: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file of the tree that is text, without what tools made.
fn tree() -> Vec<SourceFile> {
    let mut files = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !["target", ".git", "node_modules"].contains(&name.as_str()) {
                folders.push(path);
            } else if path.is_file()
                && let Ok(text) = std::fs::read_to_string(&path)
            {
                let name = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
                files.push(SourceFile { name, text });
            }
        }
    }
    assert!(files.len() > 30, "the tree was not found");
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

fn rust() -> Vec<SourceFile> {
    tree().into_iter().filter(|file| file.name.ends_with(".rs")).collect()
}

/// A file that holds tests only.
fn is_test_file(name: &str) -> bool {
    name.ends_with("/tests.rs")
        || name.ends_with("_tests.rs")
        || name.contains("/tests/")
        || name.starts_with("tests/")
}

/// Fails with everything `complaints` says, at once.
fn report(complaints: Vec<String>) {
    let mut text = String::new();
    for complaint in &complaints {
        writeln!(text, "  {complaint}").unwrap();
    }
    assert!(complaints.is_empty(), "{} complaints:\n{text}", complaints.len());
}

#[test]
fn every_file_says_what_it_owns() {
    let silent = |file: &SourceFile| !file.text.starts_with("//! ");
    report(rust().iter().filter(|file| silent(file)).map(|file| file.name.clone()).collect());
}

#[test]
fn lines_are_short() {
    let mut complaints = Vec::new();
    for file in rust() {
        for (index, line) in file.text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > MAX_COLUMNS {
                complaints.push(format!("{}:{}: {columns} columns", file.name, index + 1));
            }
        }
    }
    report(complaints);
}

#[test]
fn files_are_short() {
    let mut complaints = Vec::new();
    for file in rust().iter().filter(|file| !is_test_file(&file.name)) {
        let lines = without_tests(&file.text).lines().count();
        if lines > MAX_FILE_LINES {
            complaints.push(format!("{}: {lines} lines without tests", file.name));
        }
    }
    report(complaints);
}

#[test]
fn functions_are_short() {
    let mut complaints = Vec::new();
    for file in rust() {
        for Function { name, line, lines } in functions(&file.text) {
            if lines > MAX_FUNCTION_LINES {
                complaints.push(format!("{}:{line}: fn {name} has {lines} lines", file.name));
            }
        }
    }
    report(complaints);
}

#[test]
fn outside_input_cannot_panic() {
    let mut complaints = Vec::new();
    let on_path = |name: &str| DATA_PATH.iter().any(|start| name.starts_with(start));
    for file in rust().iter().filter(|file| on_path(&file.name) && !is_test_file(&file.name)) {
        let code = without_text(without_tests(&file.text));
        let lines: Vec<(&str, &str)> = code.lines().zip(file.text.lines()).collect();
        for (index, (code, original)) in lines.iter().enumerate() {
            // The text of an expect may stand on the next line.
            let next = lines.get(index + 1).map_or("", |(_, original)| original.trim_start());
            let stated = original.contains(".expect(\"invariant")
                || (code.trim_end().ends_with(".expect(") && next.starts_with("\"invariant"));
            let forbidden = code.contains(".unwrap()") || (code.contains(".expect(") && !stated);
            if forbidden || code.contains("todo!(") || code.contains("unimplemented!(") {
                complaints.push(format!("{}:{}: {}", file.name, index + 1, original.trim()));
            }
        }
    }
    report(complaints);
}

#[test]
fn the_router_is_pure() {
    let mut complaints = Vec::new();
    for file in rust().iter().filter(|file| file.name.starts_with("router/src/")) {
        if file.name.ends_with("/tests.rs") {
            continue;
        }
        let code = without_text(without_tests(&file.text));
        for (index, line) in code.lines().enumerate() {
            for word in ROUTER_FORBIDS.iter().filter(|word| line.contains(*word)) {
                complaints.push(format!("{}:{}: {word}", file.name, index + 1));
            }
        }
    }
    let manifest = std::fs::read_to_string(root().join("router/Cargo.toml")).unwrap();
    for name in ["tokio", "mio", "hyper", "rand", "postgres"] {
        if manifest.lines().any(|line| line.starts_with(name)) {
            complaints.push(format!("router/Cargo.toml depends on {name}"));
        }
    }
    report(complaints);
}

#[test]
fn programs_do_not_see_each_other() {
    for (program, other) in [("rebalancer", "../proxy"), ("proxy", "../rebalancer")] {
        let manifest = root().join(program).join("Cargo.toml");
        let text = std::fs::read_to_string(manifest).unwrap();
        assert!(!text.contains(other), "{program} depends on {other}");
    }
}

#[test]
fn nothing_points_at_private_notes() {
    // Put together here, so that this file does not name it either.
    let word = ["sha", "red/"].concat();
    let mut complaints = Vec::new();
    for file in tree() {
        for (index, line) in file.text.lines().enumerate() {
            if line.contains(&word) {
                complaints.push(format!("{}:{}", file.name, index + 1));
            }
        }
    }
    report(complaints);
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut complaints = Vec::new();
    for file in tree().iter().filter(|file| file.name.ends_with(".md")) {
        for target in links(&file.text) {
            let path = target.split('#').next().unwrap_or_default();
            let folder = root().join(&file.name).parent().unwrap().to_owned();
            if !path.is_empty() && !path.contains("://") && !folder.join(path).exists() {
                complaints.push(format!("{}: {target}", file.name));
            }
        }
    }
    report(complaints);
}

/// Targets of `[text](target)`, outside code.
fn links(text: &str) -> Vec<String> {
    let mut targets = Vec::new();
    for (index, part) in text.split("```").enumerate() {
        // Every second part is a code block.
        if index % 2 == 0 {
            let ends = part.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            targets.extend(ends.map(|(target, _)| target.to_owned()));
        }
    }
    targets
}

#[test]
fn the_changelog_is_kept() {
    let text = std::fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    assert!(text.contains("\n## Unreleased\n"), "CHANGELOG.md has no section Unreleased");
}

#[test]
fn the_scanner_sees_what_it_should() {
    let text = "fn a() {\n    let x = \"}\"; // }\n    let y = '}';\n}\n\n\
                trait T {\n    fn b();\n}\n\
                fn c<'a>(x: &'a str) -> bool\nwhere\n    u8: Copy,\n{\n    \
                r#\"\n}}\"#.is_empty()\n}\n";
    let found: Vec<(String, usize, usize)> =
        functions(text).into_iter().map(|f| (f.name, f.line, f.lines)).collect();
    assert_eq!(found, [("a".into(), 1, 4), ("c".into(), 9, 7)]);
    assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests {\nb\n}\n"), "a\n");
    assert!(!without_text("f(\"x.unwrap()\") // .unwrap()").contains("unwrap"));
    assert_eq!(links("[a](b.md#c) ```[x](y)``` [d](e)"), ["b.md#c", "e"]);
}
