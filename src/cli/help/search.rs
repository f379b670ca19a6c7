//! `hookbox help --grep WORD...`: what the manual, the help of the commands and the providers say about these words, the
//! best first.

mod word;

use std::collections::BTreeSet;

use self::word::{Word, telling};
use super::{Failure, wrap};
use crate::cli::args::commands::{COMMANDS, COMMON_OPTIONS, CommandSpec, ENVIRONMENT, EXIT_CODES, FILES};
use crate::cli::args::option::OptionSpec;
use crate::manual::CHAPTERS;
use crate::manual::markdown::{self, Block};
use crate::provider;
use crate::suggest::closest;

/// As many as can be read at once.
const MAX_LINES: usize = 45;

/// What more providers have is no property of one.
const MAX_PROVIDERS: usize = 3;

/// A larger block of code is shown by the lines that match.
const MAX_CODE_LINES: usize = 12;

/// Of one section.
const MAX_PARAGRAPHS: usize = 4;

/// A section whose title has most of the words begins with the answer.
const MAX_OF_TITLED: usize = 3;

/// What a word is worth in the title of a section, or as the name of a command or a provider. In a paragraph:
/// [`Word::score_in`].
const TITLE: f64 = 2.0;

/// As the name of a chapter, which is that of all its sections, or in its summary.
const TOPIC: f64 = 1.2;

/// A paragraph that has the question as it was asked, such as the text of an error, is worth so many times its words.
const VERBATIM: f64 = 1.5;

/// In another paragraph of the section: this part.
const ELSEWHERE: f64 = 0.3;

/// The description of a provider that the question does not name counts less.
const OTHER_PROVIDER: f64 = 0.6;

/// The chapter that begins with the symptom counts more.
const TROUBLESHOOTING: &str = "troubleshooting";
const SYMPTOMS: f64 = 1.3;

/// What is less relevant than this part of the best is not shown.
const MIN_SHARE: f64 = 0.5;

/// Within a section, where paragraphs differ less.
const MIN_SHARE_OF_SECTION: f64 = 0.9;

/// A suggestion for a shorter word would be arbitrary.
const MIN_SUGGESTED_CHARS: usize = 5;

/// What stands before a paragraph, below the title of its section.
const INDENT: &str = "    ";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Manual,
    Command,
    Provider,
}

/// A part of a text with a title of its own.
struct Section {
    kind: Kind,
    /// Of the chapter, the command or the provider.
    name: &'static str,
    title: String,
    /// What the whole text is about, where this is its first section.
    topic: &'static str,
    paragraphs: Vec<String>,
}

/// What is shown of a section.
struct Hit<'a> {
    section: &'a Section,
    score: f64,
    paragraphs: Vec<&'a str>,
}

/// The paragraphs that have most of the words, and the rarest, each below the title of its section, and how to read on.
pub(in crate::cli) fn find(words: &[String]) -> Result<String, Failure> {
    let sections: Vec<Section> =
        chapters().chain([program()]).chain(COMMANDS.iter().map(of_command)).chain(providers()).collect();
    let texts: Vec<String> = sections.iter().flat_map(Section::texts).collect();
    let mut note = String::new();
    let mut weighted = Vec::new();
    for word in telling(words) {
        match texts.iter().filter(|text| word.is_in(text)).count() {
            0 => note.push_str(&absent(&word, &texts)),
            found => weighted.push((word, (1.0 + texts.len() as f64 / found as f64).ln())),
        }
    }
    if weighted.is_empty() {
        return Err(Failure::failed(format!("{note}hookbox help lists the chapters")));
    }
    let asked = plain(&words.join(" "));
    let mut hits: Vec<Hit> = sections.iter().map(|section| Hit::of(section, &weighted, &asked)).collect();
    hits.sort_by(|one, other| other.score.total_cmp(&one.score));
    let least = hits[0].score * MIN_SHARE;
    hits.retain(|hit| hit.score >= least);
    let separator = if note.is_empty() { "" } else { "\n" };
    Ok(note + separator + &print(&without_common_providers(hits, &weighted)))
}

