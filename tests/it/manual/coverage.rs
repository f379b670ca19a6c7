//! Every block of the README and of the manual is run by a test or by a script, or says here why it cannot be.

use std::fs;
use std::path::Path;

use regex_lite::Regex;

use crate::support::{Block, blocks};

/// What cannot be run: file, language, start, and the reason.
const NOT_RUN: [(&str, &str, &str, &str); 6] = [
    ("README.md", "sh", "cargo binstall", "needs a published release"),
    (
        "src/manual/install.md",
        "sh",
        "CROSS_CONFIG",
        "`cross` needs containers with a Rust toolchain; `.ci/static` builds the same targets",
    ),
    ("src/manual/reach.md", "text", "", "a drawing"),
    ("src/manual/troubleshooting.md", "ini", "[webhook]", "a setting of Gitea, which is no package here"),
    ("src/manual/tunnel.md", "sh", "cloudflared", "needs an account at Cloudflare"),
    ("src/manual/tunnel.md", "yaml", "", "needs an account at Cloudflare"),
];

/// A place that takes a block.
struct Taker {
    place: String,
    file: String,
    language: String,
    words: String,
    /// Tests name the first words of a block, scripts any.
    is_start: bool,
}

impl Taker {
    fn takes(&self, block: &Block) -> bool {
        let is_named = match self.is_start {
            true => block.text.starts_with(&self.words),
            false => block.text.contains(&self.words),
        };
        block.language == self.language && is_named
    }
}

