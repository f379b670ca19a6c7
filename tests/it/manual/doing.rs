//! The actions of the manual do what it says, at the addresses that it names.

use serde_json::{Value, json};

use super::patient;
use crate::support::{Machine, Running, SOURCE, example};

const ACTIONS: &str = "src/manual/actions.md";
const REACH: &str = "src/manual/reach.md";

/// Takes every request at three ports, and writes each as a line of JSON into the file `taken`.
const SINK: &str = r#"exec python3 -c "
import http.server, json, threading
class Sink(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get('Content-Length', 0))).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        taken = {'port': self.server.server_port, 'path': self.path, 'headers': headers, 'body': body}
        with open('taken', 'a') as file:
            file.write(json.dumps(taken) + '\n')
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{\"routed\": true}')
for port in (3000, 3001, 15672):
    server = http.server.ThreadingHTTPServer(('127.0.0.1', port), Sink)
    threading.Thread(target=server.serve_forever).start()
print('ready', flush=True)"
"#;

const ENVIRONMENT: &str = "export GITHUB_WEBHOOK_SECRET=s3cret SLACK_WEBHOOK_URL=http://127.0.0.1:3001/services/T/B/x \
    BEHIND_SECRET=whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE= RABBITMQ_AUTHORIZATION='Basic Z3Vlc3Q6Z3Vlc3Q=' \
    NATS_PASSWORD=s3cret; ";

/// A machine with these actions, and what its programs take.
fn machine_with(actions: &str) -> Option<(Machine, [Running; 2])> {
    let machine = Machine::new()?;
    if !machine.has("python3") {
        return None;
    }
    let sink = machine.start(SINK);
    sink.wait_for_stdout("ready");
    machine.program("deploy", "echo \"$@\" >>\"$HOME/deployed\"");
    machine.put("hookbox.toml", &format!("{SOURCE}{actions}"));
    let hookbox = machine.serve(&format!("{ENVIRONMENT} hookbox"));
    Some((machine, [sink, hookbox]))
}

fn send(machine: &Machine, event: &str) {
    machine.paste(&format!("{ENVIRONMENT} hookbox send github --event {event}"));
}

/// What came to this port.
fn taken(machine: &Machine, port: u16) -> Vec<Value> {
    let lines = machine.try_paste("cat taken").text();
    let all = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|taken| taken["port"] == port).collect()
}

#[test]
fn slack_is_told_a_program_deploys_and_another_service_gets_everything() {
    let Some((machine, _running)) = machine_with(&example(ACTIONS, "toml", "[actions.team]")) else { return };
    send(&machine, "issues");
    send(&machine, "push");
    patient("the deploy", || machine.try_paste("test -s deployed").code == Some(0));
    assert_eq!(machine.read("deployed"), "octocat/hello-world 6113728f27ae82c7b1a177c8d03f9e96e0adf246\n");
    let told = taken(&machine, 3001);
    assert_eq!((told.len(), &told[0]["path"]), (1, &"/services/T/B/x".into()), "{told:?}");
    let behind = taken(&machine, 3000);
    assert_eq!(behind.len(), 2, "{behind:?}");
    for request in behind {
        assert_eq!(request["path"], "/webhooks");
        assert!(request["headers"]["webhook-signature"].as_str().unwrap().starts_with("v1,"), "{request}");
        assert!(request["headers"]["x-github-event"].is_string(), "{request}");
    }
}

#[test]
fn a_message_for_rabbitmq_is_routed() {
    let Some((machine, _running)) = machine_with(&example(ACTIONS, "toml", "[actions.queue]")) else { return };
    send(&machine, "push");
    patient("the job", || machine.paste("hookbox list --json --status processed").lines().count() == 1);
    let queued = taken(&machine, 15672).pop().unwrap();
    assert_eq!(queued["path"], "/api/exchanges/%2F/hooks/publish");
    let message: Value = serde_json::from_str(queued["body"].as_str().unwrap()).unwrap();
    assert_eq!((&message["routing_key"], &message["properties"]["delivery_mode"]), (&json!("push"), &json!(2)));
    assert_eq!(message["payload"], machine.paste("hookbox show 1 --body"));
}

