//! What the documents list is what there is.

use std::fs;
use std::path::{Path, PathBuf};

use relay_common::reason::Reason;
use turnpike::config::parse;

#[test]
fn the_operators_page_explains_every_reason_and_no_other() {
    let page = include_str!("../../docs/monitoring.md");
    let listed: Vec<&str> = page
        .lines()
        .skip_while(|line| !line.starts_with("| reason"))
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let mut names = Reason::ALL.map(Reason::name).to_vec();
    let mut sorted = listed.clone();
    names.sort_unstable();
    sorted.sort_unstable();
    assert_eq!(sorted, names);
}

#[test]
fn every_file_of_settings_in_the_documents_is_understood() {
    let pages = [
        ("README.md", include_str!("../../README.md")),
        ("docs/operations.md", include_str!("../../docs/operations.md")),
        ("docs/clients.md", include_str!("../../docs/clients.md")),
        ("docs/from-coturn.md", include_str!("../../docs/from-coturn.md")),
        ("docs/firewalls.md", include_str!("../../docs/firewalls.md")),
    ];
    for (name, page) in pages {
        let files: Vec<&str> = settings_in(page).collect();
        assert!(!files.is_empty(), "{name} has none");
        for file in files {
            parse(Path::new(name), file).unwrap_or_else(|e| panic!("{e}\n{file}"));
        }
    }
}

#[test]
fn the_operators_page_shows_every_setting_of_the_file() {
    let page = include_str!("../../docs/operations.md");
    let file = settings_in(page).next().expect("a file of settings");
    let parts = file.split("\n[");
    let titles = std::iter::once("").chain(parts.clone().skip(1).filter_map(|part| part.lines().next()));
    for (title, part) in titles.zip(parts) {
        let title = title.split(" #").next().unwrap_or_default().trim_end();
        let header = if title.is_empty() { String::new() } else { format!("[{title}\n") };
        let complaint =
            parse(Path::new("t"), &format!("{header}no-such-setting = 1")).unwrap_err().to_string();
        let (_, known) = complaint.split_once("known here are ").expect("a list of the settings");
        let missing: Vec<&str> = known
            .split(", ")
            .filter(|key| {
                let is_shown = |line: &str| line.starts_with(&format!("{key} = ")) || line == *key;
                // A table or a list of tables is a part of its own.
                let is_part = file.contains(&format!("\n[{key}]")) || file.contains(&format!("\n[[{key}]]"));
                // Some lie in another, as `[[peers.override]]` does.
                let inner = format!("\n[[{}.{key}]]", title.trim_end_matches(']'));
                !(part.lines().any(is_shown) || is_part || file.contains(&inner))
            })
            .collect();
        assert!(missing.is_empty(), "[{title} lacks {missing:?}");
    }
}

/// What the blocks of TOML hold.
fn settings_in(page: &str) -> impl Iterator<Item = &str> {
    page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next())
}

#[test]
fn every_test_that_the_lessons_name_exists() {
    let page = include_str!("../../docs/lessons.md");
    let missing = missing(quoted(page).filter(|name| name.len() > 12));
    assert!(missing.is_empty(), "docs/lessons.md names what is not there: {missing:#?}");
}

#[test]
fn every_test_that_the_conformance_page_names_exists() {
    let page = include_str!("../../docs/conformance.md");
    let example = ["file::test", "file.rs"];
    let named = quoted(page).filter(|name| name.contains("::") || name.ends_with(".rs"));
    let missing = missing(named.filter(|name| !example.contains(name)));
    assert!(missing.is_empty(), "docs/conformance.md names what is not there: {missing:#?}");
}

#[test]
fn every_rule_that_the_conformance_page_calls_kept_has_a_test() {
    let page = include_str!("../../docs/conformance.md");
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| section |"));
    let mut kept = 0;
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [section, level, _, outcome, tests] = cells[..] else { panic!("not five cells: {row}") };
        assert!(section.starts_with(|c: char| c.is_ascii_digit()), "no section: {row}");
        let levels =
            ["MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "RECOMMENDED", "NOT RECOMMENDED", "MAY", "states"];
        assert!(levels.contains(&level), "no level: {row}");
        let outcomes = ["kept", "different", "not yet", "not applicable"];
        assert!(outcomes.iter().any(|known| outcome.starts_with(known)), "no outcome: {row}");
        if outcome.starts_with("kept") || outcome.starts_with("different") {
            assert!(quoted(tests).next().is_some(), "no test: {row}");
            kept += 1;
        }
        if outcome == "different" || outcome == "not applicable" {
            panic!("no reason: {row}");
        }
    }
    assert!(kept > 100, "the tables are not found: {kept} rows");
}

#[test]
fn every_link_between_the_documents_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
    let mut pages = vec![root.join("README.md")];
    files_of(&root.join("docs"), "md", &mut pages);
    let mut links = 0;
    for page in &pages {
        let text = fs::read_to_string(page).expect("a page");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            links += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.with_file_name(file) };
            assert!(target.exists(), "{}: {link}: there is no such file", page.display());
            if !anchor.is_empty() {
                let text = fs::read_to_string(target).expect("a page");
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                assert!(
                    headings.any(|line| anchor_of(line) == anchor),
                    "{}: {link}: there is no such heading",
                    page.display()
                );
            }
        }
    }
    assert!(links > 50, "{links} links of {} pages", pages.len());
}

/// How links name a heading.
fn anchor_of(heading: &str) -> String {
    let title = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = title.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// What stands between backticks.
fn quoted(page: &str) -> impl Iterator<Item = &str> {
    page.split('`').skip(1).step_by(2)
}

/// Those of these names that are no test, file of tests (`file.rs`) or test of a file (`file::test`) of the workspace.
fn missing<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
    let mut files = Vec::new();
    for part in ["relay-common", "relay-userspace", "tests"] {
        files_of(&root.join(part), "rs", &mut files);
    }
    let sources: Vec<(String, String)> = files
        .into_iter()
        .map(|path| {
            (path.display().to_string(), fs::read_to_string(&path).expect("a source file can be read"))
        })
        .collect();
    let exists = |name: &str| match name.rsplit_once("::") {
        Some((file, test)) => {
            let ends = [format!("/{file}.rs"), format!("/{file}/mod.rs")];
            sources
                .iter()
                .any(|(path, text)| ends.iter().any(|end| path.ends_with(end)) && has_test(text, test))
        }
        None => {
            sources.iter().any(|(path, text)| path.ends_with(&format!("/{name}")) || has_test(text, name))
        }
    };
    names.filter(|name| !exists(name)).collect()
}

/// Whether a source file has a test function of this name.
fn has_test(text: &str, name: &str) -> bool {
    let mut functions =
        text.split("#[test]").skip(1).filter_map(|rest| rest.split_once("fn ")?.1.split('(').next());
    functions.any(|function| function == name)
}

fn files_of(directory: &Path, kind: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory of the workspace") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files_of(&path, kind, found);
        } else if path.extension().is_some_and(|extension| extension == kind) {
            found.push(path);
        }
    }
}
