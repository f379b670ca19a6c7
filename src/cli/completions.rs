//! `hookbox completions`: what a shell needs to complete commands, options and values, made from the table of commands.

use std::collections::BTreeSet;

use super::args::commands::{COMMANDS, COMMON_OPTIONS, CommandSpec, choices, options};
use super::args::option::{Count, OptionSpec, Value};
use super::args::{NameKind, Shell};
use crate::config::Config;
use crate::shell::word;

/// From version 4 on.
const BASH: &str = r#"# Completions of hookbox for bash: put this into /etc/bash_completion.d/hookbox, or write into ~/.bashrc:
#   source <(hookbox completions bash)

_hookbox_words() {
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}

_hookbox_files() {
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen -f -- "$1")
}

# Of the config that the line names, as far as it is written.
_hookbox_names() {
    local config=() file at i
    for ((i = 1; i < COMP_CWORD; i++)); do
        [[ ${COMP_WORDS[i]} == --config ]] || continue
        at=$((i + 1))
        [[ ${COMP_WORDS[at]} == '=' ]] && ((at++))
        # As it is typed, with quotes.
        file=${COMP_WORDS[at]//[\\\"\']/}
        config=(--config "${file/#~\//$HOME/}")
    done
    "${COMP_WORDS[0]}" "${config[@]}" completions "$1" 2> /dev/null
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

/// One `_arguments` for the words before the command, and one for each command.
const ZSH: &str = r#"#compdef hookbox
# Completions of hookbox for zsh: put this as _hookbox into a directory of $fpath, or write into ~/.zshrc after compinit:
#   source <(hookbox completions zsh)

# Of the config that the line names.
_hookbox_names() {
    local -a names
    # It may also stand after the command. As it is typed, with quotes.
    local file=${(Q)${(Q)opt_args[--config]}:-$config}
    names=(${(f)"$(hookbox ${file:+--config} ${file:+${~file}} completions $1 2> /dev/null)"})
    compadd -a names
}

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
    # The options behind the command belong to it.
    _arguments -C -A '-*' $common '1:command:->command' '*::argument:->argument'
    case $state in
        command) _describe -t commands command commands ;;
        argument)
            local config=${(Q)opt_args[--config]}
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

/// One `complete` for each command, option and argument.
const FISH: &str = r#"# Completions of hookbox for fish:
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

# Of the config that the line names.
function __hookbox_names
    set -l words (commandline -opc)
    set -l config
    for i in (seq (count $words))
        if string match -q -- '--config=*' $words[$i]
            set config $words[$i]
        else if test $words[$i] = --config; and test $i -lt (count $words)
            set config --config (string replace -r '^~/' "$HOME/" -- $words[(math $i + 1)])
        end
    end
    command hookbox $config completions $argv[1] 2> /dev/null
end

complete -c hookbox -f
@COMPLETIONS
"#;

/// The script for this shell. It runs the program only for the names in the config.
pub(super) fn script(shell: Shell) -> String {
    match shell {
        Shell::Bash => bash(),
        Shell::Zsh => zsh(),
        Shell::Fish => fish(),
    }
}

/// The names of this kind in the config, one a line; none where it cannot be read: a completion says nothing.
pub(super) fn names(config: Option<&Config>, kind: NameKind) -> String {
    let Some(config) = config else { return String::new() };
    let lines = |names: Vec<&String>| names.into_iter().map(|name| format!("{name}\n")).collect();
    match kind {
        NameKind::Sources => lines(config.sources.keys().collect()),
        NameKind::Actions => lines(config.actions.keys().collect()),
    }
}

/// Those that a value is one of.
fn named(value: Value) -> Option<NameKind> {
    match value {
        Value::Source => Some(NameKind::Sources),
        Value::Action => Some(NameKind::Actions),
        _ => None,
    }
}

fn bash() -> String {
    let own = |command: &'static CommandSpec| command.options.iter().map(move |option| (command.name, option));
    let common = COMMON_OPTIONS.iter().map(|option| ("*", option));
    let values =
        COMMANDS.iter().flat_map(own).chain(common).filter_map(|(command, option)| bash_value(command, option));
    let options = COMMANDS.iter().filter(|command| !command.options.is_empty()).map(|command| {
        let options = joined(command.options.iter().chain(&COMMON_OPTIONS).map(long), " ");
        format!("            {}) _hookbox_words '{options}' \"$current\" ;;", command.name)
    });
    let arguments = COMMANDS.iter().filter_map(|command| {
        let complete = bash_action(command.arguments.first()?.1)?;
        Some(format!("        {}) {complete} ;;", command.name))
    });
    let parts = [
        ("@VALUED", joined(valued(), " | ")),
        ("@VALUES", joined(values, "\n")),
        ("@OPTIONS", joined(options, "\n")),
        ("@COMMON", joined(COMMON_OPTIONS.iter().map(long), " ")),
        ("@COMMANDS", joined(COMMANDS.iter().map(|command| command.name.to_owned()), " ")),
        ("@ARGUMENTS", joined(arguments, "\n")),
    ];
    filled(BASH, &parts)
}

