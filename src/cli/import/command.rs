//! What a hook runs: `run`, `stdin` and `env` of an action.

use std::path::Path;

use super::hook::{Argument, Hook};
use super::reference::{References, literal, quoted};
use crate::action::Variable;

/// The prefix of a variable that has no name of its own.
const ENVIRONMENT_PREFIX: &str = "HOOK_";

/// What a command gets of a delivery.
#[derive(Default)]
pub struct CommandLine {
    pub run: Vec<String>,
    /// A template; `None`: the exact body.
    pub stdin: Option<String>,
    /// Templates by name, each name once.
    pub env: Vec<(String, String)>,
}

/// The command with its arguments, environment and files. Webhook leaves the standard input empty.
pub fn command_line(hook: &Hook, references: &References<'_>, notes: &mut Vec<String>) -> CommandLine {
    let mut run = vec![program(hook)];
    for argument in hook.pass_arguments_to_command.iter().flatten() {
        run.push(template(argument, references, notes));
    }
    let mut command = CommandLine { run, stdin: Some(String::new()), env: Vec::new() };
    for argument in hook.pass_environment_to_command.iter().flatten() {
        let own = Some(&argument.envname).filter(|name| !name.is_empty()).cloned();
        let name = own.unwrap_or_else(|| format!("{ENVIRONMENT_PREFIX}{}", argument.name));
        let value = template(argument, references, notes);
        command.set(name, value, notes);
    }
    command.take_files(hook, references, notes);
    command
}

/// webhook looks for a relative program in the working directory.
fn program(hook: &Hook) -> String {
    let directory = &hook.command_working_directory;
    let program = match directory.is_empty() {
        true => hook.execute_command.clone(),
        false => Path::new(directory).join(&hook.execute_command).display().to_string(),
    };
    literal(&program)
}

fn template(argument: &Argument, references: &References<'_>, notes: &mut Vec<String>) -> String {
    if argument.source == "header" && crate::provider::is_secret_header(&argument.name.to_lowercase()) {
        notes.push(format!(
            "The command gets `[redacted]` for the header {}: hookbox does not store headers that carry a secret. Give \
             the command the secret in another way, such as env = {{ NAME = \"env:NAME\" }}.",
            argument.name
        ));
    }
    let note = match argument.source.as_str() {
        "entire-payload" => {
            "entire-payload: the JSON is as it was sent (webhook sorts it), and an array has no {\"root\": ...} around it."
        }
        "entire-headers" => "entire-headers: names are in lower case, and secrets are `[redacted]`.",
        _ => "",
    };
    notes.extend((!note.is_empty()).then(|| note.to_owned()));
    references.template(argument).unwrap_or_else(|why| {
        notes.push(format!("NOT CONVERTED, the command gets an empty text: {why}."));
        String::new()
    })
}

/// Whether Linux limits its size as that of one argument.
fn is_large(argument: &Argument) -> bool {
    ["raw-request-body", "entire-payload"].contains(&argument.source.as_str())
}

impl CommandLine {
    /// Of two variables with the same name, a program sees the last. `None`: it cannot be one, and has a note.
    fn set(&mut self, name: String, template: String, notes: &mut Vec<String>) -> Option<String> {
        let template =
            if is_secret_reference(&template) { format!("{{{{ {} }}}}", quoted(&template)) } else { template };
        let name = match Variable::parse(&name, &template) {
            Ok(_) => name,
            Err(why) => {
                let other = other_name(&name);
                if let Err(why) = Variable::parse(&other, &template) {
                    notes.push(format!("NOT CONVERTED: the variable {name:?}: {why}."));
                    return None;
                }
                notes.push(format!("The variable {name:?} is {other} here; read that one in the command: {why}."));
                other
            }
        };
        self.env.retain(|(known, _)| *known != name);
        self.env.push((name.clone(), template));
        Some(name)
    }

    /// A shell writes the files and removes them at the end. One has the standard input as its content; of the others, the
    /// variable has the content until it has the name of the file.
    fn take_files(&mut self, hook: &Hook, references: &References<'_>, notes: &mut Vec<String>) {
        let files: Vec<&Argument> = hook.pass_file_to_command.iter().flatten().collect();
        let exact = files.iter().position(|file| file.source == "raw-request-body");
        let by_stdin = exact.unwrap_or_default();
        let mut script = script_start(hook);
        for (number, file) in files.iter().enumerate() {
            let own = Some(&file.envname).filter(|name| !name.is_empty()).cloned();
            let name = own.unwrap_or_else(|| format!("{ENVIRONMENT_PREFIX}{}", file.name.to_uppercase()));
            let content = template(file, references, notes);
            let Some(name) = self.set(shell_name(&name, notes), content.clone(), notes) else { continue };
            let write = if number == by_stdin {
                self.env.retain(|(known, _)| *known != name);
                self.stdin = (exact.is_none()).then_some(content);
                "cat".to_owned()
            } else {
                if is_large(file) {
                    notes.push(format!("{name}: only one file can be larger than 128 KiB, and that is another."));
                }
                format!("printf %s \"${name}\"")
            };
            let decode = if file.base64decode { " | base64 -d" } else { "" };
            script.push_str(&format!("; {write}{decode} > \"$d/{number}\"; export {name}=\"$d/{number}\""));
        }
        if !files.is_empty() {
            script.push_str("; \"$@\"");
            let shell = ["sh".to_owned(), "-c".to_owned(), literal(&script), "sh".to_owned()];
            self.run = [&shell[..], &self.run].concat();
        }
    }

    /// What Linux refuses where it is large.
    pub fn has_large_argument(hook: &Hook) -> bool {
        let both = [&hook.pass_arguments_to_command, &hook.pass_environment_to_command];
        both.into_iter().flatten().flatten().any(is_large)
    }
}

/// Like webhook, in the working directory, if the hook has one. A signal ends the shell without its trap for the end.
fn script_start(hook: &Hook) -> String {
    let place = if hook.command_working_directory.is_empty() { "" } else { " -p \"$PWD\"" };
    format!("set -e; d=$(mktemp -d{place}); trap 'rm -rf \"$d\"' EXIT; trap 'exit 143' TERM")
}

/// A name that a shell can write.
fn shell_name(name: &str, notes: &mut Vec<String>) -> String {
    let is_kept = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.chars().all(is_kept) {
        return name.to_owned();
    }
    let kept: String = name.chars().map(|c| if is_kept(c) { c } else { '_' }).collect();
    notes.push(format!("The variable {name:?} is {kept} here; read that one in the command."));
    kept
}

/// Where hookbox does not take the name itself.
fn other_name(name: &str) -> String {
    let is_kept = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let kept: String = name.chars().map(|c| if is_kept(c) { c } else { '_' }).collect();
    format!("{ENVIRONMENT_PREFIX}{}", kept.strip_prefix(ENVIRONMENT_PREFIX).unwrap_or(&kept))
}

/// Whether hookbox would take it for the place of a secret.
fn is_secret_reference(template: &str) -> bool {
    ["env:", "file:", "credential:"].iter().any(|prefix| template.starts_with(prefix))
}
