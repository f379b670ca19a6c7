//! The help of the program and of each command, made from the table of commands, and the chapters of the manual.

pub(super) mod search;

use super::Failure;
use super::args::commands::{self, ABOUT, COMMANDS, COMMON_OPTIONS, CommandSpec, EXAMPLES, EXIT_CODES};
use super::args::option::{OptionSpec, Value};
use super::args::wrong_usage;
use crate::manual::{self, CHAPTERS};
use crate::suggest::closest;

/// Every terminal is at least this wide.
const COLUMNS: usize = 80;

/// Before a line of a list.
const INDENT: usize = 2;

/// Between the two columns of a list.
const GAP: usize = 2;

/// What `--help` prints: the help of the command of this name, or of the program as a whole.
pub fn of(command: Option<&str>) -> String {
    command.and_then(commands::find).map_or_else(of_program, of_command)
}

/// What `hookbox help TOPIC` prints: the help of a command, a chapter of the manual, or both where they have the same name.
/// Without a topic, the help of the program and the list of chapters.
pub fn about(topic: Option<&str>) -> Result<String, Failure> {
    let Some(topic) = topic else {
        let chapters = CHAPTERS.each_ref().map(|chapter| (chapter.name, chapter.summary));
        return Ok(format!("{}\nThe manual, with hookbox help CHAPTER:\n{}", of_program(), list(&chapters)));
    };
    let command = commands::find(topic).map(of_command);
    let chapter = manual::find(topic).map(|chapter| chapter.text.clone());
    if command.is_none() && chapter.is_none() {
        let near = closest(topic, commands::choices(Value::Topic));
        let hint = near.map_or(String::new(), |near| format!("did you mean {near}? "));
        let search = format!("hookbox help lists them, hookbox help --grep {topic} searches them");
        return Err(wrong_usage(format!("no command and no chapter of the manual {topic:?}; {hint}{search}")));
    }
    Ok(command.into_iter().chain(chapter).collect::<Vec<_>>().join("\n"))
}

fn of_program() -> String {
    let commands = COMMANDS.each_ref().map(|command| (command.usage(), command.summary));
    let parts = [
        wrap(ABOUT, 0),
        "Usage: hookbox [OPTIONS] [COMMAND]\n".to_owned(),
        format!("Commands:\n{}", list(&commands)),
        format!("Options, before or after the command:\n{}", options(&COMMON_OPTIONS)),
        format!("Exit codes:\n{}", list(&EXIT_CODES)),
        format!("Examples:\n{}", list(&EXAMPLES)),
    ];
    parts.join("\n")
}

fn of_command(command: &CommandSpec) -> String {
    let usage = command.usages().map(|usage| format!("hookbox {usage} [OPTIONS]\n"));
    let usage = usage.collect::<Vec<_>>().join("       ");
    let options = match command.options {
        [] => "Options: see hookbox --help\n".to_owned(),
        own => format!("Options:\n{}Further options: see hookbox --help\n", options(own)),
    };
    let mut parts = vec![format!("{}.\n", command.summary), format!("Usage: {usage}")];
    parts.extend(command.description.split("\n\n").map(|paragraph| wrap(paragraph, 0)));
    let examples: String = command.examples.iter().map(|example| format!("  {example}\n")).collect();
    parts.extend([options, format!("Examples:\n{examples}")]);
    parts.join("\n")
}

fn options(options: &[OptionSpec]) -> String {
    list(&options.iter().map(|option| (option.usage(), option.help)).collect::<Vec<_>>())
}

/// Two columns, the second of which is wrapped.
fn list(rows: &[(impl AsRef<str>, &str)]) -> String {
    let text_at = INDENT + rows.iter().map(|(name, _)| name.as_ref().len()).max().unwrap_or_default() + GAP;
    let mut lines = String::new();
    for (name, text) in rows {
        let first = format!("{:INDENT$}{}", "", name.as_ref());
        lines.push_str(format!("{first:text_at$}{}", wrap(text, text_at).trim_start()).trim_end());
        lines.push('\n');
    }
    lines
}

/// Lines of at most [`COLUMNS`], each of which begins with `indent` spaces.
pub(super) fn wrap(text: &str, indent: usize) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && indent + line.len() + 1 + word.len() > COLUMNS {
            lines.push_str(&format!("{:indent$}{line}\n", ""));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines + &format!("{:indent$}{line}\n", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> impl Iterator<Item = String> {
        std::iter::once(None).chain(COMMANDS.iter().map(|command| Some(command.name))).map(of)
    }

    #[test]
    fn every_text_fits_a_terminal() {
        for text in texts() {
            for line in text.lines() {
                assert!(line.chars().count() <= COLUMNS && !line.ends_with(' '), "{line}");
            }
            assert!(text.ends_with('\n') && !text.contains("\n\n\n"), "{text}");
        }
    }

    #[test]
    fn every_text_has_its_usage_and_an_example() {
        for text in texts() {
            assert!(text.contains("\nUsage: hookbox") && text.contains("\nExample"), "{text}");
        }
    }

    #[test]
    fn the_program_names_every_command() {
        for command in &COMMANDS {
            assert!(of(None).contains(&format!("\n  {}", command.usage())), "{}", command.name);
        }
    }

    #[test]
    fn a_list_has_two_columns() {
        let rows = [("-a, --all".to_owned(), "word ".repeat(20)), ("-b".to_owned(), String::new())];
        let text = list(&rows.each_ref().map(|(name, text)| (name.clone(), text.as_str())));
        let words = |count| "word ".repeat(count).trim_end().to_owned();
        assert_eq!(text, format!("  -a, --all  {}\n             {}\n  -b\n", words(13), words(7)));
    }
}
