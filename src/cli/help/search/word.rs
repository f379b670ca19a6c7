//! A word of a question, and how well a text has it.

/// Words of questions that say nothing about what is asked.
const FILLERS: [&str; 64] = [
    "a", "about", "after", "am", "an", "and", "another", "any", "are", "at", "be", "been", "by", "can", "cannot",
    "did", "do", "does", "for", "from", "get", "gets", "got", "had", "has", "have", "hookbox", "how", "i", "if", "in",
    "is", "it", "its", "me", "my", "no", "not", "of", "on", "one", "or", "our", "please", "says", "should", "still",
    "that", "the", "there", "this", "to", "too", "want", "was", "what", "when", "where", "which", "why", "will",
    "with", "you", "your",
];

/// What operators say, and what the manual says for it.
const SYNONYMS: [(&str, &str); 63] = [
    ("alive", "health"),
    ("availability", "machines"),
    ("branch", "refs"),
    ("cert", "certificate"),
    ("certs", "certificate"),
    ("cluster", "machines"),
    ("corrupt", "damaged"),
    ("corrupted", "damaged"),
    ("cpu", "threads"),
    ("crash", "dies"),
    ("crashed", "dies"),
    ("csv", "--json"),
    ("db", "database"),
    ("dedup", "duplicate"),
    ("deduplicate", "duplicate"),
    ("deduplication", "duplicate"),
    ("downgrade", "go back"),
    ("email", "mail"),
    ("export", "--json"),
    ("fds", "descriptors"),
    ("gdpr", "delete"),
    ("ha", "machines"),
    ("healthcheck", "health"),
    ("https", "certificate"),
    ("idempotent", "duplicate"),
    ("instances", "machines"),
    ("laptop", "machine"),
    ("locally", "test"),
    ("login", "token"),
    ("mac", "macos"),
    ("malformed", "damaged"),
    ("mdns", ".local"),
    ("mismatch", "wrong"),
    ("multiple", "several"),
    ("mysql", "sqlite"),
    ("noisy", "log-level"),
    ("oom", "memory"),
    ("parallel", "concurrency"),
    ("password", "token"),
    ("pending", "unprocessed"),
    ("postgres", "sqlite"),
    ("postgresql", "sqlite"),
    ("privacy", "delete"),
    ("purge", "prune"),
    ("ram", "memory"),
    ("readonly", "read-only"),
    ("remote", "ssh"),
    ("repo", "repository"),
    ("repos", "repository"),
    ("resend", "again"),
    ("rollback", "go back"),
    ("rpi", "raspberry"),
    ("s3", "object store"),
    ("script", "command"),
    ("sdcard", "card"),
    ("space", "disk"),
    ("ssl", "certificate"),
    ("stuck", "waits"),
    ("timezone", "utc"),
    ("tls", "certificate"),
    ("transfer", "move"),
    ("uptime", "health"),
    ("verbose", "log-level"),
];

/// What a synonym counts.
const SYNONYM: f64 = 0.7;

/// Around a word in a question or in an error message that was pasted.
const QUOTES: [char; 5] = ['"', '\'', '`', '(', '['];
const PUNCTUATION: [char; 11] = ['"', '\'', '`', ')', ']', '?', '!', ',', ';', ':', '.'];

/// What Markdown and TOML have before the first word of a line.
const MARKS: [char; 6] = [' ', '-', '*', '`', '[', '#'];

/// A line that begins like this has a subject: an item of a list, an option, a table.
const SUBJECT_MARKS: [&str; 4] = ["-", "**", "`", "["];

/// Endings of one word: `rotate`, `rotated`, `rotating`. What remains has at least [`MIN_STEM_CHARS`].
const ENDINGS: [&str; 7] = ["ies", "ing", "es", "ed", "y", "s", "e"];

const MIN_STEM_CHARS: usize = 3;

/// This is no plural.
const NO_PLURAL: &str = "https";

/// Too many words begin with a shorter one: `mac`, `machine`.
const MIN_BEGINNING_CHARS: usize = 4;

/// How well a text has a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    No,
    /// A longer word begins with it: `auth` and `Authorization`.
    Beginning,
    Whole,
    /// An item or a key begins with it: `- **401**: ...`, `max_body = 1 # ...`.
    Leading,
}

/// A word of the question.
pub(super) struct Word {
    pub(super) text: String,
    forms: Vec<Form>,
}

/// What is looked for: the beginning of the word in any form, or that of its synonym.
struct Form {
    stem: String,
    /// What it counts.
    share: f64,
}

/// The words that say what is asked; all, if there is no other.
pub(super) fn telling(words: &[String]) -> Vec<Word> {
    let words = words.iter().flat_map(|text| text.split_whitespace());
    let words = words.map(|word| word.trim_start_matches(QUOTES).trim_end_matches(PUNCTUATION).to_lowercase());
    let words: Vec<String> = words.filter(|word| !word.is_empty()).collect();
    let is_telling = |word: &&String| !FILLERS.contains(&word.as_str()) && !word.ends_with("n't");
    let mut telling: Vec<&String> = words.iter().filter(is_telling).collect();
    if telling.is_empty() {
        telling = words.iter().collect();
    }
    telling.into_iter().map(|text| Word::new(text)).collect()
}

impl Word {
    pub(super) fn new(text: &str) -> Word {
        let form = |word: &str, share| Form { stem: stem(word).to_owned(), share };
        let synonym = SYNONYMS.iter().find(|(said, _)| *said == text).map(|(_, written)| form(written, SYNONYM));
        Word { text: text.to_owned(), forms: std::iter::once(form(text, 1.0)).chain(synonym).collect() }
    }

