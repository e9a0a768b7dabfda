//! What the documents list is what there is.

use std::fs;
use std::path::{Path, PathBuf};

use relay_common::reason::Reason;

#[test]
fn the_operators_page_explains_every_reason_and_no_other() {
    let page = include_str!("../../docs/operations.md");
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
fn every_test_that_the_lessons_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
    let mut files = Vec::new();
    for part in ["relay-common", "relay-userspace", "tests"] {
        rust_files(&root.join(part), &mut files);
    }
    let sources: Vec<(String, String)> = files
        .into_iter()
        .map(|path| {
            (path.display().to_string(), fs::read_to_string(&path).expect("a source file can be read"))
        })
        .collect();
    let page = include_str!("../../docs/lessons.md");
    let named = page.split('`').skip(1).step_by(2).filter(|name| name.len() > 12);
    let missing: Vec<&str> = named
        .filter(|name| {
            !sources.iter().any(|(path, text)| {
                path.ends_with(&format!("/{name}")) || text.contains(&format!("fn {name}("))
            })
        })
        .collect();
    assert!(missing.is_empty(), "docs/lessons.md names what is not there: {missing:#?}");
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory of the workspace") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}
