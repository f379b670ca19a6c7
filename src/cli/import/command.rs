//! What a hook runs: `run` and `directory` of an action.

use std::path::Path;

use super::hook::{Argument, Hook};
use super::reference::{References, literal};

/// The prefix of a variable that has no name of its own.
const ENVIRONMENT_PREFIX: &str = "HOOK_";

/// What of a hook the command gets.
pub struct CommandLine {
    pub run: Vec<String>,
}

/// The command with its arguments, environment and files.
pub fn command_line(hook: &Hook, references: &References<'_>, notes: &mut Vec<String>) -> CommandLine {
    let mut words = vec![program(hook)];
    for argument in hook.pass_arguments_to_command.iter().flatten() {
        words.push(template(argument, references, notes));
    }
    let words = with_environment(hook, references, notes, words);
    CommandLine { run: with_files(hook, references, notes, words) }
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
             the command the secret in another way, such as a file that it reads.",
            argument.name
        ));
    }
    if argument.source == "raw-request-body" || argument.source == "entire-payload" {
        notes.push(
            "An argument has at most 128 KiB (Linux): a larger payload ends the job. The exact body is also the standard \
             input of the command."
                .to_owned(),
        );
    }
    references.template(argument).unwrap_or_else(|why| {
        notes.push(format!("NOT CONVERTED, the command gets an empty text: {why}."));
        String::new()
    })
}

fn with_environment(
    hook: &Hook,
    references: &References<'_>,
    notes: &mut Vec<String>,
    words: Vec<String>,
) -> Vec<String> {
    let mut variables = Vec::new();
    for argument in hook.pass_environment_to_command.iter().flatten() {
        let own = Some(&argument.envname).filter(|name| !name.is_empty()).cloned();
        let name = own.unwrap_or_else(|| format!("{ENVIRONMENT_PREFIX}{}", argument.name));
        if name.is_empty() || name.contains(['=', '\0']) {
            notes.push(format!("NOT CONVERTED: {name:?} cannot be the name of a variable."));
            continue;
        }
        variables.push(format!("{}={}", literal(&name), template(argument, references, notes)));
    }
    if variables.is_empty() {
        return words;
    }
    [vec!["env".to_owned()], variables, words].concat()
}

/// The values are arguments of a shell that writes them into files. Its first argument begins with `=`, so that no value is
/// taken for an option.
fn with_files(hook: &Hook, references: &References<'_>, notes: &mut Vec<String>, words: Vec<String>) -> Vec<String> {
    let files: Vec<&Argument> = hook.pass_file_to_command.iter().flatten().collect();
    if files.is_empty() {
        return words;
    }
    let mut script = "set -e; d=$(mktemp -d); trap 'rm -rf \"$d\"' EXIT".to_owned();
    let mut values = Vec::new();
    for (number, file) in files.into_iter().enumerate() {
        let own = Some(&file.envname).filter(|name| !name.is_empty()).cloned();
        let name = own.unwrap_or_else(|| format!("{ENVIRONMENT_PREFIX}{}", file.name.to_uppercase()));
        let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name(&name) || name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() {
            notes.push(format!("NOT CONVERTED: {name:?} cannot be the name of a variable of a shell."));
            continue;
        }
        let decode = if file.base64decode { " | base64 -d" } else { "" };
        if ["entire-payload", "raw-request-body"].contains(&file.source.as_str()) {
            script.push_str(&format!(
                "; [ -e \"$d/body\" ] || cat > \"$d/body\"; cat \"$d/body\"{decode} > \"$d/{number}\""
            ));
        } else {
            script.push_str(&format!("; printf %s \"${{1#=}}\"{decode} > \"$d/{number}\"; shift"));
            values.push(format!("={}", template(file, references, notes)));
        }
        script.push_str(&format!("; export {name}=\"$d/{number}\""));
    }
    notes.push(
        "The files are in the directory for temporary files ($TMPDIR), not in the working directory, and are removed at \
         the end."
            .to_owned(),
    );
    script.push_str("; \"$@\"");
    [vec!["sh".to_owned(), "-c".to_owned(), literal(&script), "sh".to_owned()], values, words].concat()
}