    pub(super) fn is_in(&self, text: &str) -> bool {
        self.score_in(text) > 0.0
    }

    /// How well a paragraph in lower case has it: as a whole word, 1.
    pub(super) fn score_in(&self, text: &str) -> f64 {
        self.best(|stem| match find(stem, text) {
            Match::No => 0.0,
            Match::Beginning => 0.5,
            Match::Whole => 1.0,
            Match::Leading => 1.5,
        })
    }

    /// How well a title in lower case has it: as a whole word, 1.
    pub(super) fn score_in_title(&self, title: &str) -> f64 {
        self.best(|stem| if find(stem, title) >= Match::Whole { 1.0 } else { 0.0 })
    }

    fn best(&self, score: impl Fn(&str) -> f64) -> f64 {
        self.forms.iter().map(|form| form.share * score(&form.stem)).fold(0.0, f64::max)
    }
}

fn find(stem: &str, text: &str) -> Match {
    let in_line = |line: &str| match matched(stem, line) {
        Match::Whole if leads(stem, line) => Match::Leading,
        found => found,
    };
    text.lines().map(in_line).max().unwrap_or(Match::No)
}

fn leads(stem: &str, line: &str) -> bool {
    let is_key = line.contains(" = ") && line.contains("# ");
    if !is_key && !SUBJECT_MARKS.iter().any(|mark| line.starts_with(mark)) {
        return false;
    }
    let begins = |line: &str| line.strip_prefix(stem).is_some_and(ends_word);
    let subjects = line.split(':').next().unwrap_or_default().split('`').skip(1).step_by(2);
    begins(line) || begins(line.trim_start_matches(MARKS)) || subjects.into_iter().any(begins)
}

fn matched(stem: &str, line: &str) -> Match {
    let is_word = stem.starts_with(char::is_alphanumeric);
    let has_more = stem.len() >= MIN_BEGINNING_CHARS && !stem.ends_with(|c: char| c.is_ascii_digit());
    let one = |(at, _): (usize, &str)| {
        let (before, rest) = (&line[..at], &line[at + stem.len()..]);
        match () {
            () if is_word && before.ends_with(char::is_alphanumeric) => Match::No,
            () if rest.starts_with("://") => Match::No,
            () if ends_word(rest) || doubled(stem, rest).is_some_and(ends_word) => Match::Whole,
            () if has_more => Match::Beginning,
            () => Match::No,
        }
    };
    line.match_indices(stem).map(one).max().unwrap_or(Match::No)
}

/// Whether the word ends here, but for one of [`ENDINGS`].
fn ends_word(rest: &str) -> bool {
    let rest = rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    rest.is_empty() || ENDINGS.contains(&rest)
}

/// What follows the last letter where that is doubled: `cancel`, `cancelled`.
fn doubled<'a>(stem: &str, rest: &'a str) -> Option<&'a str> {
    let last = stem.chars().next_back().filter(|last| last.is_alphabetic())?;
    rest.strip_prefix(last)
}

fn stem(word: &str) -> &str {
    if !word.starts_with(char::is_alphanumeric) || word == NO_PLURAL {
        return word;
    }
    let stems = ENDINGS.iter().filter_map(|ending| word.strip_suffix(ending));
    stems.into_iter().find(|stem| stem.chars().count() >= MIN_STEM_CHARS).unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_in_any_form() {
        for (word, stemmed) in [("retries", "retr"), ("retry", "retr"), ("rotated", "rotat"), ("upgrading", "upgrad")] {
            assert_eq!(stem(word), stemmed);
        }
        for word in ["401", "disk", "key", "--files"] {
            assert_eq!(stem(word), word);
        }
        for (word, text) in [("cancel", "was cancelled"), ("rotate", "while rotating"), ("addresses", "an address")] {
            assert_eq!(find(stem(word), text), Match::Whole, "{word}");
        }
    }

    #[test]
    fn a_part_of_a_word_is_another_word() {
        let found = |word: &str, text: &str| find(stem(word), text);
        assert_eq!(found("ping", "shipping"), Match::No);
        assert_eq!(found("mac", "a machine"), Match::No);
        assert_eq!(found("500", "port 5000"), Match::No);
        assert_eq!(found("auth", "with authorization"), Match::Beginning);
        assert_eq!(found("body", "of max_body"), Match::Whole);
        assert_eq!(found("--json", "list --json"), Match::Whole);
    }

    #[test]
    fn an_item_or_a_key_begins_with_its_subject() {
        let found = |word: &str, text: &str| find(stem(word), text);
        assert_eq!(found("401", "- **401**: the signature"), Match::Leading);
        assert_eq!(found("max_body", "[a]\nmax_body = \"25mib\"  # at most"), Match::Leading);
        assert_eq!(found("--since", "--since time: from then on"), Match::Leading);
        assert_eq!(found("password", "- `user` and `password`: as text"), Match::Leading);
        assert_eq!(found("lines", "in\nlines of prose"), Match::Whole);
    }

    #[test]
    fn fillers_of_a_question_are_not_looked_for() {
        let texts = |words: &str| telling(&[words.to_owned()]).into_iter().map(|word| word.text).collect::<Vec<_>>();
        assert_eq!(texts("why 401?"), ["401"]);
        assert_eq!(texts("it doesn't \"Start\"."), ["start"]);
        assert_eq!(texts("why is it").len(), 3);
    }

    #[test]
    fn synonyms_are_sorted() {
        assert!(SYNONYMS.is_sorted() && FILLERS.is_sorted());
    }
}
