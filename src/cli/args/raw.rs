//! The words of a command line, split into options and arguments.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Display;

use lexopt::Arg;

use super::option::OptionSpec;
use crate::cli::Failure;
use crate::suggest::closest;

/// Options that exist, each at most once, and the words between them in their order. Each is taken out where it is read, so
/// that what is left at the end does not belong to the command.
pub struct Raw {
    pub(super) command: &'static str,
    words: Vec<OsString>,
    /// Without a value: a switch.
    options: BTreeMap<&'static str, Option<OsString>>,
    /// What is wrong with the first option that does not exist.
    unknown: Option<String>,
}

impl Raw {
    /// `options` are all that exist. An unknown one is no error where help is asked for, and its error names the command, so
    /// [`Raw::check_options`] reports it.
    pub(super) fn read(
        words: impl IntoIterator<Item = OsString>,
        options: impl Iterator<Item = &'static OptionSpec> + Clone,
    ) -> Result<Raw, Failure> {
        let mut raw = Raw { command: "", words: Vec::new(), options: BTreeMap::new(), unknown: None };
        let mut parser = lexopt::Parser::from_args(words);
        while let Some(arg) = parser.next().map_err(wrong_usage)? {
            let (spelling, found) = match arg {
                Arg::Value(word) => {
                    raw.words.push(word);
                    continue;
                }
                Arg::Short(letter) => (format!("-{letter}"), options.clone().find(|one| one.short == Some(letter))),
                Arg::Long(name) => (format!("--{name}"), options.clone().find(|one| one.long == name)),
            };
            match found {
                Some(option) => {
                    let value = option.value.map(|_| parser.value()).transpose().map_err(wrong_usage)?;
                    if raw.options.insert(option.long, value).is_some() {
                        let twice = format!("--{} is given twice; take one of them out", option.long);
                        return Err(wrong_usage(twice));
                    }
                }
                None => {
                    parser.optional_value();
                    raw.unknown.get_or_insert_with(|| unknown_option(&spelling, options.clone()));
                }
            }
        }
        Ok(raw)
    }

    pub(super) fn switch(&mut self, name: &'static str) -> bool {
        self.options.remove(name).is_some()
    }

    pub(super) fn value(&mut self, name: &'static str) -> Option<OsString> {
        self.options.remove(name).flatten()
    }

    pub(super) fn parsed<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Failure> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let text = value.to_str().ok_or_else(|| self.wrong_value(name, "the value is not UTF-8"))?;
        parse(text).map(Some).map_err(|error| self.wrong_value(name, error))
    }

    /// The next word as it was written: the name of a file need not be UTF-8.
    pub(super) fn os_word(&mut self) -> Option<OsString> {
        (!self.words.is_empty()).then(|| self.words.remove(0))
    }

    /// The next word. One that is not UTF-8 names nothing; it is readable in the error about that.
    pub(super) fn word(&mut self) -> Option<String> {
        self.os_word().map(|word| word.to_string_lossy().into_owned())
    }

    /// The next argument of the command, which needs `what`.
    pub(super) fn argument(&mut self, what: &str) -> Result<String, Failure> {
        self.word().ok_or_else(|| self.missing(what))
    }

    pub(super) fn missing(&self, what: &str) -> Failure {
        self.wrong(&format!("needs {what}"))
    }

    pub(super) fn wrong_argument(&self, reason: impl Display) -> Failure {
        let command = self.command;
        Failure::usage(format!("{command}: {reason}\nsee hookbox {command} --help"))
    }

    fn wrong(&self, what: &str) -> Failure {
        let command = self.command;
        Failure::usage(format!("{command} {what}\nsee hookbox {command} --help"))
    }

    pub(super) fn wrong_value(&self, option: &str, reason: impl Display) -> Failure {
        self.wrong_option(format!("--{option}: {reason}"))
    }

    /// The reason, and the command that explains the option. What is read before the command is an option of all commands.
    pub(super) fn wrong_option(&self, reason: impl Display) -> Failure {
        match self.command {
            "" => wrong_usage(reason),
            command => Failure::usage(format!("{reason}\nsee hookbox {command} --help")),
        }
    }

    /// Errs with the first option that does not exist.
    pub(super) fn check_options(&self) -> Result<(), Failure> {
        self.unknown.as_ref().map_or(Ok(()), |unknown| Err(self.wrong_option(unknown)))
    }

    /// Errs with the first word or option that the command has not taken.
    pub(super) fn check_nothing_is_left(&mut self) -> Result<(), Failure> {
        if let Some(word) = self.word() {
            return Err(self.wrong(&format!("does not take {word:?}")));
        }
        match self.options.keys().next() {
            Some(option) => Err(self.wrong(&format!("takes no --{option}"))),
            None => Ok(()),
        }
    }
}

/// The reason, and the command that prints the help.
pub fn wrong_usage(reason: impl Display) -> Failure {
    Failure::usage(format!("{reason}\nsee hookbox --help"))
}

fn unknown_option(spelling: &str, known: impl Iterator<Item = &'static OptionSpec>) -> String {
    let near = spelling.strip_prefix("--").and_then(|name| closest(name, known.map(|one| one.long)));
    let hint = near.map_or(String::new(), |near| format!("; did you mean --{near}?"));
    format!("unknown option {spelling}{hint}")
}