fn chapters() -> impl Iterator<Item = Section> {
    CHAPTERS.iter().flat_map(|chapter| {
        markdown::sections(&chapter.text).into_iter().map(|section| Section {
            kind: Kind::Manual,
            name: chapter.name,
            title: section.title.to_owned(),
            topic: if section.level == 1 { chapter.summary } else { "" },
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

/// What is the same for all commands.
fn program() -> Section {
    let codes = EXIT_CODES.iter().map(|(code, text)| format!("exit code {code}: {text}"));
    let named = ENVIRONMENT.iter().chain(&FILES).map(|(name, text)| format!("{name}: {text}"));
    Section {
        kind: Kind::Command,
        name: "",
        title: "options, exit codes, variables and files of every command".to_owned(),
        topic: "",
        paragraphs: options(&COMMON_OPTIONS).chain(codes).chain(named).map(|text| wrapped(&text)).collect(),
    }
}

fn of_command(command: &CommandSpec) -> Section {
    let usages = command.usages().map(|usage| format!("hookbox {usage}: {}", command.summary));
    let description = command.description.split("\n\n").map(str::to_owned).filter(|text| !text.is_empty());
    Section {
        kind: Kind::Command,
        name: command.name,
        title: "the command".to_owned(),
        topic: command.summary,
        paragraphs: usages.chain(description).chain(options(command.options)).map(|text| wrapped(&text)).collect(),
    }
}

fn options(options: &[OptionSpec]) -> impl Iterator<Item = String> {
    options.iter().map(|option| format!("{}: {}", option.usage(), option.help))
}

fn providers() -> impl Iterator<Item = Section> {
    let names = provider::presets().map(|preset| preset.name).chain(provider::UNSUPPORTED.iter().map(|it| it.name));
    names.filter_map(|name| {
        let contract = provider::contract(name).ok()?;
        Some(Section {
            kind: Kind::Provider,
            name,
            title: "the provider".to_owned(),
            topic: "",
            paragraphs: contract.iter().map(|(label, text)| wrapped(&format!("{label}: {text}"))).collect(),
        })
    })
}

fn wrapped(text: &str) -> String {
    wrap(text, 0).trim_end().to_owned()
}

impl Section {
    fn heading(&self) -> String {
        if self.name.is_empty() { self.title.clone() } else { format!("{}: {}", self.name, self.title) }
    }

    /// The command that prints the whole text.
    fn read_on(&self) -> String {
        match self.kind {
            _ if self.name.is_empty() => "hookbox --help".to_owned(),
            Kind::Manual | Kind::Command => format!("hookbox help {}", self.name),
            Kind::Provider => format!("hookbox providers {}", self.name),
        }
    }

    /// In lower case: the heading, and each paragraph.
    fn texts(&self) -> impl Iterator<Item = String> {
        std::iter::once(self.heading()).chain(self.paragraphs.iter().cloned()).map(|text| text.to_lowercase())
    }

    /// What the heading says about the word.
    fn heading_score(&self, word: &Word) -> f64 {
        let is_name = word.text == self.name;
        let title = match self.kind {
            Kind::Manual => word.score_in_title(&self.title.to_lowercase()),
            Kind::Command | Kind::Provider => f64::from(is_name),
        };
        let topic = f64::from(is_name).max(word.score_in_title(&self.topic.to_lowercase()));
        (TITLE * title).max(TOPIC * topic)
    }

    /// A provider that the question does not name.
    fn is_other_provider(&self, words: &[(Word, f64)]) -> bool {
        self.kind == Kind::Provider && words.iter().all(|(word, _)| word.text != self.name)
    }

    /// What it says counts for this part.
    fn share(&self, words: &[(Word, f64)]) -> f64 {
        match self.name {
            _ if self.is_other_provider(words) => OTHER_PROVIDER,
            TROUBLESHOOTING => SYMPTOMS,
            _ => 1.0,
        }
    }
}

/// Words in lower case with one space between two, also those of a key such as `max_body`.
fn plain(text: &str) -> String {
    text.to_lowercase().replace(['_', '`', '"'], " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

impl<'a> Hit<'a> {
    /// A word counts where it is said best: in the heading, in the paragraph, or elsewhere in the section.
    fn of(section: &'a Section, words: &[(Word, f64)], asked: &str) -> Hit<'a> {
        let share = section.share(words);
        let mut scores = vec![0.0; section.paragraphs.len()];
        let (mut in_heading, mut of_all) = (0.0, 0.0);
        for (word, weight) in words {
            let heading = section.heading_score(word);
            let found: Vec<f64> = section.paragraphs.iter().map(|text| word.score_in(&text.to_lowercase())).collect();
            let elsewhere = ELSEWHERE * found.iter().copied().fold(0.0, f64::max);
            for (total, found) in scores.iter_mut().zip(found) {
                *total += share * weight * found.max(heading).max(elsewhere);
            }
            in_heading += if heading > TOPIC { *weight } else { 0.0 };
            of_all += weight;
        }
        if words.len() > 1 {
            for (total, text) in scores.iter_mut().zip(&section.paragraphs) {
                *total *= if plain(text).contains(asked) { VERBATIM } else { 1.0 };
            }
        }
        let best = scores.iter().copied().fold(0.0, f64::max);
        let is_best = |at: &usize| scores[*at] >= best * MIN_SHARE_OF_SECTION;
        let mut shown: BTreeSet<usize> = (0..scores.len()).filter(is_best).take(MAX_PARAGRAPHS).collect();
        // A list follows.
        let goes_on = |at: &usize| section.paragraphs[*at].ends_with(':') && at + 1 < scores.len();
        shown.extend(shown.iter().filter(|at| goes_on(at)).map(|at| at + 1).collect::<Vec<_>>());
        if in_heading * 2.0 > of_all {
            shown.extend(0..MAX_OF_TITLED.min(scores.len()));
        }
        let paragraphs = shown.into_iter().map(|at| section.paragraphs[at].as_str()).collect();
        Hit { section, score: best, paragraphs }
    }

    fn lines(&self) -> usize {
        self.paragraphs.iter().map(|text| text.lines().count() + 1).sum()
    }
}

fn without_common_providers<'a>(mut hits: Vec<Hit<'a>>, words: &[(Word, f64)]) -> Vec<Hit<'a>> {
    let is_other = |hit: &Hit<'_>| hit.section.is_other_provider(words);
    let others = hits.iter().filter(|hit| is_other(hit)).count();
    if others > MAX_PROVIDERS && others < hits.len() {
        hits.retain(|hit| !is_other(hit));
    }
    hits
}

fn print(hits: &[Hit<'_>]) -> String {
    let mut text = String::new();
    let (mut read_on, mut more) = (BTreeSet::new(), BTreeSet::new());
    let mut lines = 0;
    for hit in hits {
        if lines == 0 || lines + hit.lines() <= MAX_LINES {
            lines += hit.lines() + 1;
            text.push_str(&format!("{}\n{}", hit.section.heading(), indented(&hit.paragraphs)));
            read_on.insert(hit.section.read_on());
        } else {
            more.insert(hit.section.read_on());
        }
    }
    let more: BTreeSet<String> = more.difference(&read_on).cloned().collect();
    if !more.is_empty() {
        text.push_str(&listed("More, which a further word narrows down", &more));
    }
    text + &listed("Read on", &read_on)
}

/// Lines of this text and the commands; none is broken.
fn listed(text: &str, commands: &BTreeSet<String>) -> String {
    const UNBROKEN: &str = "\u{1f}"; // no white space, and as wide
    let commands: Vec<String> = commands.iter().map(|command| command.replace(' ', UNBROKEN)).collect();
    wrap(&format!("{text}: {}", commands.join(", ")), 0).replace(UNBROKEN, " ")
}

/// Each with an empty line below it.
fn indented(paragraphs: &[&str]) -> String {
    let line = |line: &str| format!("{INDENT}{line}").trim_end().to_owned() + "\n";
    paragraphs.iter().map(|text| text.lines().map(line).collect::<String>() + "\n").collect()
}

/// Says that a word is nowhere, and which one may be meant: mostly the first letter is right.
fn absent(word: &Word, texts: &[String]) -> String {
    let known = texts.iter().flat_map(|text| text.split(|c: char| !c.is_alphabetic()));
    let known: BTreeSet<&str> = known
        .filter(|known| known.len() >= MIN_SUGGESTED_CHARS && known.chars().next() == word.text.chars().next())
        .collect();
    let near = closest(&word.text, known).map_or(String::new(), |near| format!("; did you mean {near}?"));
    format!("nothing has {:?}{near}\n", word.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(words: &str) -> String {
        find(&[words.to_owned()]).unwrap_or_else(|failure| panic!("{words}: {failure}"))
    }

    /// The heading of what is shown first.
    fn first(words: &str) -> String {
        found(words).lines().next().unwrap_or_default().to_owned()
    }

    #[test]
    fn every_chapter_command_and_provider_is_found_by_its_name() {
        let topics = CHAPTERS.iter().map(|it| it.name).chain(COMMANDS.iter().map(|it| it.name));
        for name in topics {
            assert!(found(name).contains(&format!("hookbox help {name}")), "{name}: {}", found(name));
        }
        for preset in provider::presets() {
            let name = preset.name;
            assert!(found(name).contains(&format!("hookbox providers {name}")), "{name}: {}", found(name));
        }
    }

    #[test]
    fn every_option_is_found_with_what_it_does() {
        let own = COMMANDS.iter().flat_map(|command| command.options);
        for option in own.chain(&COMMON_OPTIONS) {
            let found = found(&format!("--{}", option.long));
            assert!(
                found.contains(wrapped(&format!("{}: {}", option.usage(), option.help)).lines().next().unwrap()),
                "{found}"
            );
        }
    }

    #[test]
    fn a_title_comes_before_a_text_and_the_subject_of_a_paragraph_before_another_word() {
        assert_eq!(first("rotate secrets"), "troubleshooting: Rotate a secret");
        assert_eq!(first("431"), "limits: What a sender is answered");
        assert_eq!(first("docker"), "install: Container");
        assert_eq!(first("gitea lan"), "troubleshooting: Gitea or Forgejo does not deliver");
    }

    #[test]
    fn what_is_found_fits_a_terminal_and_says_how_to_read_on() {
        for words in ["outage", "secret", "https", "the", "backup"] {
            let text = found(words);
            assert!(text.lines().count() < MAX_LINES + 20, "{text}");
            assert!(text.contains("\nRead on: hookbox help "), "{text}");
        }
        assert!(found("backup").contains("More, which a further word narrows down: "));
    }
}
