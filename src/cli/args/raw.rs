//! The words of a command line, taken apart and not yet understood.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Display;

use lexopt::Arg;

use super::{OPTIONS, UsageError};

/// Options that exist, each at most once, and the words between them in their order.
#[derive(Default)]
pub(super) struct Raw {
    pub(super) words: Vec<OsString>,
    pub(super) flags: Vec<&'static str>,
    pub(super) values: BTreeMap<&'static str, OsString>,
}

impl Raw {
    /// Somebody who asks for help beside an option that does not exist gets help: the unknown option waits until all is
    /// read.
    pub(super) fn read(words: impl IntoIterator<Item = OsString>) -> Result<Raw, UsageError> {
        let mut raw = Raw::default();
        let mut unknown = None;
        let mut parser = lexopt::Parser::from_args(words);
        while let Some(arg) = parser.next().map_err(UsageError::from_lexopt)? {
            let (spelling, name) = match arg {
                Arg::Value(word) => {
                    raw.words.push(word);
                    continue;
                }
                Arg::Short(letter) => (format!("-{letter}"), long_name(letter).to_owned()),
                Arg::Long(name) => (format!("--{name}"), name.to_owned()),
            };
            match OPTIONS.iter().find(|(known, _)| *known == name) {
                Some((name, true)) => raw.add_value(name, parser.value().map_err(UsageError::from_lexopt)?)?,
                Some((name, false)) => raw.add_flag(name)?,
                None => {
                    parser.optional_value();
                    unknown.get_or_insert(UsageError::unknown_option(spelling, &name));
                }
            }
        }
        match unknown {
            Some(error) if !raw.flags.contains(&"help") => Err(error),
            _ => Ok(raw),
        }
    }

    fn add_flag(&mut self, name: &'static str) -> Result<(), UsageError> {
        if self.flags.contains(&name) {
            return Err(UsageError::Repeated(name));
        }
        self.flags.push(name);
        Ok(())
    }

    fn add_value(&mut self, name: &'static str, value: OsString) -> Result<(), UsageError> {
        match self.values.insert(name, value) {
            None => Ok(()),
            Some(_) => Err(UsageError::Repeated(name)),
        }
    }

    pub(super) fn flag(&mut self, name: &'static str) -> bool {
        let given = self.flags.len();
        self.flags.retain(|flag| *flag != name);
        self.flags.len() < given
    }

    pub(super) fn value(&mut self, name: &'static str) -> Option<OsString> {
        self.values.remove(name)
    }

    pub(super) fn parsed<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, UsageError> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let bad = |reason| UsageError::BadValue { option: name, reason };
        let text = value.to_str().ok_or_else(|| bad("the value is not UTF-8".to_owned()))?;
        parse(text).map(Some).map_err(|error| bad(error.to_string()))
    }

    /// The next word. One that is no UTF-8 names nothing we have, and the message about that needs it readable.
    pub(super) fn word(&mut self) -> Option<String> {
        if self.words.is_empty() {
            return None;
        }
        Some(self.words.remove(0).to_string_lossy().into_owned())
    }
}

fn long_name(letter: char) -> &'static str {
    match letter {
        'h' => "help",
        'V' => "version",
        _ => "",
    }
}
