use std::collections::HashSet;
use std::path::Path;

use super::*;

/// What a terminal shows without wrapping, unless a line cannot be broken.
const COLUMNS: usize = 80;

/// The lines outside of code blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    text.lines().zip(1..).filter_map(move |(line, number)| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        (!in_code && !is_fence).then_some((number, line))
    })
}

/// The targets of the links in Markdown.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// As GitHub makes it of a heading.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    heading.chars().filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect()
}

fn has_heading(text: &str, wanted: &str) -> bool {
    prose(text).any(|(_, line)| line.starts_with('#') && anchor(line) == wanted)
}

/// Fails with the links of this file that lead nowhere.
#[track_caller]
fn assert_links_resolve(file: &Path) {
    let text = std::fs::read_to_string(file).unwrap();
    for link in links(&text).filter(|link| !link.starts_with("https://")) {
        let (path, heading) = link.split_once('#').unwrap_or((link, ""));
        let target = if path.is_empty() { file.to_owned() } else { file.parent().unwrap().join(path) };
        assert!(target.is_file(), "{}: no file for {link}", file.display());
        if !heading.is_empty() {
            let target = std::fs::read_to_string(target).unwrap();
            assert!(has_heading(&target, heading), "{}: no heading for {link}", file.display());
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn names_are_unique_and_found() {
    let names: HashSet<&str> = CHAPTERS.iter().map(|chapter| chapter.name).collect();
    assert_eq!(names.len(), CHAPTERS.len());
    assert!(CHAPTERS.iter().all(|chapter| find(chapter.name).is_some_and(|found| *found.text == *chapter.text)));
    assert!(find("no-such-chapter").is_none());
}

#[test]
fn each_file_is_a_chapter() {
    let mut files: Vec<String> = std::fs::read_dir(root().join("src/manual"))
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".md")?.to_owned()))
        .collect();
    files.sort();
    let mut names: Vec<&str> = CHAPTERS.iter().map(|chapter| chapter.name).collect();
    names.sort();
    assert_eq!(files, names);
}

#[test]
fn each_chapter_begins_with_its_only_title() {
    for Chapter { name, text, .. } in &CHAPTERS {
        assert!(text.starts_with("# "), "{name}");
        assert_eq!(prose(text).filter(|(_, line)| line.starts_with("# ")).count(), 1, "{name}");
        assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{name}");
    }
}

#[test]
fn summaries_fit_in_the_list_of_topics() {
    for Chapter { name, summary, .. } in &CHAPTERS {
        assert!(summary.len() <= 64 && !summary.ends_with('.'), "{name}: {summary}");
    }
}

#[test]
fn prose_fits_a_terminal() {
    for Chapter { name, text, .. } in &CHAPTERS {
        for (number, line) in prose(text) {
            let is_wide = line.chars().count() > COLUMNS;
            // A link cannot be broken.
            let is_link = line.contains("](https://") && !line.trim_start().starts_with('|');
            assert!(!is_wide || is_link, "src/manual/{name}.md:{number} is wider than {COLUMNS} columns");
        }
    }
}

#[test]
fn links_lead_somewhere() {
    for file in ["README.md", ".github/CONTRIBUTING.md"] {
        assert_links_resolve(&root().join(file));
    }
    for chapter in &CHAPTERS {
        assert_links_resolve(&root().join(format!("src/manual/{}.md", chapter.name)));
    }
}

#[test]
fn the_readme_lists_the_chapters() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let line = |Chapter { name, summary, .. }: &Chapter| format!("- [{name}](src/manual/{name}.md): {summary}\n");
    let list: String = CHAPTERS.iter().map(line).collect();
    assert!(readme.contains(&list), "README.md has not this list:\n{list}");
}
