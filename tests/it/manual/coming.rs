//! Coming from another program: the commands of the chapters import and migrate.

use super::patient;
use crate::support::{Machine, example};

const IMPORT: &str = "src/manual/import.md";
const MIGRATE: &str = "src/manual/migrate.md";

/// A hook of adnanh/webhook, with a command that says so.
const HOOKS: &str = r#"[
  {"id": "redeploy-webhook", "execute-command": "/usr/local/bin/redeploy", "response-message": "Redeploying",
   "pass-arguments-to-command": [{"source": "payload", "name": "head_commit.id"}],
   "trigger-rule": {"and": [
     {"match": {"type": "payload-hmac-sha256", "secret": "my secret", "parameter": {"source": "header", "name": "X-Hub-Signature-256"}}},
     {"match": {"type": "value", "value": "refs/heads/main", "parameter": {"source": "payload", "name": "ref"}}}]}}
]"#;
const HOOKS_YAML: &str = r#"
- id: redeploy-webhook
  execute-command: /usr/local/bin/redeploy
  response-message: Redeploying
  pass-arguments-to-command:
    - {source: payload, name: head_commit.id}
  trigger-rule:
    and:
      - match: {type: payload-hmac-sha256, secret: my secret, parameter: {source: header, name: X-Hub-Signature-256}}
      - match: {type: value, value: refs/heads/main, parameter: {source: payload, name: ref}}
"#;

fn with_hooks() -> Option<Machine> {
    let machine = Machine::new()?;
    machine.put("/etc/webhook.conf", HOOKS);
    machine.program("redeploy", "echo \"$1\" >>\"$HOME/redeployed\"");
    Some(machine)
}

/// The config without its comments, which name the file.
fn settings(config: &str) -> String {
    config.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn hooks_of_webhook_are_imported_checked_and_run() {
    let Some(machine) = with_hooks() else { return };
    let checked = machine.paste(&example(IMPORT, "sh", "hookbox import /etc/webhook.conf"));
    assert!(checked.ends_with("no problem found\n"), "{checked}");
    let config = machine.read("hookbox.toml");
    assert!(!config.contains("my secret") && machine.read("secrets.env").contains("my secret"), "{config}");
    assert_eq!(machine.paste("stat -c %a secrets.env"), "600\n");
    // The comment of the config says how to start with them, in any shell.
    let start = config.split_once("Start with them: ").unwrap().1.replace("\n#", "");
    let (start, _) = start.split_once(", or").unwrap();
    assert!(start.ends_with("hookbox serve"), "{start}");
    let _hookbox = machine.serve(start);
    machine.put("push.json", r#"{"ref": "refs/heads/main", "head_commit": {"id": "c1"}}"#);
    let sent = machine.paste("set -a; . ./secrets.env; hookbox send redeploy-webhook --file push.json");
    assert!(sent.ends_with("200 OK Redeploying\n"), "{sent}");
    patient("the command", || machine.try_paste("cat redeployed").text() == "c1\n");
}

#[test]
fn hooks_in_yaml_and_the_shorter_command_give_the_same_config() {
    let Some(machine) = with_hooks() else { return };
    machine.paste(&example(MIGRATE, "sh", "hookbox import /etc/webhook.conf"));
    let config = settings(&machine.read("hookbox.toml"));
    assert!(config.contains("[sources.redeploy-webhook]"), "{config}");
    if !machine.has("yq") {
        return;
    }
    machine.put("hooks.yaml", HOOKS_YAML);
    machine.paste(&format!("rm hookbox.toml secrets.env; {}", example(IMPORT, "sh", "yq")));
    assert_eq!(settings(&machine.read("hookbox.toml")), config);
}
