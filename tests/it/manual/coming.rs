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

/// smee.io: passes two deliveries on to the first that asks for them. Both are signed, the second in another spelling.
const SMEE: &str = r#"exec python3 -c "
import hashlib, hmac, http.server, json, ssl
class Smee(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == '/CHANNEL' else 404)
        self.send_header('Content-Type', 'text/event-stream')
        self.end_headers()
        self.wfile.write(b'event: ready\ndata: {}\n\n')
        for number, text in enumerate(('{\"a\":1}', '{\"a\": 1}')):
            signature = hmac.new(b's3cret', text.encode(), hashlib.sha256).hexdigest()
            headers = {'x-github-event': 'push', 'x-github-delivery': f'd-{number}', 'x-hub-signature-256': 'sha256=' + signature}
            message = {**headers, 'body': json.loads(text), 'query': {}, 'timestamp': 1700000000000}
            self.wfile.write(f'data: {json.dumps(message)}\n\n'.encode())
        self.wfile.flush()
        self.rfile.read()
server = http.server.ThreadingHTTPServer(('127.0.0.1', 443), Smee)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('/etc/authority/both.pem')
server.socket = context.wrap_socket(server.socket, server_side=True)
print('ready', flush=True)
server.serve_forever()"
"#;

#[test]
fn smee_passes_deliveries_on_in_its_own_spelling() {
    let Some(machine) = Machine::new().filter(|machine| machine.has("smee") && machine.has("python3")) else { return };
    machine.name("127.0.0.1", "smee.io");
    machine.certify("smee.io");
    let relay = machine.start(SMEE);
    relay.wait_for_stdout("ready");
    let _hookbox = machine.serve("GITHUB_WEBHOOK_SECRET=s3cret hookbox");
    let trusting = "export NODE_EXTRA_CA_CERTS=/etc/authority/ca.pem";
    let smee = machine.start(&format!("{trusting}; {}", example(MIGRATE, "sh", "smee")));
    let passed_on = |status: u16| format!("POST http://127.0.0.1:5000/webhooks/github - {status}");
    smee.wait_for_stdout(&passed_on(200));
    smee.wait_for_stdout(&passed_on(401));
    let stored = machine.paste("hookbox list --json");
    assert!(stored.lines().count() == 1 && stored.contains("\"d-0\""), "{stored}");
}
