//! Real HTTP clients: what they do with an answer that comes while they still send, and with connections that stay open.

use std::process::{Command, Stdio};

use crate::support::{Home, Hookbox, is_installed, python};

/// Larger than `max_body` by default, and as large as a sender's limit that is meant in other units.
const BYTES: usize = 27_000_000;

/// Runs a command with the program's URL as its last argument. What it prints.
#[track_caller]
fn output(command: &mut Command, hookbox: &Hookbox) -> String {
    let output = command.arg(hookbox.url("/webhooks/github")).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// The client has printed the status and the text of the whole answer, and nothing else.
#[track_caller]
fn assert_refused(printed: &str) {
    assert!(printed.starts_with("413 body too large") && printed.lines().count() == 1, "{printed}");
}

const NODE_REQUEST: &str = r#"
const body = Buffer.alloc(27000000, "a");
const options = { method: "POST", headers: { "Content-Type": "application/json" } };
const request = require("http").request(process.argv[1], options, (response) => {
    let text = "";
    response.on("data", (data) => text += data);
    response.on("end", () => console.log(response.statusCode, text.trim()));
});
request.on("error", (error) => console.log(error.code));
if (process.env.CHUNKED) {
    let at = 0;
    const more = () => {
        while (at < body.length) {
            const piece = body.subarray(at, at += 65536);
            if (!request.write(piece)) return request.once("drain", more);
        }
        request.end();
    };
    more();
} else {
    request.setHeader("Content-Length", body.length);
    request.end(body);
}
"#;

const NODE_FETCH: &str = r#"
fetch(process.argv[1], { method: "POST", body: Buffer.alloc(27000000, "a") })
    .then(async (response) => console.log(response.status, (await response.text()).trim()))
    .catch((error) => console.log(error.cause?.code ?? String(error)));
"#;

#[test]
fn node_gets_the_413_for_a_body_that_it_is_still_sending() {
    if !is_installed("node", &["--version"]) {
        return;
    }
    let hookbox = Home::new().start();
    for _ in 0..3 {
        let mut node = Command::new("node");
        assert_refused(&output(node.args(["-e", NODE_REQUEST]), &hookbox));
        let mut node = Command::new("node");
        assert_refused(&output(node.args(["-e", NODE_REQUEST]).env("CHUNKED", "1"), &hookbox));
        let mut node = Command::new("node");
        assert_refused(&output(node.args(["-e", NODE_FETCH]), &hookbox));
    }
    hookbox.assert_alive();
}

const PYTHON: &str = "
import sys, http.client, urllib.parse
url = urllib.parse.urlsplit(sys.argv[1])
connection = http.client.HTTPConnection(url.netloc)
connection.request('POST', url.path, b'a' * 27000000)
response = connection.getresponse()
print(response.status, response.read().decode().strip())
";

#[test]
fn python_and_curl_get_the_413_for_a_body_that_they_are_still_sending() {
    let hookbox = Home::new().start();
    if let Some(mut python) = python(&hookbox) {
        assert_refused(&output(python.args(["-c", PYTHON]), &hookbox));
    }
    if is_installed("curl", &["--version"]) {
        hookbox.write("body", vec![b'a'; BYTES]);
        let arguments = ["-sS", "-H", "Expect:", "--data-binary", "@body", "-D", "-", "-o", "answer"];
        let mut curl = Command::new("curl");
        let head = output(curl.args(arguments).current_dir(hookbox.path(".")), &hookbox);
        assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
    }
    hookbox.assert_alive();
}
