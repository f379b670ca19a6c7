//! The rules of the repository, each a test over `src/`.

use std::path::{Path, PathBuf};

/// A source file. Its unit tests, last in it or in a `tests.rs` or `tests/` of their own, may name what they like.
pub(crate) struct Source {
    pub name: String,
    text: String,
}

impl Source {
    /// The lines of the program itself, without comments, with their numbers.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = if self.is_test() { Some(0) } else { self.text.find("#[cfg(test)]\nmod ") };
        let end = tests.unwrap_or(self.text.len());
        self.text[..end].lines().enumerate().map(|(at, line)| (at + 1, without_comment(line)))
    }

    pub fn is_test(&self) -> bool {
        self.name.ends_with("tests.rs") || self.name.contains("/tests/")
    }

    fn is_under(&self, module: &str) -> bool {
        self.name == format!("{module}.rs") || self.name.starts_with(&format!("{module}/"))
    }
}

/// Cuts a `//` comment off; one in a string (an address) is none.
fn without_comment(line: &str) -> &str {
    let comment = line.match_indices("//").find(|(at, _)| line[..*at].matches('"').count().is_multiple_of(2));
    comment.map_or(line, |(at, _)| &line[..at])
}

pub(crate) fn sources() -> Vec<Source> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    collect(&root, &root, &mut sources);
    assert!(sources.len() > 3);
    sources
}

fn collect(root: &Path, directory: &Path, into: &mut Vec<Source>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            into.push(Source { name, text: std::fs::read_to_string(&path).unwrap() });
        }
    }
}

/// Fails with every place that `is_wrong` finds in the code of these files.
#[track_caller]
fn assert_none(rule: &str, sources: &[Source], is_wrong: impl Fn(&Source, &str) -> bool) {
    let mut wrong = Vec::new();
    for source in sources {
        for (number, line) in source.code().filter(|(_, line)| is_wrong(source, line)) {
            wrong.push(format!("src/{}:{number}: {}", source.name, line.trim()));
        }
    }
    assert!(wrong.is_empty(), "{rule}\n{}", wrong.join("\n"));
}

/// `word` not as a part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(part) && !line[at + word.len()..].starts_with(part))
}

#[test]
fn sql_is_only_under_store() {
    let mut others = sources();
    others.retain(|source| !source.is_under("store"));
    let sql =
        ["SELECT ", "INSERT INTO", "INSERT OR", "UPDATE ", "DELETE FROM", "PRAGMA", "BEGIN IMMEDIATE", "CREATE TABLE"];
    assert_none("SQL is only under src/store", &others, |_, line| {
        has_word(line, "rusqlite") || sql.iter().any(|statement| line.contains(statement))
    });
}

/// What providers are called, and what they call things. Action kinds (`slack`) are not among them.
const PROVIDER_WORDS: [&str; 16] = [
    "github",
    "gitlab",
    "gitea",
    "forgejo",
    "bitbucket",
    "stripe",
    "shopify",
    "paypal",
    "telegram",
    "twilio",
    "sentry",
    "grafana",
    "svix",
    "x-hub-",
    "x-gogs",
    "encoded-secret",
];

/// Where a provider may be named all the same: file or directory, word, reason.
const PROVIDER_EXCEPTIONS: [(&str, &str, &str); 4] = [
    ("config", "github", "the built-in source and its GITHUB_WEBHOOK_SECRET"),
    ("cli", "github", "examples in help texts"),
    ("packed", "github", "the directory of the changelog"),
    ("service", "github", "the variable that the log at the start advises to set"),
];

#[test]
fn providers_are_only_under_provider() {
    let mut others = sources();
    others.retain(|source| !source.is_under("provider"));
    assert_none("a provider is named only under src/provider", &others, |source, line| {
        let line = line.to_lowercase();
        PROVIDER_WORDS.iter().any(|word| {
            let excepted = |(place, excepted, _): &(&str, &str, &str)| excepted == word && source.is_under(place);
            line.contains(word) && !PROVIDER_EXCEPTIONS.iter().any(excepted)
        })
    });
}

#[test]
fn an_action_never_sees_the_store() {
    let mut actions = sources();
    actions.retain(|source| source.is_under("action"));
    assert_none("an action never sees the store", &actions, |_, line| {
        ["store", "Store"].iter().any(|word| has_word(line, word))
    });
}

#[test]
fn only_clock_reads_the_wall_time() {
    let mut others = sources();
    others.retain(|source| !source.is_under("clock"));
    assert_none("only src/clock.rs reads wall time", &others, |_, line| line.contains("SystemTime::now"));
}

