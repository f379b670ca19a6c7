//! `hookbox help --grep WORD...`: where the manual, the help of the commands and the providers have all of these words.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::{Failure, wrap};
use crate::cli::args::commands::{COMMANDS, CommandSpec};
use crate::manual::CHAPTERS;
use crate::manual::markdown::{self, Block};
use crate::provider;
use crate::suggest::closest;

/// As many as can be read at once.
const MAX_PARAGRAPHS: usize = 12;

/// A word that more providers have describes none of them.
const MAX_PROVIDERS: usize = 3;

/// A larger block of code is shown by the lines that match.
const MAX_CODE_LINES: usize = 12;

/// Of a section whose title has the words.
const SHOWN_OF_TITLED: usize = 3;

/// What stands before a paragraph, below the title of its section.
const INDENT: &str = "    ";

/// They are in questions, and every text has them.
const FILLERS: [&str; 48] = [
    "a", "about", "after", "an", "and", "another", "are", "at", "be", "by", "can", "cannot", "do", "does", "for",
    "from", "get", "gets", "has", "have", "how", "i", "if", "in", "is", "it", "me", "my", "not", "of", "on", "one",
    "or", "says", "that", "the", "this", "to", "too", "use", "want", "what", "when", "where", "which", "why", "will",
    "with",
];

/// Endings of one word: `rotate`, `rotated`, `rotating`. What remains has at least [`MIN_STEM_CHARS`].
const ENDINGS: [&str; 6] = ["ies", "ing", "ed", "y", "s", "e"];

const MIN_STEM_CHARS: usize = 4;

/// A part of a text with a title of its own.
struct Section {
    title: String,
    /// The command that prints the whole text.
    read_on: String,
    paragraphs: Vec<String>,
}

/// A word of the question, and the beginning of it by which it is found.
struct Word {
    text: String,
    stem: String,
}

/// The paragraphs of a section that are shown.
struct Hit<'a> {
    section: &'a Section,
    paragraphs: Vec<&'a str>,
}

/// The paragraphs that have all words, each below the title of its section, and how to read on. If there are none, those
/// that have most of them.
pub(in crate::cli) fn find(words: &[String]) -> Result<String, Failure> {
    let sections: Vec<Section> = chapters().chain(COMMANDS.iter().map(of_command)).chain(providers()).collect();
    let words = telling(words);
    let by = |select: fn(&'_ Section, &[Word]) -> Vec<usize>| {
        let hits = sections.iter().map(|section| {
            let paragraphs = select(section, &words).into_iter().map(|at| section.paragraphs[at].as_str());
            Hit { section, paragraphs: paragraphs.collect() }
        });
        hits.filter(|hit| !hit.paragraphs.is_empty()).collect::<Vec<_>>()
    };
    let (mut hits, mut note) = (without_common_providers(by(with_all)), String::new());
    if hits.is_empty() {
        hits = without_common_providers(by(with_most_of_a_section_with_all));
    }
    if hits.is_empty() {
        note = absent(&sections, &words);
        hits = by(with_most);
        let most = hits.iter().map(|hit| hit.score(&words)).max();
        hits.retain(|hit| Some(hit.score(&words)) == most);
        hits = without_common_providers(hits);
    }
    if hits.is_empty() {
        return Err(Failure::failed(format!("{note}hookbox help lists the chapters")));
    }
    hits.sort_by_key(|hit| Reverse(count(&hit.section.title, &words)));
    Ok(note + &print(&hits))
}

fn chapters() -> impl Iterator<Item = Section> {
    CHAPTERS.iter().flat_map(|chapter| {
        markdown::sections(&chapter.text).into_iter().map(|section| Section {
            title: format!("{}: {}", chapter.name, section.title),
            read_on: format!("hookbox help {}", chapter.name),
            paragraphs: section.blocks.iter().flat_map(paragraphs).collect(),
        })
    })
}

fn paragraphs(block: &Block<'_>) -> Vec<String> {
    match block {
        Block::Heading { .. } => Vec::new(),
        Block::Code(lines) if lines.len() > MAX_CODE_LINES => statements(lines),
        Block::Text(lines) | Block::Code(lines) => vec![lines.join("\n")],
    }
}

/// Lines of code, each with the comment that goes on below it.
fn statements(lines: &[&str]) -> Vec<String> {
    let goes_on = |next: &str| next.starts_with(' ') && next.trim_start().starts_with('#');
    lines.chunk_by(|_, next| goes_on(next)).map(|lines| lines.join("\n")).collect()
}

