//! `hookbox import`: the hooks of adnanh/webhook as a config.

mod command;
mod convert;
mod hook;
mod lenient;
mod reference;
mod rule;
mod secrets;
mod toml;

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::Failure;
use super::args::ImportArgs;
use convert::Conversion;
use hook::Hook;
use secrets::Variable;

/// Far larger than any file of hooks.
const MAX_BYTES: u64 = 4 << 20;

/// Prints the config. Secrets go into a file of their own, if one is named, and nowhere else.
pub(super) fn run(args: &ImportArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let name = args.file.display().to_string();
    let hooks = hooks(&read(&args.file)?).map_err(|why| Failure::usage(format!("{name}: {why}")))?;
    let mut conversion = Conversion::default();
    for (at, hook) in hooks.iter().enumerate() {
        conversion.add(hook, at + 1);
    }
    let variables = &conversion.secrets.variables;
    if let Some(path) = &args.secrets {
        write_secrets(path, variables)?;
    }
    out.write_all(introduction(&name, variables, args.secrets.as_deref()).as_bytes())?;
    Ok(out.write_all(conversion.text.as_bytes())?)
}

fn read(path: &Path) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let is_stdin = path.as_os_str() == "-";
    let input: io::Result<Box<dyn Read>> = if is_stdin {
        Ok(Box::new(io::stdin()))
    } else {
        fs::File::open(path).map(|file| Box::new(file) as Box<dyn Read>)
    };
    let read = input.and_then(|input| input.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|error| Failure::failed(format!("cannot read {}: {error}", path.display())))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Failure::usage(format!(
            "{}: larger than {} MiB: not a file of hooks",
            path.display(),
            MAX_BYTES >> 20
        )));
    }
    String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{}: not UTF-8", path.display())))
}

/// A list of hooks, or one alone.
fn hooks(text: &str) -> Result<Vec<Hook>, String> {
    let json = lenient::json(text);
    if !json.trim_start().starts_with(['[', '{']) {
        return Err("not JSON; if it is YAML, convert it first: yq . hooks.yaml | hookbox import - (Debian's yq; that of snap or Homebrew: yq -o json . hooks.yaml)".to_owned());
    }
    let place = |error: serde_json::Error| {
        let hint = if text.contains("{{") { "; if it is a template of Go, import what it makes" } else { "" };
        format!("{error}{hint}; webhook reads more than JSON: yq . FILE | hookbox import - (Debian's yq)")
    };
    let hooks: Vec<Hook> = match json.trim_start().starts_with('[') {
        true => serde_json::from_str(&json).map_err(place)?,
        false => vec![serde_json::from_str(&json).map_err(place)?],
    };
    if hooks.is_empty() {
        return Err("there is no hook in it".to_owned());
    }
    match hooks.iter().position(|hook| hook.id.is_empty()) {
        Some(at) => Err(format!("hook {} has no id, which webhook refuses too", at + 1)),
        None => Ok(hooks),
    }
}

fn introduction(name: &str, variables: &[Variable], file: Option<&Path>) -> String {
    let mut text = toml::comment(&format!(
        "Made by `hookbox import` from {name}, a file of adnanh/webhook. Read the comments, then try it: hookbox check --config \
         FILE. `hookbox help import` says what differs."
    ));
    text.push_str("#\n# webhook listens on all addresses, port 9000. For the same without a proxy:\n# listen = \"0.0.0.0:9000\"\n");
    if variables.is_empty() {
        return text;
    }
    let place = match file {
        Some(path) => format!(
            "They are in {} now. Start with them: set -a; . {0}; set +a; hookbox serve, or EnvironmentFile={0} in a \
             drop-in of the unit (systemctl edit hookbox).",
            // A relative one would be none for `.` of some shells, nor for systemd.
            std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display()
        ),
        None => {
            "`hookbox import --secrets FILE` writes them into a file for that (EnvironmentFile= of a unit), which only \
                 you can read."
                .to_owned()
        }
    };
    text.push_str("#\n");
    text.push_str(&toml::comment(&format!(
        "The secrets of the hooks are not in here: put each into the environment of hookbox. {place} Or replace env:NAME \
         by file:PATH or credential:NAME (hookbox help systemd)."
    )));
    for Variable { name, value, hook } in variables {
        let missing = if value.is_empty() { ", where it is empty: choose one, and enter it at the sender" } else { "" };
        text.push_str(&toml::comment(&format!("  {name}: the secret of hook {hook:?}{missing}")));
    }
    text
}

/// As a shell and systemd read it.
fn write_secrets(path: &Path, variables: &[Variable]) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        let hint =
            if error.kind() == io::ErrorKind::AlreadyExists { "; name another, it is not overwritten" } else { "" };
        Failure::failed(format!("cannot write {}: {error}{hint}", path.display()))
    };
    if let Some(odd) = variables.iter().find(|variable| variable.value.contains(char::is_control)) {
        let name = &odd.name;
        return Err(Failure::failed(format!(
            "{name}: the secret has a line break or control character, which a variable cannot have in such a file; write it into a file of its own, and file:PATH into the config"
        )));
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let lines: String =
        variables.iter().map(|it| format!("{}='{}'\n", it.name, it.value.replace('\'', "'\\''"))).collect();
    file.write_all(lines.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}