#[test]
fn an_unwrap_has_a_comment_that_says_why_it_holds() {
    let mut wrong = Vec::new();
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        for (number, line) in source.code().filter(|(_, line)| line.contains(".unwrap()")) {
            let above = number >= 2 && lines[number - 2].trim_start().starts_with("//");
            let beside = line.len() < lines[number - 1].len();
            if !above && !beside {
                wrong.push(format!("src/{}:{number}: {}", source.name, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "an unwrap without a comment\n{}", wrong.join("\n"));
}

#[test]
fn only_http_names_tiny_http() {
    let mut others = sources();
    others.retain(|source| source.name != "http.rs");
    assert_none("only src/http.rs names tiny_http", &others, |_, line| has_word(line, "tiny_http"));
}

#[test]
fn nothing_is_unsafe_but_taking_what_systemd_passes() {
    let mut others = sources();
    others.retain(|source| source.name != "systemd.rs");
    assert_none("no unsafe code", &others, |_, line| has_word(line, "unsafe"));
}

/// A panic in one of tiny_http's threads is an untrusted client's doing and must not end the process.
#[test]
fn a_panic_unwinds() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    assert!(manifest.contains("panic = \"unwind\"") && !manifest.contains("panic = \"abort\""));
}

#[test]
fn no_file_is_longer_than_500_lines() {
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(lines <= 500, "src/{} has {lines} lines: what are its two subjects?", source.name);
    }
}

/// rustfmt breaks code at 120, and leaves comments alone.
const MAX_COMMENT_CHARACTERS: usize = 125;

#[test]
fn no_comment_is_wider_than_125_characters() {
    for source in sources() {
        for (number, line) in source.text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("//")) {
            let is_wide = line.chars().count() > MAX_COMMENT_CHARACTERS;
            assert!(!is_wide, "src/{}:{}: wrap this comment: {}", source.name, number + 1, line.trim());
        }
    }
}

/// The longest function that still reads at one glance.
const MAX_FUNCTION_LINES: usize = 50;

#[test]
fn no_function_is_longer_than_50_lines() {
    let mut long = Vec::new();
    for source in sources() {
        let lines: Vec<&str> = source.code().map(|(_, line)| line).collect();
        for (start, line) in lines.iter().enumerate().filter(|(_, line)| has_word(line, "fn") && line.ends_with('{')) {
            let indent = &line[..line.len() - line.trim_start().len()];
            let end = lines[start..].iter().position(|line| *line == format!("{indent}}}"));
            if let Some(count) = end.map(|end| end + 1).filter(|count| *count > MAX_FUNCTION_LINES) {
                long.push(format!("src/{}:{}: {count} lines: {}", source.name, start + 1, line.trim()));
            }
        }
    }
    assert!(long.is_empty(), "functions with more than {MAX_FUNCTION_LINES} lines\n{}", long.join("\n"));
}

/// Phrases that are not plain present-day English, or private metaphors, and what to write instead.
const DIALECT: [(&str, &str); 12] = [
    ("stranger", "untrusted client"),
    ("strangers", "untrusted clients"),
    ("whoever", "anyone who"),
    ("whomever", "the one that"),
    ("anew", "again"),
    ("for ever", "forever"),
    ("all the same", "still"),
    ("is told of", "is reported"),
    ("are told of", "are reported"),
    ("nobody is told", "nothing is reported"),
    ("ought to", "should"),
    ("tells of", "reports"),
];

/// Everything that people read: code, tests, manual, scripts.
fn texts() -> Vec<(String, String)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut texts = Vec::new();
    let mut directories: Vec<PathBuf> = ["src", "tests", ".ci", ".cargo", ".github"].map(|name| root.join(name)).into();
    let mut files: Vec<PathBuf> =
        ["README.md", "Cargo.toml", "cross.toml", ".clippy.toml"].map(|name| root.join(name)).into();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { directories.push(path) } else { files.push(path) }
        }
    }
    // Data of others, and this list.
    files.retain(|path| !path.starts_with(root.join("tests/it/data")) && !path.ends_with("tidy.rs"));
    for path in files {
        if let Ok(text) = std::fs::read_to_string(&path) {
            texts.push((path.strip_prefix(&root).unwrap().display().to_string(), text.to_lowercase()));
        }
    }
    texts
}

#[test]
fn the_words_are_plain_english() {
    let mut found = Vec::new();
    for (name, text) in texts() {
        for (at, line) in text.lines().enumerate() {
            for (phrase, instead) in DIALECT.iter().filter(|(phrase, _)| has_word(line, phrase)) {
                found.push(format!("{name}:{}: {phrase:?}, write for example {instead:?}", at + 1));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_module_is_named_by_its_file() {
    for source in sources() {
        assert!(!source.name.ends_with("mod.rs"), "src/{}: use foo.rs beside foo/", source.name);
    }
}

#[test]
fn the_rules_see_code_and_not_comments() {
    let text = "let url = \"http://a\"; // unsafe\n/// unsafe\n#[cfg(test)]\nmod tests { unsafe }\n".to_owned();
    let source = Source { name: "store/read.rs".to_owned(), text };
    let code: Vec<_> = source.code().collect();
    assert_eq!(code, [(1, "let url = \"http://a\"; "), (2, "")]);
    assert!(source.is_under("store") && !source.is_under("stor"));
    assert!(has_word("a unsafe {", "unsafe") && !has_word("deny(unsafe_code)", "unsafe"));
}