#[test]
fn news_of_a_dead_deploy_is_posted_to_slack() {
    let dead = |name: &str| {
        format!("[actions.{name}]\nkind = \"command\"\nrun = [\"false\"]\non = [\"github:push\"]\nattempts = 1\n")
    };
    let news = example("src/manual/retries.md", "toml", "[actions.team]");
    let Some((machine, _running)) = machine_with(&(news + &dead("deploy") + &dead("other"))) else { return };
    send(&machine, "push");
    patient("the news", || !taken(&machine, 3001).is_empty());
    patient("the jobs", || machine.paste("hookbox list --json --status unprocessed").is_empty());
    let told = taken(&machine, 3001);
    assert!(told.len() == 1 && told[0]["body"].as_str().unwrap().contains("deploy"), "not of the other: {told:?}");
}

/// The action of the manual with this in place of its address.
fn with_address(action: &str, address: &str) -> String {
    let lines = action.lines().map(|line| if line.starts_with("url = ") { address.trim_end() } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

/// What the NATS server answers to an event that has reached it.
#[track_caller]
fn assert_reaches_nats(machine: &Machine) {
    let _hookbox = machine.serve(&format!("{ENVIRONMENT} hookbox"));
    send(machine, "push");
    patient("an attempt", || machine.paste("hookbox show 1").contains("no stream takes the subject hooks.github.push"));
}

#[test]
fn an_event_reaches_a_nats_server_by_tls_with_a_login() {
    let Some(machine) = Machine::new().filter(|machine| machine.has("nats-server")) else { return };
    machine.name("127.0.0.1", "nats.example.com");
    machine.certify("nats.example.com");
    machine.paste("mkdir -p /etc/hookbox && cp /etc/authority/ca.pem /etc/hookbox && cp /etc/authority/*.pem .");
    let bus = example(REACH, "toml", "[actions.bus]");
    machine.put("hookbox.toml", &format!("{SOURCE}{}", with_address(&bus, &example(REACH, "toml", "url = \"tls:"))));
    let tls = "--tls --tlscert cert.pem --tlskey key.pem";
    let server = machine.start(&format!("exec nats-server -js -sd js --user hookbox --pass s3cret {tls}"));
    server.wait_for_stderr("Server is ready");
    assert_reaches_nats(&machine);
}

#[test]
fn an_event_reaches_the_one_of_three_nats_servers_that_runs() {
    let Some(machine) = Machine::new().filter(|machine| machine.has("nats-server")) else { return };
    for (address, name) in [("127.0.0.1", "a"), ("127.0.0.2", "b"), ("127.0.0.3", "c")] {
        machine.name(address, name);
    }
    let bus = example(REACH, "toml", "[actions.bus]");
    machine.put("hookbox.toml", &format!("{SOURCE}{}", with_address(&bus, &example(REACH, "toml", "url = ["))));
    let server = machine.start("exec nats-server -a 127.0.0.2 -js -sd js");
    server.wait_for_stderr("Server is ready");
    assert_reaches_nats(&machine);
}

#[test]
fn an_event_reaches_the_nats_server_of_the_manuals_command() {
    let Some(machine) = Machine::new().filter(|machine| machine.has("nats-server")) else { return };
    machine.put("hookbox.toml", &format!("{SOURCE}{}", example(REACH, "toml", "[actions.bus]")));
    let commands = example(REACH, "sh", "nats-server -js -sd /var/lib/nats  ");
    let server = machine.start(commands.lines().next().unwrap());
    server.wait_for_stderr("Server is ready");
    assert_reaches_nats(&machine);
    // What its attempt says is the manual's other command.
    let (_, make_stream) = commands.trim_end().split_once('\n').unwrap();
    assert!(machine.paste("hookbox show 1").contains(make_stream), "{}", machine.paste("hookbox show 1"));
}

#[test]
fn an_event_is_added_to_a_stream_of_the_manuals_redis_server() {
    let Some(machine) = Machine::new().filter(|machine| machine.has("redis-server")) else { return };
    machine.put("hookbox.toml", &format!("{SOURCE}{}", example(REACH, "toml", "[actions.stream]")));
    machine.paste("mkdir -p /var/lib/redis");
    let server = machine.start(&example(
        REACH,
        "sh",
        "redis-server --dir /var/lib/redis --appendonly yes --appendfsync always\n",
    ));
    server.wait_for_stdout("Ready to accept connections");
    let _hookbox = machine.serve(&format!("{ENVIRONMENT} hookbox"));
    send(&machine, "push");
    patient("the entry", || machine.paste("hookbox show 1").contains("added to hooks:github"));
    assert_eq!(machine.paste("redis-cli XLEN hooks:github"), "1\n");
}