fn root(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The README and the chapters, from the repository's root.
pub fn files() -> Vec<String> {
    let chapters = fs::read_dir(root("src/manual")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut files: Vec<String> = chapters.map(|name| format!("src/manual/{}", name.to_str().unwrap())).collect();
    files.retain(|name| name.ends_with(".md"));
    assert!(files.len() > 20);
    files.sort();
    [vec!["README.md".to_owned()], files].concat()
}

/// Each file below this directory, with its text.
pub fn texts(directory: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root(directory)).unwrap() {
        let name = format!("{directory}/{}", entry.unwrap().file_name().to_str().unwrap());
        if root(&name).is_dir() {
            found.extend(texts(&name));
        } else if let Ok(text) = fs::read_to_string(root(&name)) {
            found.push((name, text));
        }
    }
    found
}

/// The text without lines that are comments, which stay as empty ones.
fn code(text: &str, comment: &str) -> String {
    let is_comment = |line: &str| line.trim_start().starts_with(comment);
    text.lines().map(|line| if is_comment(line) { "\n".to_owned() } else { format!("{line}\n") }).collect()
}

fn place(name: &str, text: &str, at: usize) -> String {
    format!("{name}:{}", text[..at].matches('\n').count() + 1)
}

/// What stands between the quotes of a literal.
fn unquoted(literal: &str) -> String {
    let escape = Regex::new(r"\\(.)").unwrap();
    let inner = literal.trim_matches(['"', '\'']).replace(r"\n", "\n");
    escape.replace_all(&inner, "$1").into_owned()
}

/// The calls of `example` in the tests.
fn tests() -> Vec<Taker> {
    let call = Regex::new(r"\bexample\(").unwrap();
    let arguments = Regex::new(r#"^\s*("[^"]+"|[A-Z_]+),\s*"(\w*)",\s*("(?:[^"\\]|\\.)*"),?\s*\)"#).unwrap();
    let mut takers = Vec::new();
    for (name, text) in texts("tests/it") {
        if !name.ends_with(".rs") {
            continue;
        }
        let text = code(&text, "//");
        for found in call.find_iter(&text).filter(|found| !text[..found.start()].ends_with("fn ")) {
            let place = place(&name, &text, found.start());
            let Some(parts) = arguments.captures(&text[found.end()..]) else {
                panic!("{place}: a file, a language and the first words of a block must be written here")
            };
            let file = match parts[1].starts_with('"') {
                true => parts[1].to_owned(),
                false => constant(&text, &parts[1]).unwrap_or_else(|| panic!("{place}: no constant {}", &parts[1])),
            };
            let [file, words] = [&file, &parts[3]].map(unquoted);
            takers.push(Taker { place, file, language: parts[2].to_owned(), words, is_start: true });
        }
    }
    takers
}

fn constant(text: &str, name: &str) -> Option<String> {
    let pattern = format!(r#"const {name}: &str = ("[^"]+");"#);
    Some(Regex::new(&pattern).unwrap().captures(text)?[1].to_owned())
}

/// The scripts that `.ci/run` calls, and those that these call, with their texts.
fn run_by_ci() -> Vec<(String, String)> {
    let name = Regex::new(r"\.ci/\w+").unwrap();
    let mut others: Vec<(String, String)> =
        texts(".ci").into_iter().map(|(name, text)| (name, code(&text, "#"))).collect();
    let (mut run, mut called) = (Vec::new(), vec![".ci/run".to_owned()]);
    while let Some(script) = called.pop() {
        let Some(at) = others.iter().position(|(name, _)| *name == script) else { continue };
        called.extend(name.find_iter(&others[at].1).map(|found| found.as_str().to_owned()));
        run.push(others.swap_remove(at));
    }
    assert!(run.len() > 5);
    run
}

/// The calls of `block`, `paste` and `paste_unit` in the scripts of the CI: `.ci/booted` defines them.
fn scripts() -> Vec<Taker> {
    let call = Regex::new(
        r#"(?:^|[\s(;{])(?:(?:block|paste) +(\w+) +("(?:[^"\\]|\\.)*"|'[^']*')(?: +(\w+)\b)?|paste_unit +(\w+) +([\w.-]+))"#,
    );
    let call = call.unwrap();
    let mut takers = Vec::new();
    for (name, text) in run_by_ci() {
        for parts in call.captures_iter(&text) {
            let part = |at: usize| parts.get(at).map(|part| part.as_str());
            let place = place(&name, &text, parts.get(0).unwrap().start());
            let chapter = part(1).or(part(4)).unwrap();
            let file = if chapter == "README" { "README.md".to_owned() } else { format!("src/manual/{chapter}.md") };
            let unit = part(5).map(|unit| (format!("# /etc/systemd/system/{unit}"), "ini"));
            let (words, language) = unit.unwrap_or_else(|| (unquoted(&parts[2]), part(3).unwrap_or("sh")));
            takers.push(Taker { place, file, language: language.to_owned(), words, is_start: false });
        }
    }
    takers
}

fn first_line(block: &Block) -> &str {
    block.text.lines().find(|line| !line.is_empty()).unwrap_or_default()
}

#[test]
fn every_block_of_the_manual_is_run() {
    let takers: Vec<Taker> = tests().into_iter().chain(scripts()).collect();
    let (mut wrong, mut named) = (Vec::new(), [0; NOT_RUN.len()]);
    let mut taken = vec![0; takers.len()];
    for file in files() {
        for block in blocks(&file) {
            let by: Vec<usize> =
                (0..takers.len()).filter(|&at| takers[at].file == file && takers[at].takes(&block)).collect();
            by.iter().for_each(|&at| taken[at] += 1);
            let excepted = |&(of, language, start, _): &(&str, &str, &str, &str)| {
                of == file && language == block.language && block.text.starts_with(start)
            };
            let why_not: Vec<usize> = (0..NOT_RUN.len()).filter(|&at| excepted(&NOT_RUN[at])).collect();
            why_not.iter().for_each(|&at| named[at] += 1);
            let what = format!("{file}: ```{} {}", block.language, first_line(&block));
            match (by.first(), why_not.first()) {
                (None, None) => wrong.push(format!("{what}: no test and no script runs it")),
                (Some(&by), Some(_)) => wrong.push(format!("{what}: NOT_RUN has it, but {} runs it", takers[by].place)),
                _ => (),
            }
        }
    }
    for (taker, count) in takers.iter().zip(taken).filter(|&(_, count)| count != 1) {
        wrong.push(format!("{}: {count} blocks of {} are {:?}", taker.place, taker.file, taker.words));
    }
    for (entry, count) in NOT_RUN.iter().zip(named).filter(|&(_, count)| count != 1) {
        wrong.push(format!("NOT_RUN: {count} blocks of {} start with {:?}", entry.0, entry.2));
    }
    assert!(wrong.is_empty(), "{}\n{} problems", wrong.join("\n"), wrong.len());
}
