//! What of a configured action is probably a mistake, although it is valid.

use std::path::Path;

use super::{ActionKind, Command, Http, Slack, Variable, program};
use crate::secret::{self, SecretRef};
use crate::template::Template;

/// The programs that understand the words in [`OPERATORS`].
const SHELLS: [&str; 8] = ["sh", "bash", "dash", "ash", "zsh", "ksh", "fish", "busybox"];

/// Words that only a shell understands.
const OPERATORS: [&str; 9] = ["&&", "||", "|", ">", ">>", "<", "&", "2>", "2>&1"];

/// A key of the action, and what is probably wrong with its value.
#[derive(Debug, PartialEq, Eq)]
pub struct Doubt {
    pub key: String,
    pub text: String,
}

impl Doubt {
    fn new(key: impl Into<String>, text: impl Into<String>) -> Doubt {
        Doubt { key: key.into(), text: text.into() }
    }
}

impl ActionKind {
    pub fn doubts(&self) -> Vec<Doubt> {
        match self {
            // `doctor` asks the engines themselves.
            ActionKind::Log | ActionKind::Nats(_) | ActionKind::Redis(_) => Vec::new(),
            ActionKind::Slack(slack) => of_slack(slack),
            ActionKind::Http(http) => of_http(http),
            ActionKind::Command(command) => of_command(command),
        }
    }
}

fn of_slack(slack: &Slack) -> Vec<Doubt> {
    let texts = [("text", &slack.text), ("blocks", &slack.blocks)].into_iter();
    let texts = texts.filter_map(|(key, template)| of_template(key, template.as_ref()?));
    of_value("url", &slack.url).into_iter().chain(texts).collect()
}

fn of_http(http: &Http) -> Vec<Doubt> {
    let headers = http.headers.iter().filter_map(|(name, value)| of_value(&format!("headers.{name}"), value));
    let sign = http.sign.iter().filter_map(|secret| of_value("sign", secret));
    let body = http.body.iter().filter_map(|body| of_template("body", body));
    of_value("url", &http.url).into_iter().chain(headers).chain(sign).chain(body).collect()
}

fn of_value(key: &str, value: &SecretRef) -> Option<Doubt> {
    value.doubt().map(|text| Doubt::new(key, text))
}

/// A reference is never replaced in such a text.
fn of_template(key: &str, template: &Template) -> Option<Doubt> {
    let text = "a reference is not replaced in this text, and is passed on as it stands: a key that takes one must have it alone";
    secret::doubt_in_text(template.source()).then(|| Doubt::new(key, text))
}

fn of_command(command: &Command) -> Vec<Doubt> {
    let directory = command.directory.as_deref();
    let missing = directory.filter(|path| !path.is_dir());
    let missing = missing.map(|path| {
        let path = path.display();
        Doubt::new("directory", format!("there is no directory {path}: mkdir {path}, or correct the path"))
    });
    let Some((first, arguments)) = command.run.split_first() else { return Vec::new() };
    let problem = command.search_path().and_then(|path| program::problem(first.source(), directory, &path));
    let problem = problem.map(|text| Doubt::new("run", text));
    let stdin = command.stdin.iter().filter_map(|stdin| of_template("stdin", stdin));
    let variables = command.env.iter().filter_map(of_variable);
    let doubt = if is_shell(first.source()) { None } else { arguments.iter().find_map(of_argument) };
    missing.into_iter().chain(problem).chain(doubt).chain(stdin).chain(variables).collect()
}

fn of_variable(variable: &Variable) -> Option<Doubt> {
    let text = "a reference is replaced only where it is the whole value, and no shell replaces $NAME: write \"env:NAME\" alone";
    variable.fixed().is_some_and(secret::doubt_in_text).then(|| Doubt::new(format!("env.{}", variable.name), text))
}

/// A shell takes them as an argument of its own, and others pass on what they get.
fn is_shell(program: &str) -> bool {
    let name = Path::new(program).file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| SHELLS.contains(&name))
}

fn of_argument(argument: &Template) -> Option<Doubt> {
    let text = argument.source();
    let is_for_a_shell =
        OPERATORS.contains(&text) || text.starts_with("~/") || secret::begins_with_variable(text).is_some();
    if is_for_a_shell {
        return Some(Doubt::new(
            "run",
            format!(
                "no shell is there for {text:?}, and the program gets it as it stands: write a script, or run = [\"sh\", \
                 \"-c\", \"...\"]"
            ),
        ));
    }
    let has_reference = !text.contains('{') && secret::doubt_in_text(text);
    has_reference.then(|| {
        Doubt::new(
            "run",
            "a reference is not replaced in an argument, which other users could see in ps: let the program read it from its \
             environment, env = {{ TOKEN = \"env:TOKEN\" }}, or from a file",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn doubts(words: &[&str]) -> Vec<String> {
        let run = words.iter().map(|word| word.parse().expect("a template")).collect();
        let command = Command {
            run,
            stdin: None,
            env: Vec::new(),
            success_when: None,
            directory: None,
            give_up: BTreeSet::new(),
        };
        of_command(&command).into_iter().map(|doubt| doubt.text).collect()
    }

    #[test]
    fn words_for_a_shell_are_doubted_where_there_is_none() {
        for words in [&["true", "&&", "true"][..], &["true", "a", ">", "b"], &["true", "$HOME/x"], &["true", "~/x"]] {
            assert!(doubts(words).concat().contains("no shell is there"), "{words:?}");
        }
        for words in [&["sh", "-c", "a && b > $HOME/x"][..], &["true", "a&&b", "{{ payload.a }}", "cost: $5"]] {
            assert_eq!(doubts(words), [""; 0], "{words:?}");
        }
        assert!(doubts(&["true", "-H", "Authorization: Bearer env:TOKEN"]).concat().contains("not replaced"));
    }
}