fn of_command(command: &CommandSpec) -> Section {
    let usages = command.usages().map(|usage| format!("hookbox {usage}: {}", command.summary));
    let description = command.description.split("\n\n").map(str::to_owned).filter(|text| !text.is_empty());
    let options = command.options.iter().map(|option| format!("{}: {}", option.usage(), option.help));
    Section {
        title: format!("{}: the command", command.name),
        read_on: format!("hookbox help {}", command.name),
        paragraphs: usages.chain(description).chain(options).map(|text| wrapped(&text)).collect(),
    }
}

fn providers() -> impl Iterator<Item = Section> {
    let names = provider::presets().map(|preset| preset.name).chain(provider::UNSUPPORTED.iter().map(|it| it.name));
    names.filter_map(|name| {
        let contract = provider::contract(name).ok()?;
        Some(Section {
            title: format!("{name}: the provider"),
            read_on: format!("hookbox providers {name}"),
            paragraphs: contract.iter().map(|(label, text)| wrapped(&format!("{label}: {text}"))).collect(),
        })
    })
}

fn wrapped(text: &str) -> String {
    wrap(text, 0).trim_end().to_owned()
}

/// The words that are not in every text; all, if there is no other.
fn telling(words: &[String]) -> Vec<Word> {
    let words = words.iter().flat_map(|text| text.split_whitespace());
    let words: Vec<String> = words.map(|word| word.trim_matches(['?', '!', ',', '"', '\'']).to_lowercase()).collect();
    let is_telling = |word: &&String| !word.is_empty() && !FILLERS.contains(&word.as_str());
    let mut telling: Vec<&String> = words.iter().filter(is_telling).collect();
    if telling.is_empty() {
        telling = words.iter().collect();
    }
    telling.into_iter().map(|text| Word { text: text.clone(), stem: stem(text).to_owned() }).collect()
}

fn stem(word: &str) -> &str {
    let stems = ENDINGS.iter().filter_map(|ending| word.strip_suffix(ending));
    stems.into_iter().find(|stem| stem.chars().count() >= MIN_STEM_CHARS).unwrap_or(word)
}

impl Word {
    /// Whether a word of the text, which is in lower case, begins like this one.
    fn is_in(&self, text: &str) -> bool {
        let is_word = self.stem.starts_with(char::is_alphanumeric);
        text.match_indices(&self.stem).any(|(at, _)| !is_word || !text[..at].ends_with(char::is_alphanumeric))
    }
}

/// How many of the words the text has.
fn count(text: &str, words: &[Word]) -> usize {
    let text = text.to_lowercase();
    words.iter().filter(|word| word.is_in(&text)).count()
}

impl Section {
    /// How many of the words the title and the paragraph have together.
    fn count(&self, paragraph: &str, words: &[Word]) -> usize {
        count(&format!("{}\n{paragraph}", self.title), words)
    }

    /// Where the paragraphs are for which this holds.
    fn indices(&self, is_hit: impl Fn(usize, &str) -> bool) -> Vec<usize> {
        (0..self.paragraphs.len()).filter(|at| is_hit(*at, &self.paragraphs[*at])).collect()
    }
}

impl Hit<'_> {
    fn score(&self, words: &[Word]) -> usize {
        self.paragraphs.iter().map(|text| self.section.count(text, words)).max().unwrap_or_default()
    }
}

/// The paragraphs that have all words, with the title. Where the title has most of them, the section begins with the answer.
fn with_all(section: &Section, words: &[Word]) -> Vec<usize> {
    let in_title = count(&section.title, words);
    let has_all = || section.count(&section.paragraphs.join("\n"), words) == words.len();
    let is_titled = in_title == words.len() || (in_title * 2 > words.len() && has_all());
    section.indices(|at, text| match is_titled {
        true => at < SHOWN_OF_TITLED || count(text, words) == words.len(),
        false => section.count(text, words) == words.len(),
    })
}

/// The words may be in several paragraphs about one thing.
fn with_most_of_a_section_with_all(section: &Section, words: &[Word]) -> Vec<usize> {
    let has_all = section.count(&section.paragraphs.join("\n"), words) == words.len();
    if has_all { best(section, words) } else { Vec::new() }
}

/// At least half of the words.
fn with_most(section: &Section, words: &[Word]) -> Vec<usize> {
    let best = best(section, words);
    let has_half = best.iter().any(|at| section.count(&section.paragraphs[*at], words) * 2 >= words.len());
    if has_half { best } else { Vec::new() }
}

fn best(section: &Section, words: &[Word]) -> Vec<usize> {
    let most = section.paragraphs.iter().map(|text| section.count(text, words)).max().filter(|most| *most > 0);
    let mut best = section.indices(|_, text| Some(section.count(text, words)) == most);
    best.truncate(SHOWN_OF_TITLED);
    best
}

