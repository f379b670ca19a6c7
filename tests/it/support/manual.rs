//! The examples in the README and in the manual.

/// A fenced block, without the fence, and without the indentation of a list that it stands in.
pub struct Block {
    pub language: String,
    pub text: String,
}

/// The blocks of `file` (from the repository's root), in their order.
#[track_caller]
pub fn blocks(file: &str) -> Vec<Block> {
    let text = std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (mut blocks, mut lines) = (Vec::new(), text.lines());
    while let Some(line) = lines.next() {
        let Some((indent, language)) = line.split_once("```").filter(|(indent, _)| indent.trim().is_empty()) else {
            continue;
        };
        let inner = lines.by_ref().take_while(|line| line.trim() != "```");
        let text = inner.map(|line| line.strip_prefix(indent).unwrap_or(line).to_owned() + "\n").collect();
        blocks.push(Block { language: language.to_owned(), text });
    }
    blocks
}

/// The one block of `file` that is in this language and starts with `start`. All three are written where it is called, so
/// that `manual::coverage` sees which block it is.
#[track_caller]
pub fn example(file: &str, language: &str, start: &str) -> String {
    let mut found = blocks(file);
    found.retain(|block| block.language == language && block.text.starts_with(start));
    let [block] = &found[..] else { panic!("{} {language} blocks of {file} start with {start:?}", found.len()) };
    block.text.clone()
}
