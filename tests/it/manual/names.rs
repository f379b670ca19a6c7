//! What stands between backticks in README and manual exists: commands, their options, keys of the config, and other names.

use std::collections::BTreeSet;
use std::fs;

use regex_lite::Regex;
use serde_json::Value;

use super::coverage::{files, texts};
use crate::support::{Home, SOURCE, blocks};

/// Names of others, with underscores or as options, and whose they are.
const FOREIGN: [(&str, &str); 12] = [
    ("ALL_PROXY", "ureq reads it"),
    ("HTTPS_PROXY", "ureq reads it"),
    ("HTTP_PROXY", "ureq reads it"),
    ("NO_PROXY", "ureq reads it"),
    ("API_TOKEN", "a name of the user"),
    ("HTTP_X_GITHUB_EVENT", "CGI"),
    ("rule_files", "Prometheus"),
    ("proxy_http", "Apache"),
    ("location = /healthz { proxy_pass http://hookbox; }", "nginx"),
    ("--health-cmd", "Docker"),
    ("--dupe-window", "NATS"),
    ("--replicas", "NATS"),
];

/// What stands between backticks outside of blocks, each on one line, with the file.
fn spans() -> Vec<(String, String)> {
    let span = Regex::new("`([^`]+)`").unwrap();
    let mut all = Vec::new();
    for file in files() {
        let text = fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let mut is_prose = true;
        let mut prose = String::new();
        for line in text.lines() {
            if line.trim_start().starts_with("```") {
                is_prose = !is_prose;
            } else if is_prose {
                prose.push_str(line);
                prose.push('\n');
            }
        }
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        all.extend(span.captures_iter(&prose).map(|found| (file.clone(), words(&found[1]))));
    }
    assert!(all.len() > 500);
    all
}

fn help(home: &Home, command: &str) -> String {
    home.run([command, "--help"]).text()
}

/// The names of the commands, as `hookbox --help` lists them.
fn commands(home: &Home) -> Vec<String> {
    let text = home.run(["--help"]).ok().text();
    let list = text.split_once("Commands:\n").unwrap().1;
    let lines = list.lines().take_while(|line| !line.is_empty());
    lines.filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
}

fn has_option(help: &str, option: &str) -> bool {
    help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).any(|word| word == option)
}

/// Why this command does not exist, if it does not.
fn problem(home: &Home, commands: &[String], line: &str) -> Option<String> {
    let words: Vec<&str> = line.split(' ').skip_while(|word| ["sudo", "hookbox"].contains(word)).collect();
    let is_command = words.first().is_some_and(|word| !word.starts_with('-') && *word != "COMMAND");
    let general = home.run(["--help"]).text();
    let help = if is_command { help(home, words[0]) + &general } else { general };
    if is_command && !commands.iter().any(|name| name == words[0]) {
        return Some(format!("there is no command {}", words[0]));
    }
    let mut options = words.iter().filter(|word| word.starts_with('-')).map(|word| word.split('=').next().unwrap());
    options.find(|option| !has_option(&help, option)).map(|option| format!("there is no option {option}"))
}

#[test]
fn every_command_in_the_text_exists_with_its_options() {
    let home = Home::new();
    let commands = commands(&home);
    let is_command = |span: &&(String, String)| {
        let line = span.1.strip_prefix("sudo ").unwrap_or(&span.1);
        line == "hookbox" || line.starts_with("hookbox ")
    };
    let all = spans();
    let lines: BTreeSet<&(String, String)> = all.iter().filter(is_command).collect();
    assert!(lines.len() > 60, "{lines:?}");
    let wrong: Vec<String> = lines
        .iter()
        .filter_map(|(file, line)| Some(format!("{file}: `{line}`: {}", problem(&home, &commands, line)?)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // An option alone is one of any command.
    let helps: String = commands.iter().map(|command| help(&home, command)).collect();
    let helps = helps + &home.run(["--help"]).text();
    let unknown = |(_, span): &&(String, String)| {
        let option = span.split([' ', '=']).next().unwrap();
        option.starts_with("--") && !has_option(&helps, option) && !is_foreign(option)
    };
    let unknown: Vec<&(String, String)> = all.iter().filter(unknown).collect();
    assert!(unknown.is_empty(), "no options: {unknown:?}");
}

fn is_foreign(name: &str) -> bool {
    FOREIGN.iter().any(|(foreign, _)| *foreign == name)
}

/// All keys of the config, at any depth.
fn keys() -> BTreeSet<String> {
    let schema =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/.github/release/hookbox.schema.json")).unwrap();
    let mut keys = BTreeSet::new();
    collect(&serde_json::from_str(&schema).unwrap(), &mut keys);
    assert!(keys.len() > 50);
    keys
}

fn collect(schema: &Value, into: &mut BTreeSet<String>) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::Object(properties)) = members.get("properties") {
                into.extend(properties.keys().cloned());
            }
            members.values().for_each(|member| collect(member, into));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
        _ => (),
    }
}

/// `key = value`, `table.key`, and `[table]` or `[table.NAME.table]`, without names that the user chooses.
fn keys_in(span: &str) -> Vec<String> {
    let assignment = Regex::new(r"^([a-z_]+)( = |=$)").unwrap();
    let path =
        Regex::new(r"^\[?((?:admin|retention|sources|actions)\.[a-zA-Z_.]+|(?:admin|retention|sources|actions)\])\]?$")
            .unwrap();
    if let Some(found) = assignment.captures(span) {
        return vec![found[1].to_owned()];
    }
    let Some(found) = path.captures(span) else { return Vec::new() };
    let parts: Vec<&str> = found[1].trim_end_matches(']').split('.').collect();
    // The second part is a name.
    let is_named = ["sources", "actions"].contains(&parts[0]);
    parts.iter().enumerate().filter(|(at, _)| !(is_named && *at == 1)).map(|(_, part)| (*part).to_owned()).collect()
}