fn without_common_providers(mut hits: Vec<Hit<'_>>) -> Vec<Hit<'_>> {
    let is_provider = |hit: &Hit<'_>| hit.section.read_on.starts_with("hookbox providers ");
    if hits.iter().filter(|hit| is_provider(hit)).count() > MAX_PROVIDERS {
        hits.retain(|hit| !is_provider(hit));
    }
    hits
}

fn print(hits: &[Hit<'_>]) -> String {
    let mut text = String::new();
    let (mut read_on, mut more) = (BTreeSet::new(), BTreeSet::new());
    let mut room = MAX_PARAGRAPHS;
    for hit in hits {
        let shown = hit.paragraphs.len().min(room);
        room -= shown;
        if shown > 0 {
            text.push_str(&format!("{}\n{}", hit.section.title, indented(&hit.paragraphs[..shown])));
            read_on.insert(hit.section.read_on.as_str());
        }
        if shown < hit.paragraphs.len() {
            more.insert(hit.section.read_on.as_str());
        }
    }
    if !more.is_empty() {
        text.push_str(&listed("More, which a further word narrows down", &more));
    }
    text + &listed("Read on", &read_on)
}

/// Lines of this text and the commands; none is broken.
fn listed(text: &str, commands: &BTreeSet<&str>) -> String {
    const UNBROKEN: &str = "\u{1f}"; // no white space, and as wide
    let commands: Vec<String> = commands.iter().map(|command| command.replace(' ', UNBROKEN)).collect();
    wrap(&format!("{text}: {}", commands.join(", ")), 0).replace(UNBROKEN, " ")
}

/// Each with an empty line below it.
fn indented(paragraphs: &[&str]) -> String {
    let line = |line: &str| format!("{INDENT}{line}").trim_end().to_owned() + "\n";
    paragraphs.iter().map(|text| text.lines().map(line).collect::<String>() + "\n").collect()
}

/// Which words are nowhere, with those that may be meant.
fn absent(sections: &[Section], words: &[Word]) -> String {
    let texts = sections.iter().flat_map(|section| section.paragraphs.iter().chain([&section.title]));
    let texts: Vec<String> = texts.map(|text| text.to_lowercase()).collect();
    let known: BTreeSet<&str> = texts.iter().flat_map(|text| text.split(|c: char| !c.is_alphanumeric())).collect();
    let absent = words.iter().filter(|word| !texts.iter().any(|text| word.is_in(text)));
    let hint = |word: &Word| {
        let near = closest(&word.text, known.iter().copied());
        format!("nothing has {:?}{}\n", word.text, near.map_or(String::new(), |near| format!("; did you mean {near}?")))
    };
    let hints: String = absent.map(hint).collect();
    if hints.is_empty() {
        "nothing has all of these words; this has the most of them:\n\n".to_owned()
    } else {
        hints + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(words: &str) -> String {
        find(&[words.to_owned()]).unwrap_or_else(|failure| panic!("{words}: {failure}"))
    }

    #[test]
    fn a_word_is_found_by_its_beginning_in_any_form() {
        for (word, stemmed) in [("retries", "retr"), ("retry", "retr"), ("rotated", "rotat"), ("upgrading", "upgrad")] {
            assert_eq!(stem(word), stemmed);
        }
        for word in ["401", "disk", "file", "uses", "key"] {
            assert_eq!(stem(word), word);
        }
        let word = |text: &str| Word { text: text.to_owned(), stem: stem(text).to_owned() };
        assert!(word("body").is_in("max_body = 1") && word("rotate").is_in("while rotating"));
        assert!(!word("ping").is_in("shipping") && word("--json").is_in("list --json"));
    }

    #[test]
    fn fillers_of_a_question_are_not_looked_for() {
        assert_eq!(found("why 401?"), found("401"));
        assert_eq!(telling(&["why is it".to_owned()]).len(), 3);
    }

    #[test]
    fn every_chapter_command_and_provider_is_found_by_its_name() {
        let names = CHAPTERS.iter().map(|it| it.name).chain(COMMANDS.iter().map(|it| it.name));
        for name in names.chain(provider::presets().map(|preset| preset.name)) {
            assert!(found(name).contains(name), "{name}");
        }
    }

    #[test]
    fn what_is_found_fits_a_terminal_and_says_how_to_read_on() {
        let text = found("outage");
        assert!(text.lines().last().is_some_and(|line| line.contains("hookbox help ")), "{text}");
        assert!(found("secret").contains("More, which a further word narrows down: "));
    }
}