/// What to do after an option that takes a value.
fn bash_value(command: &str, option: &OptionSpec) -> Option<String> {
    let complete = bash_action(option.value?).map_or(String::new(), |complete| format!("{complete}; "));
    Some(format!("        {command}' --{}') {complete}return ;;", option.long))
}

fn bash_action(value: Value) -> Option<String> {
    if let Some(kind) = named(value) {
        return Some(format!("_hookbox_words \"$(_hookbox_names {})\" \"$current\"", kind.as_str()));
    }
    match value {
        Value::File => Some("_hookbox_files \"$current\"".to_owned()),
        _ => {
            let choices = choices(value).join(" ");
            (!choices.is_empty()).then(|| format!("_hookbox_words '{choices}' \"$current\""))
        }
    }
}

fn long(option: &OptionSpec) -> String {
    format!("--{}", option.long)
}

fn zsh() -> String {
    let common = COMMON_OPTIONS.iter().map(|one| format!("        {}", zsh_option(one)));
    let commands = COMMANDS.iter().map(|command| word(&format!("{}:{}", command.name, command.summary)));
    let commands = commands.map(|command| format!("        {command}"));
    let parts = [
        ("@COMMON", joined(common, "\n")),
        ("@COMMANDS", joined(commands, "\n")),
        ("@ARGUMENTS", joined(COMMANDS.iter().map(zsh_command), "\n")),
    ];
    filled(ZSH, &parts)
}

fn zsh_command(command: &CommandSpec) -> String {
    let options = command.options.iter().map(zsh_option);
    let arguments = command.arguments.iter().map(|(count, value)| {
        let position = if matches!(count, Count::Several | Count::AnyNumber) { "*" } else { "" };
        word(&format!("{position}:{}", zsh_value(*value)))
    });
    let specs: String = options.chain(arguments).map(|spec| format!(" {spec}")).collect();
    format!("                {}) _arguments $common{specs} ;;", command.name)
}

/// `--limit=[At most so many]:N:`; the value is the next word, or stands after `=`.
fn zsh_option(option: &OptionSpec) -> String {
    let help = brief(option.help).replace('[', r"\[").replace(']', r"\]");
    let (equals, value) = option.value.map_or(("", String::new()), |it| ("=", format!(":{}", zsh_value(it))));
    let long = long(option);
    match option.short {
        None => word(&format!("{long}{equals}[{help}]{value}")),
        Some(short) => format!("'(-{short} {long})'{{-{short},{long}}}{}", word(&format!("[{help}]{value}"))),
    }
}

/// `FILE:_files`
fn zsh_value(value: Value) -> String {
    let choices = choices(value).join(" ");
    let names = named(value).map(|kind| format!("{{_hookbox_names {}}}", kind.as_str()));
    let action = names.unwrap_or_else(|| match value {
        Value::File => "_files".to_owned(),
        _ if choices.is_empty() => " ".to_owned(),
        _ => format!("({choices})"),
    });
    format!("{}:{action}", value.name())
}

fn fish() -> String {
    let mut completions: Vec<String> = COMMON_OPTIONS.iter().map(|one| fish_option("", one)).collect();
    for command in &COMMANDS {
        completions.push(format!("-n '__hookbox_is \"\"' -a {} -d {}", command.name, quoted(command.summary)));
        let when = format!("-n '__hookbox_is {}' ", command.name);
        completions.extend(command.options.iter().map(|one| fish_option(&when, one)));
        completions.extend(command.arguments.first().map(|(_, value)| format!("{when}{}", fish_value(*value))));
    }
    let completions = completions.iter().map(|completion| format!("complete -c hookbox {completion}"));
    filled(FISH, &[("@VALUED", joined(valued(), " ")), ("@COMPLETIONS", joined(completions, "\n"))])
}

fn fish_option(when: &str, option: &OptionSpec) -> String {
    let short = option.short.map_or(String::new(), |short| format!(" -s {short}"));
    let value = option.value.map_or(String::new(), |it| format!(" -r {}", fish_value(it)));
    format!("{when}-l {}{short}{value} -d {}", option.long, quoted(brief(option.help)))
}

fn fish_value(value: Value) -> String {
    if let Some(kind) = named(value) {
        return format!("-f -a '(__hookbox_names {})'", kind.as_str());
    }
    match value {
        Value::File => "-F".to_owned(),
        _ => format!("-f -a '{}'", choices(value).join(" ")),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"\'"))
}

/// The first sentence of a help text: a completion has one line.
fn brief(help: &str) -> &str {
    help.split([';', ':']).next().and_then(|clause| clause.split(". ").next()).unwrap_or_default()
}

/// The options after which a word is a value, sorted.
fn valued() -> BTreeSet<String> {
    options().filter(|option| option.value.is_some()).map(long).collect()
}

fn joined(parts: impl IntoIterator<Item = String>, separator: &str) -> String {
    parts.into_iter().collect::<Vec<_>>().join(separator)
}

/// Each `(placeholder, text)` put in its place.
fn filled(template: &str, parts: &[(&str, String)]) -> String {
    parts.iter().fold(template.to_owned(), |script, (placeholder, text)| script.replace(placeholder, text))
}

#[cfg(test)]
mod tests {
    use super::*;

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
