//! `hookbox completions`: what a shell needs to complete commands, options and values, made from the table of commands.

mod bash;
mod fish;
mod zsh;

use std::collections::BTreeSet;

use super::args::Shell;
use super::args::commands::options;

/// The script for this shell. It completes without running the program.
pub(super) fn script(shell: Shell) -> String {
    match shell {
        Shell::Bash => bash::script(),
        Shell::Zsh => zsh::script(),
        Shell::Fish => fish::script(),
    }
}

/// The first sentence of a help text: a completion has one line.
fn brief(help: &str) -> &str {
    help.split([';', ':']).next().and_then(|clause| clause.split(". ").next()).unwrap_or_default()
}

/// The options after which a word is a value, sorted.
fn valued() -> BTreeSet<String> {
    options().filter(|option| option.value.is_some()).map(|option| format!("--{}", option.long)).collect()
}

fn words(words: impl IntoIterator<Item = String>) -> String {
    words.into_iter().collect::<Vec<_>>().join(" ")
}

fn lines(lines: impl IntoIterator<Item = String>) -> String {
    lines.into_iter().collect::<Vec<_>>().join("\n")
}

/// Each `(placeholder, text)` put in its place.
fn filled(template: &str, parts: &[(&str, String)]) -> String {
    parts.iter().fold(template.to_owned(), |script, (placeholder, text)| script.replace(placeholder, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::commands::COMMANDS;

    #[test]
    fn every_script_has_all_commands_and_options_and_no_placeholder() {
        for shell in Shell::ALL {
            let script = script(shell);
            let names = COMMANDS.iter().map(|command| command.name).chain(options().map(|option| option.long));
            for name in names {
                assert!(script.contains(name), "{shell:?}: {name}");
            }
            assert!(!script.contains(" @") && script.ends_with('\n'), "{script}");
        }
    }
}
