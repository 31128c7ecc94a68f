//! The page about guardrails lists the rules that there are.

use std::fs;
use std::path::Path;

use tollgate_guard::Entity;

#[test]
fn the_page_lists_every_built_in_rule_with_its_group_and_placeholder() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guardrails.md");
    let page = fs::read_to_string(page).expect("it is there");
    let (_, table) = page.split_once("## The rules that are built in").expect("it has the section");
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let listed: Vec<Vec<&str>> = rows.map(|row| row.split('|').skip(1).take(3).map(str::trim).collect()).collect();
    let row = |entity: &Entity| {
        let cells = [entity.as_str().to_owned(), entity.group().as_str().to_owned(), format!("<{}_1>", entity.label())];
        cells.map(|cell| format!("`{cell}`")).to_vec()
    };
    assert_eq!(listed, Entity::ALL.iter().map(row).collect::<Vec<_>>());
}
