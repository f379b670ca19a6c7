//! The examples in the README and in the manual.

/// The one code block of `file` (from the repository's root) that is in this language and starts with `start`.
#[track_caller]
pub fn example(file: &str, language: &str, start: &str) -> String {
    let text = std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let fence = format!("```{language}\n");
    let blocks = text.split(&fence).skip(1).filter_map(|rest| rest.split("```").next());
    let found: Vec<&str> = blocks.filter(|block| block.starts_with(start)).collect();
    let [block] = found[..] else { panic!("{} {language} blocks of {file} start with {start:?}", found.len()) };
    block.to_owned()
}
