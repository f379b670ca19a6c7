//! A headless Chromium, controlled through ChromeDriver: <https://www.w3.org/TR/webdriver2/>. Its protocol is JSON over
//! HTTP.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::wait_longer_for;

/// For a browser on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Without updates, and without files that stay.
const ARGUMENTS: [&str; 10] = [
    "--headless",
    "--hide-scrollbars",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
];

/// What an element is called in an answer: <https://www.w3.org/TR/webdriver2/#elements>
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window. It ends when it is dropped.
pub struct Browser {
    driver: Child,
    session: String,
    agent: ureq::Agent,
    _profile: TempDir,
}

impl Browser {
    /// `None`, and a line that says so, if none is installed.
    pub fn start() -> Option<Browser> {
        let Some((driver, port)) = start_driver() else {
            println!("skipped: chromedriver and chromium are not installed");
            return None;
        };
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build();
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Browser {
            driver,
            session: format!("http://127.0.0.1:{port}/session"),
            agent: config.into(),
            _profile: profile,
        };
        let directory = format!("--user-data-dir={}", browser._profile.path().display());
        let arguments: Vec<&str> = ARGUMENTS.into_iter().chain([directory.as_str()]).collect();
        let wanted = json!({"goog:chromeOptions": {"args": arguments}, "goog:loggingPrefs": {"browser": "ALL"}});
        let answer = browser.post("", json!({"capabilities": {"alwaysMatch": wanted}}));
        browser.session = format!("{}/{}", browser.session, answer["sessionId"].as_str().unwrap());
        Some(browser)
    }

    #[track_caller]
    pub fn open(&self, url: &str) {
        self.post("/url", json!({"url": url}));
    }

    /// Runs a function's body in the page, and gives back what it returns.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({"script": script, "args": []}))
    }

    /// Waits until this expression holds in the page, and gives back its value.
    #[track_caller]
    pub fn wait(&self, expression: &str) -> Value {
        let script = format!("return ({expression})");
        wait_longer_for(expression, PATIENCE, || {
            let value = self.run(&script);
            let holds = !matches!(value, Value::Null | Value::Bool(false));
            holds.then_some(value)
        })
    }

    /// Waits until the text of what this selector finds contains `text`.
    #[track_caller]
    pub fn wait_for_text(&self, selector: &str, text: &str) {
        let (selector, text) = (json!(selector), json!(text));
        self.wait(&format!("document.querySelector({selector})?.innerText.includes({text})"));
    }

    #[track_caller]
    pub fn text(&self, selector: &str) -> String {
        let text = self.run(&format!("return document.querySelector({}).innerText", json!(selector)));
        text.as_str().unwrap().to_owned()
    }

    /// As a person does: an element that is hidden or covered cannot be clicked.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        // The page may replace the element between the search and the click.
        wait_longer_for(&format!("a click on {selector}"), PATIENCE, || {
            let element = self.element(selector);
            let clicked = self.try_post(&format!("/element/{element}/click"), &json!({}));
            let is_stale = clicked.as_ref().is_err_and(|error| error["error"] == "stale element reference");
            (!is_stale).then(|| clicked.unwrap())
        });
    }

    #[track_caller]
    pub fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.post(&format!("/element/{element}/value"), json!({"text": text}));
    }

    /// Presses and releases a key, wherever the focus is.
    #[track_caller]
    pub fn press(&self, key: char) {
        let press = [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})];
        self.post("/actions", json!({"actions": [{"type": "key", "id": "keyboard", "actions": press}]}));
    }

    /// The window's size; narrow ones are phones.
    pub fn resize(&self, width: u32, height: u32) {
        let phone = width < 600;
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone});
        self.command("Emulation.setDeviceMetricsOverride", &size);
    }

    /// `dark` or `light`.
    pub fn prefer(&self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.command("Emulation.setEmulatedMedia", &features);
    }

    /// What the window shows, as PNG.
    #[track_caller]
    pub fn screenshot(&self) -> Vec<u8> {
        let mut answer = self.agent.get(format!("{}/screenshot", self.session)).call().unwrap();
        let answer: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
        STANDARD.decode(answer["value"].as_str().unwrap()).unwrap()
    }

    /// Warnings and errors of the page since the last call.
    pub fn complaints(&self) -> Vec<String> {
        let entries = self.post("/se/log", json!({"type": "browser"}));
        let entries = entries.as_array().unwrap().iter();
        let grave = entries.filter(|entry| ["SEVERE", "WARNING"].contains(&entry["level"].as_str().unwrap()));
        grave.map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }

    fn command(&self, command: &str, parameters: &Value) {
        self.post("/goog/cdp/execute", json!({"cmd": command, "params": parameters}));
    }

    #[track_caller]
    fn element(&self, selector: &str) -> String {
        let found = self.post("/element", json!({"using": "css selector", "value": selector}));
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn post(&self, path: &str, body: Value) -> Value {
        self.try_post(path, &body).unwrap_or_else(|error| panic!("{path} {body}: {}", error["message"]))
    }

    /// `Err` is the driver's error.
    fn try_post(&self, path: &str, body: &Value) -> Result<Value, Value> {
        let url = format!("{}{path}", self.session);
        let mut answer = self.agent.post(url).content_type("application/json").send(body.to_string()).unwrap();
        let answer: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
        let value = answer["value"].clone();
        if value.get("error").is_none() { Ok(value) } else { Err(value) }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.agent.delete(&self.session).call(); // the browser ends with its session
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// The driver and its port. It takes one that is free for IPv4, and ends if it is not so for IPv6: hence again.
fn start_driver() -> Option<(Child, u16)> {
    loop {
        let mut driver = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).spawn().ok()?;
        if let Some(port) = port_of(&mut driver) {
            return Some((driver, port));
        }
        driver.wait().unwrap();
    }
}

fn port_of(driver: &mut Child) -> Option<u16> {
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    lines.find_map(|line| {
        let line = line.unwrap();
        let (_, port) = line.split_once("started successfully on port ")?;
        port.trim_end_matches('.').parse().ok()
    })
}
