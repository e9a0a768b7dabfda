//! What the documents list is what there is.

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
