//! For fish: one `complete` for each command, option and argument.

use super::{brief, filled, lines, valued, words};
use crate::cli::args::commands::{self, COMMANDS, COMMON_OPTIONS};
use crate::cli::args::option::{OptionSpec, Value};

const TEMPLATE: &str = r#"# Completions of hookbox for fish:
#   hookbox completions fish > ~/.config/fish/completions/hookbox.fish

# True if this is the command that is given before the cursor; an empty one is none.
function __hookbox_is
    set -l words (commandline -opc)
    set -e words[1]
    while set -q words[1]
        switch $words[1]
            case @VALUED
                set -e words[1]
                set -q words[1]; and set -e words[1]
            case '-*'
                set -e words[1]
            case '*'
                break
        end
    end
    test "$words[1]" = "$argv[1]"
end

complete -c hookbox -f
@COMPLETIONS
"#;

pub(super) fn script() -> String {
    let mut completions: Vec<String> = COMMON_OPTIONS.iter().map(|one| option("", one)).collect();
    for command in &COMMANDS {
        completions.push(format!("-n '__hookbox_is \"\"' -a {} -d {}", command.name, quoted(command.summary)));
        let when = format!("-n '__hookbox_is {}' ", command.name);
        completions.extend(command.options.iter().map(|one| option(&when, one)));
        completions.extend(command.arguments.first().map(|argument| format!("{when}{}", value(argument.value))));
    }
    let completions = completions.iter().map(|completion| format!("complete -c hookbox {completion}"));
    filled(TEMPLATE, &[("@VALUED", words(valued())), ("@COMPLETIONS", lines(completions))])
}

fn option(when: &str, option: &OptionSpec) -> String {
    let short = option.short.map_or(String::new(), |short| format!(" -s {short}"));
    let value = option.value.map_or(String::new(), |it| format!(" -r {}", value(it)));
    format!("{when}-l {}{short}{value} -d {}", option.long, quoted(brief(option.help)))
}

fn value(value: Value) -> String {
    match value {
        Value::File => "-F".to_owned(),
        _ => format!("-f -a '{}'", commands::choices(value).join(" ")),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"\'"))
}
