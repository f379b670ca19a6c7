//! The Markdown of the chapters as blocks. They have headings, paragraphs, lists and fenced code, and nothing else.

/// What stands between two empty lines, or one item of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block<'a> {
    /// `## Title` has level 2.
    Heading { level: usize, text: &'a str },
    /// A paragraph, or an item, whose first line begins with `- ` or `1. `.
    Text(Vec<&'a str>),
    /// Without the fences.
    Code(Vec<&'a str>),
}

/// A heading with what follows it, up to the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section<'a> {
    pub level: usize,
    pub title: &'a str,
    pub blocks: Vec<Block<'a>>,
}

pub fn sections(text: &str) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for block in blocks(text) {
        match (block, sections.last_mut()) {
            (Block::Heading { level, text }, _) => {
                sections.push(Section { level, title: text, blocks: Vec::new() });
            }
            (block, Some(section)) => section.blocks.push(block),
            (block, None) => sections.push(Section { level: 0, title: "", blocks: vec![block] }),
        }
    }
    sections
}

pub fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let block = if let Some(level) = heading_level(line) {
            Block::Heading { level, text: line[level..].trim() }
        } else if is_fence(line) {
            Block::Code(lines.by_ref().take_while(|line| !is_fence(line)).collect())
        } else if line.trim().is_empty() {
            continue;
        } else {
            let mut text = vec![line];
            while let Some(line) = lines.next_if(|line| !ends_text(line)) {
                text.push(line);
            }
            Block::Text(text)
        };
        blocks.push(block);
    }
    blocks
}

/// What stands before the text of an item, `- ` or `1. `; `None` in a paragraph.
pub fn item_mark(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let length = match digits {
        0 if line.starts_with("- ") => 2,
        1.. if line[digits..].starts_with(". ") => digits + 2,
        _ => return None,
    };
    Some(&line[..length])
}

fn heading_level(line: &str) -> Option<usize> {
    let level = line.bytes().take_while(|byte| *byte == b'#').count();
    (level > 0 && line[level..].starts_with(' ')).then_some(level)
}

fn is_fence(line: &str) -> bool {
    line.trim_start().starts_with("```")
}

fn ends_text(line: &str) -> bool {
    line.trim().is_empty() || is_fence(line) || heading_level(line).is_some() || item_mark(line).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chapter_is_headings_paragraphs_items_and_code() {
        let text =
            "# Title\n\nOne\ntwo.\n- item\n  goes on\n1. first\n\n   ```sh\n   # no heading\n   ```\n## Next\nEnd\n";
        let expected = [
            Block::Heading { level: 1, text: "Title" },
            Block::Text(vec!["One", "two."]),
            Block::Text(vec!["- item", "  goes on"]),
            Block::Text(vec!["1. first"]),
            Block::Code(vec!["   # no heading"]),
            Block::Heading { level: 2, text: "Next" },
            Block::Text(vec!["End"]),
        ];
        assert_eq!(blocks(text), expected);
        let titles: Vec<(usize, &str)> = sections(text).iter().map(|it| (it.level, it.title)).collect();
        assert_eq!(titles, [(1, "Title"), (2, "Next")]);
    }

    #[test]
    fn only_a_dash_or_a_number_marks_an_item() {
        assert_eq!(item_mark("  - a"), Some("- "));
        assert_eq!(item_mark("12. a"), Some("12. "));
        for text in ["-a", "--all", "12.5 MB", "2025-01-31", "text"] {
            assert_eq!(item_mark(text), None, "{text}");
        }
    }
}
