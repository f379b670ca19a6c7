//! What a row of the table of commands says. The parser, the help, the completions and the man page read it.

use crate::cli::Failure;
use crate::cli::args::Command;
use crate::cli::args::option::{ArgumentSpec, OptionSpec};
use crate::cli::args::raw::Raw;

/// One command.
#[derive(Debug)]
pub struct CommandSpec {
    pub name: &'static str,
    /// What it does, as an instruction, without a full stop; fits into the list of commands.
    pub summary: &'static str,
    pub arguments: &'static [ArgumentSpec],
    /// Further ways to call it, after its name, beside the one that follows from its arguments.
    pub also: &'static [&'static str],
    /// Those of its own, beside the common ones.
    pub options: &'static [OptionSpec],
    /// Paragraphs, with an empty line between two.
    pub description: &'static str,
    pub examples: &'static [&'static str],
    /// Takes its options and arguments out of the words of the command line.
    pub parse: fn(&mut Raw) -> Result<Command, Failure>,
}

/// The start of a row: a command without arguments, options and description.
pub const fn command(
    name: &'static str,
    summary: &'static str,
    parse: fn(&mut Raw) -> Result<Command, Failure>,
) -> CommandSpec {
    CommandSpec { name, summary, arguments: &[], also: &[], options: &[], description: "", examples: &[], parse }
}

impl CommandSpec {
    pub const fn arguments(self, arguments: &'static [ArgumentSpec]) -> CommandSpec {
        CommandSpec { arguments, ..self }
    }

    pub const fn also(self, also: &'static [&'static str]) -> CommandSpec {
        CommandSpec { also, ..self }
    }

    pub const fn options(self, options: &'static [OptionSpec]) -> CommandSpec {
        CommandSpec { options, ..self }
    }

    pub const fn description(self, description: &'static str) -> CommandSpec {
        CommandSpec { description, ..self }
    }

    pub const fn examples(self, examples: &'static [&'static str]) -> CommandSpec {
        CommandSpec { examples, ..self }
    }

    /// `show ID`
    pub fn usage(&self) -> String {
        let arguments = self.arguments.iter().map(|argument| format!(" {}", argument.usage()));
        self.name.to_owned() + &arguments.collect::<String>()
    }

    /// Every way to call it.
    pub fn usages(&self) -> impl Iterator<Item = String> {
        std::iter::once(self.usage()).chain(self.also.iter().map(|also| format!("{} {also}", self.name)))
    }
}
