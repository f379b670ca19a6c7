//! For bash from version 4 on.

use super::{filled, lines, valued, words};
use crate::cli::args::commands::{self, COMMANDS, COMMON_OPTIONS, CommandSpec};
use crate::cli::args::option::{OptionSpec, Value};

const TEMPLATE: &str = r#"# Completions of hookbox for bash: put this into /etc/bash_completion.d/hookbox, or write into ~/.bashrc:
#   source <(hookbox completions bash)

_hookbox_words() {
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}

_hookbox_files() {
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen -f -- "$1")
}

_hookbox() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command='' i
    COMPREPLY=()
    # In --option=value the three parts are words.
    if [[ $current == '=' ]]; then
        current=''
    elif [[ $previous == '=' && COMP_CWORD -ge 2 ]]; then
        previous=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            @VALUED)
                [[ ${COMP_WORDS[i + 1]} == '=' ]] && ((i++))
                ((i++))
                ;;
            -* | '=') ;;
            *)
                command=${COMP_WORDS[i]}
                break
                ;;
        esac
    done
    case "$command $previous" in
@VALUES
    esac
    if [[ $current == -* ]]; then
        case $command in
@OPTIONS
            *) _hookbox_words '@COMMON' "$current" ;;
        esac
        return
    fi
    case $command in
        '') _hookbox_words '@COMMANDS' "$current" ;;
@ARGUMENTS
    esac
}

complete -F _hookbox hookbox
"#;

pub(super) fn script() -> String {
    let own = |command: &'static CommandSpec| command.options.iter().map(move |option| (command.name, option));
    let common = COMMON_OPTIONS.iter().map(|option| ("*", option));
    let values = COMMANDS.iter().flat_map(own).chain(common).filter_map(|(command, option)| value(command, option));
    let options = COMMANDS.iter().filter(|command| !command.options.is_empty()).map(|command| {
        let options = words(command.options.iter().chain(&COMMON_OPTIONS).map(long));
        format!("            {}) _hookbox_words '{options}' \"$current\" ;;", command.name)
    });
    let arguments = COMMANDS.iter().filter_map(|command| {
        let complete = complete(command.arguments.first()?.value)?;
        Some(format!("        {}) {complete} ;;", command.name))
    });
    let parts = [
        ("@VALUED", valued().into_iter().collect::<Vec<_>>().join(" | ")),
        ("@VALUES", lines(values)),
        ("@OPTIONS", lines(options)),
        ("@COMMON", words(COMMON_OPTIONS.iter().map(long))),
        ("@COMMANDS", words(COMMANDS.iter().map(|command| command.name.to_owned()))),
        ("@ARGUMENTS", lines(arguments)),
    ];
    filled(TEMPLATE, &parts)
}

/// What to do after an option that takes a value.
fn value(command: &str, option: &OptionSpec) -> Option<String> {
    let complete = complete(option.value?).map_or(String::new(), |complete| format!("{complete}; "));
    Some(format!("        {command}' --{}') {complete}return ;;", option.long))
}

fn complete(value: Value) -> Option<String> {
    match value {
        Value::File => Some("_hookbox_files \"$current\"".to_owned()),
        _ => {
            let choices = commands::choices(value).join(" ");
            (!choices.is_empty()).then(|| format!("_hookbox_words '{choices}' \"$current\""))
        }
    }
}

fn long(option: &OptionSpec) -> String {
    format!("--{}", option.long)
}