#[test]
fn every_key_in_the_text_is_one_of_the_config() {
    let keys = keys();
    let mut count = 0;
    let mut wrong = Vec::new();
    for (file, span) in spans() {
        for key in keys_in(&span) {
            count += 1;
            if !keys.contains(&key) && !is_foreign(&span) {
                wrong.push(format!("{file}: `{span}`: the schema has no {key}"));
            }
        }
    }
    assert!(count > 30, "{count}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A misspelt or former name of a key, column, metric or variable stands nowhere else.
#[test]
fn every_name_with_an_underscore_stands_in_the_sources_too() {
    let mut known: String =
        texts("src").into_iter().filter(|(name, _)| !name.ends_with(".md")).map(|(_, text)| text).collect();
    known.push_str(&keys().into_iter().collect::<Vec<_>>().join(" "));
    for file in files() {
        blocks(&file).iter().for_each(|block| known.push_str(&block.text));
    }
    let name = Regex::new(r"[A-Za-z0-9]+(?:_[A-Za-z0-9]+)+").unwrap();
    let known: BTreeSet<&str> = name.find_iter(&known).map(|found| found.as_str()).collect();
    let mut wrong = BTreeSet::new();
    for (file, span) in spans() {
        for found in name.find_iter(&span).map(|found| found.as_str()) {
            if !known.contains(found) && !is_foreign(found) {
                wrong.insert(format!("{file}: {found} in `{span}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn the_manual_names_every_key_of_the_config() {
    let manual: String = files()
        .iter()
        .map(|file| fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap())
        .collect();
    let word = Regex::new(r"[a-z_]+").unwrap();
    let words: BTreeSet<&str> = word.find_iter(&manual).map(|found| found.as_str()).collect();
    let missing: Vec<String> = keys().into_iter().filter(|key| !words.contains(key.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// In `when`, or in `success_when` of what has such an answer.
fn with_expression(number: usize, expression: &str) -> String {
    let key = if expression.contains("answer") { "success_when" } else { "when" };
    let is_of_program = expression.contains("exit_code") || expression.contains("output");
    let what = if is_of_program {
        "kind = \"command\"\nrun = [\"true\"]"
    } else {
        "kind = \"http\"\nurl = \"http://[::1]:1/\""
    };
    format!("[actions.a{number}]\n{what}\non = [\"github:*\"]\n{key} = \"\"\"{expression}\"\"\"\n")
}

#[test]
fn every_expression_in_the_text_compiles() {
    let expression = Regex::new(r"^(?:not |\(|'[^']*' in )*(?:payload|query|headers|answer)[.\[]").unwrap();
    let mut all: Vec<String> = spans().into_iter().map(|(_, span)| span).collect();
    all.retain(|span| expression.is_match(span) && !span.contains("..."));
    assert!(all.len() > 25, "{all:?}");
    let actions: String = all.iter().enumerate().map(|(at, expression)| with_expression(at, expression)).collect();
    Home::with_config(&(SOURCE.to_owned() + &actions)).run(["check"]).ok();
}

/// Each with a payload for which it is true, and one for which it is false.
#[test]
fn the_conditions_of_the_chapter_templates_are_true_and_false_as_it_says() {
    let payloads = [
        [r#"{"ref": "refs/heads/main"}"#, r#"{"ref": "refs/heads/dev"}"#],
        [r#"{"ref": "refs/tags/v1"}"#, r#"{"ref": "refs/heads/v1"}"#],
        [r#"{"sender": {"type": "User"}}"#, r#"{"sender": {"type": "Bot"}}"#],
        [r#"{"head_commit": {"modified": ["a", "docs/b"]}}"#, r#"{"head_commit": {"modified": ["a"]}}"#],
        [r#"{"issue": {"labels": [{"name": "x"}, {"name": "deploy"}]}}"#, r#"{"issue": {"labels": [{"name": "x"}]}}"#],
        [r#"{"data": {"object": {"amount": 1000}}}"#, r#"{"data": {"object": {"amount": 999}}}"#],
    ];
    let text = fs::read_to_string(format!("{}/src/manual/templates.md", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let section = text.split_once("## Conditions to filter events\n").unwrap().1.split_once("\n## ").unwrap().0;
    let items: Vec<&str> = section.lines().filter(|line| line.starts_with("- ")).collect();
    assert_eq!(items.len(), payloads.len(), "{items:?}");
    for (item, payloads) in items.into_iter().zip(payloads) {
        let condition = item.split('`').nth(1).unwrap();
        let action = format!("[actions.it]\nkind = \"log\"\non = [\"*\"]\nwhen = \"\"\"{condition}\"\"\"\n");
        let home = Home::with_config(&(SOURCE.to_owned() + &action));
        for (payload, said) in payloads.into_iter().zip(["action it: yes", "action it: no, by when"]) {
            home.write("payload.json", payload);
            let printed = home.run(["check", "--file", "payload.json", "--source", "github", "--type", "push"]).ok();
            assert!(printed.text().lines().any(|line| line == said), "{condition}: {payload}: {}", printed.text());
        }
    }
}
