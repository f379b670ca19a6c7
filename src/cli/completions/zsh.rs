//! For zsh: one `_arguments` for what stands before the command, and one for each command.

use super::{brief, filled, lines};
use crate::cli::args::commands::{self, COMMANDS, COMMON_OPTIONS, CommandSpec};
use crate::cli::args::option::{Count, OptionSpec, Value};
use crate::shell::word;

const TEMPLATE: &str = r#"#compdef hookbox
# Completions of hookbox for zsh: put this as _hookbox into a directory of $fpath, or write into ~/.zshrc after compinit:
#   source <(hookbox completions zsh)

_hookbox() {
    local curcontext=$curcontext state line
    local -A opt_args
    local -a common commands
    common=(
@COMMON
    )
    commands=(
@COMMANDS
    )
    _arguments -C $common '1:command:->command' '*::argument:->argument'
    case $state in
        command) _describe -t commands command commands ;;
        argument)
            case $words[1] in
@ARGUMENTS
            esac
            ;;
    esac
}

# As a file of $fpath it is called for the first completion, and only defined where it is sourced.
if [[ $funcstack[1] == _hookbox ]]; then
    _hookbox "$@"
else
    compdef _hookbox hookbox
fi
"#;

pub(super) fn script() -> String {
    let common = COMMON_OPTIONS.iter().map(|one| format!("        {}", option(one)));
    let commands = COMMANDS.iter().map(|command| word(&format!("{}:{}", command.name, command.summary)));
    let commands = commands.map(|command| format!("        {command}"));
    let parts = [
        ("@COMMON", lines(common)),
        ("@COMMANDS", lines(commands)),
        ("@ARGUMENTS", lines(COMMANDS.iter().map(command))),
    ];
    filled(TEMPLATE, &parts)
}

fn command(command: &CommandSpec) -> String {
    let options = command.options.iter().map(option);
    let arguments = command.arguments.iter().map(|argument| {
        let position = if argument.count == Count::Several { "*" } else { "" };
        word(&format!("{position}:{}", value(argument.value)))
    });
    let specs: String = options.chain(arguments).map(|spec| format!(" {spec}")).collect();
    format!("                {}) _arguments $common{specs} ;;", command.name)
}

/// `--limit=[At most so many]:N:`; the value is the next word, or stands after `=`.
fn option(option: &OptionSpec) -> String {
    let help = brief(option.help).replace('[', r"\[").replace(']', r"\]");
    let (equals, value) = option.value.map_or(("", String::new()), |it| ("=", format!(":{}", value(it))));
    let long = format!("--{}", option.long);
    match option.short {
        None => word(&format!("{long}{equals}[{help}]{value}")),
        Some(short) => format!("'(-{short} {long})'{{-{short},{long}}}{}", word(&format!("[{help}]{value}"))),
    }
}

/// `FILE:_files`
fn value(value: Value) -> String {
    let choices = commands::choices(value).join(" ");
    let action = match value {
        Value::File => "_files".to_owned(),
        _ if choices.is_empty() => " ".to_owned(),
        _ => format!("({choices})"),
    };
    format!("{}:{action}", value.name())
}
