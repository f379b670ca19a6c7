//! Prometheus, which judges metrics and rules and runs queries.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::{Address, closed_port, is_installed, wait_for};

/// Often enough for a rate within seconds.
const SCRAPE_INTERVAL: &str = "200ms";

/// Runs promtool with this on its standard input. Without promtool the test prints that it is skipped.
#[track_caller]
pub fn promtool(args: &[&str], input: &str) {
    let started =
        Command::new("promtool").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut child) = started else {
        println!("skipped: promtool is not installed");
        return;
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("FAILED"), "{said}\n{input}");
}

/// A Prometheus that scrapes one hookbox, as the job `hookbox`. It ends when it is dropped.
pub struct Prometheus {
    process: Child,
    address: String,
    _data: TempDir,
}

impl Prometheus {
    /// `None`, and a line that says so, if it is not installed.
    pub fn start(scraped: &Address, rules: &str) -> Option<Prometheus> {
        if !is_installed("prometheus", &["--version"]) {
            return None;
        }
        let data = tempfile::tempdir().unwrap();
        let config = format!(
            "global: {{scrape_interval: {SCRAPE_INTERVAL}, evaluation_interval: {SCRAPE_INTERVAL}}}\nrule_files: [rules.yml]\n\
             scrape_configs: [{{job_name: hookbox, static_configs: [{{targets: ['{}']}}]}}]\n",
            scraped.tcp()
        );
        std::fs::write(data.path().join("prometheus.yml"), config).unwrap();
        std::fs::write(data.path().join("rules.yml"), rules).unwrap();
        let address = format!("127.0.0.1:{}", closed_port());
        let process = Command::new("prometheus")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"])
            .arg(format!("--web.listen-address={address}"))
            .current_dir(data.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let prometheus = Prometheus { process, address, _data: data };
        wait_for("Prometheus to scrape", || (!prometheus.query("up == 1").is_empty()).then_some(()));
        Some(prometheus)
    }

    /// The values of an instant query's result that are numbers. Panics with Prometheus' error.
    #[track_caller]
    pub fn query(&self, expression: &str) -> Vec<f64> {
        let encoded: String = form_urlencoded::byte_serialize(expression.as_bytes()).collect();
        let Some(data) = self.get(&format!("/api/v1/query?query={encoded}")) else { return Vec::new() };
        let values = data["result"].as_array().unwrap().iter().map(|series| series["value"][1].as_str().unwrap());
        values.filter_map(|value| value.parse().ok()).filter(|value: &f64| !value.is_nan()).collect()
    }

    /// The data of a request; `None` until Prometheus listens and is ready.
    #[track_caller]
    pub fn get(&self, target: &str) -> Option<Value> {
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let mut response = ureq::Agent::from(config).get(format!("http://{}{target}", self.address)).call().ok()?;
        if response.status() == 503 {
            return None;
        }
        let answer: Value = serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap();
        assert_eq!(answer["status"], "success", "{target}: {answer}");
        Some(answer["data"].clone())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
