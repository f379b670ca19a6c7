//! The examples in the manual.

/// The one code block in a chapter that is in this language and starts with `start`.
#[track_caller]
pub fn example(topic: &str, language: &str, start: &str) -> String {
    let path = format!("{}/src/manual/{topic}.md", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    let fence = format!("```{language}\n");
    let blocks = text.split(&fence).skip(1).filter_map(|rest| rest.split("```").next());
    let found: Vec<&str> = blocks.filter(|block| block.starts_with(start)).collect();
    let [block] = found[..] else { panic!("{} {language} blocks start with {start:?} in {path}", found.len()) };
    block.to_owned()
}
