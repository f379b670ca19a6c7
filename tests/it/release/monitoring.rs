//! The alert rules and the dashboard, with a real Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::read;
use crate::support::{
    Answer, Home, Hookbox, Prometheus, Request, SOURCE, Stub, closed_port, data, promtool, wait_for, wait_longer_for,
};

/// How long all queries have data at the latest.
const PATIENCE: Duration = Duration::from_secs(60);

/// Metrics of ours that an expression asks for.
fn metrics(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("hookbox_") || word.starts_with("process_"))
}

/// Each rule fires where it has to, and not where it has not.
#[test]
fn each_alert_fires_and_does_not_fire() {
    let (rules, tests) = (read("alerts.yml"), std::fs::read_to_string(data("release/alerts.test.yml")).unwrap());
    let home = Home::new();
    home.write("alerts.yml", &rules);
    home.write("alerts.test.yml", &tests);
    promtool(&["check", "rules", home.path("alerts.yml").to_str().unwrap()], "");
    promtool(&["test", "rules", home.path("alerts.test.yml").to_str().unwrap()], "");
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 8, "{alerts:?}");
    for alert in alerts {
        assert!(tests.contains(&format!("alertname: {alert}, exp_alerts: []")), "{alert} is not tested not to fire");
        assert!(tests.contains(&format!("alertname: {alert}\n        exp_alerts:\n")), "{alert} is not tested to fire");
    }
}

/// A server that has taken deliveries, duplicates and rejects, and has actions that work, fail, wait and are paused.
struct Busy {
    hookbox: Hookbox,
    /// Destinations and a provider.
    _stubs: [Stub; 2],
}

impl Busy {
    fn start() -> Busy {
        let [waiting, provider] = [Stub::http(), Stub::http()];
        waiting.answer(Answer::header(429, "Retry-After", "600"));
        provider.answer(Answer::body(200, "[]"));
        let action = |name: &str, url: &str, more: &str| {
            format!("[actions.{name}]\nkind = 'http'\nurl = '{url}'\non = ['*:issues']\nbackoff = '1h'\n{more}\n")
        };
        let closed = format!("http://127.0.0.1:{}", closed_port());
        let config = format!(
            "{SOURCE}expect_every = '1s'\n[sources.github.recover]\nhook = 'o/r/1'\ntoken = 'x'\napi = '{}'\n{}{}{}\
             [actions.log]\nkind = 'log'\non = ['*']\n",
            provider.url(""),
            action("down", &closed, ""),
            action("gone", &closed, "attempts = 1"),
            action("waiting", &waiting.url("/"), ""),
        );
        let hookbox = Home::with_config(&config).with_admin().start();
        Busy { hookbox, _stubs: [waiting, provider] }
    }

    /// One of everything, each time another delivery.
    fn cause_everything(&self, round: usize) {
        let hookbox = &self.hookbox;
        hookbox.deliver("push", &format!("push-{round}"), "{}");
        hookbox.deliver("push", &format!("push-{round}"), "{}");
        hookbox.deliver("issues", &format!("issue-{round}"), "{}");
        hookbox.send(&Request::github("push", "wrong", "{}").signed_with("wrong"));
        hookbox.send(&Request::get("/nowhere"));
        let mut malformed = hookbox.connect();
        malformed.send(b"GET nowhere HTTP/1.1\r\n\r\n");
        assert_eq!(malformed.response().status, 400);
        let guess = Request::get("/api/stats").with("Host", "localhost").header("Authorization", "Bearer wrong");
        hookbox.admin_address().send(&guess);
    }
}

/// The queries of the dashboard's panels and annotations, with the title of each.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let annotations = dashboard["annotations"]["list"].as_array().unwrap().iter();
    let of_panels = panels.flat_map(|panel| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(|target| (panel["title"].to_string(), target["expr"].as_str().unwrap().to_owned()))
    });
    let of_annotations = annotations.filter_map(|it| Some((it["name"].to_string(), it["expr"].as_str()?.to_owned())));
    of_panels.chain(of_annotations).collect()
}

/// As Grafana fills the variables in.
fn filled(expression: &str, interval: &str) -> String {
    let filled = expression.replace("$__rate_interval", interval).replace("$job", ".*").replace("$instance", ".*");
    assert!(!filled.contains('$'), "an unknown variable in {expression}");
    filled
}

#[test]
fn each_query_of_the_dashboard_has_data_and_prometheus_takes_the_alerts() {
    let dashboard: Value = serde_json::from_str(&read("grafana-dashboard.json")).unwrap();
    let busy = Busy::start();
    let Some(prometheus) = Prometheus::start(&busy.hookbox.admin_address(), &read("alerts.yml")) else { return };
    busy.hookbox.run(["pause", "log"]).ok();
    let mut left = queries(&dashboard);
    assert!(left.len() > 30);
    // A start is seen only if a scrape came before it.
    left.retain(|(_, expression)| !expression.starts_with("changes("));
    let mut round = 0;
    wait_longer_for("data for each query", PATIENCE, || {
        round += 1;
        busy.cause_everything(round);
        if round == 3 {
            busy.hookbox.run(["resume", "log"]).ok();
            busy.hookbox.run(["pause", "down"]).ok();
        }
        left.retain(|(_, expression)| prometheus.query(&filled(expression, "10s")).is_empty());
        assert!(round < 200 || left.is_empty(), "no data for {left:#?}");
        left.is_empty().then_some(())
    });
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let Some(query) = variable["query"]["query"].as_str() else { continue };
        let (series, label) =
            query.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap().rsplit_once(',').unwrap();
        let series: String = form_urlencoded::byte_serialize(filled(series, "").as_bytes()).collect();
        let found = prometheus.get(&format!("/api/v1/label/{label}/values?match[]={series}")).unwrap();
        assert_eq!(found.as_array().unwrap().len(), 1, "{query}");
    }
    assert_rules_are_healthy(&prometheus);
}

/// Each can be evaluated, and each metric in it is there.
fn assert_rules_are_healthy(prometheus: &Prometheus) {
    let evaluated = assert_rules_can_be_evaluated(prometheus);
    for rule in evaluated.as_array().unwrap() {
        for metric in metrics(rule["query"].as_str().unwrap()) {
            assert!(!prometheus.query(metric).is_empty(), "no {metric}, of {}", rule["name"]);
        }
    }
}

/// The rules, when each was evaluated.
fn assert_rules_can_be_evaluated(prometheus: &Prometheus) -> Value {
    let evaluated = wait_for("the rules to be evaluated", || {
        let rules = prometheus.get("/api/v1/rules")?["groups"][0]["rules"].clone();
        let is_known = |rule: &Value| rule["health"] != "unknown";
        rules.as_array().is_some_and(|rules| rules.iter().all(is_known)).then_some(rules)
    });
    for rule in evaluated.as_array().unwrap() {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    evaluated
}

#[test]
fn the_dashboard_is_what_grafana_imports() {
    let dashboard: Value = serde_json::from_str(&read("grafana-dashboard.json")).unwrap();
    let variables: Vec<&str> =
        dashboard["templating"]["list"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(variables, ["datasource", "job", "instance"]);
    let (mut ids, mut places) = (BTreeSet::new(), BTreeMap::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_i64().unwrap()), "the id of {} is not the only one", panel["title"]);
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_i64().unwrap());
        assert!(x + w <= 24, "{} is wider than the grid", panel["title"]);
        for place in (x..x + w).flat_map(|column| (y..y + h).map(move |line| (column, line))) {
            let other = places.insert(place, panel["title"].to_string());
            assert_eq!(other, None, "{} is in the same place", panel["title"]);
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{}", panel["title"]);
        let sources = panel["targets"].as_array().unwrap().iter().map(|target| &target["datasource"]["uid"]);
        assert!(sources.chain([&panel["datasource"]["uid"]]).all(|uid| uid == "${datasource}"), "{}", panel["title"]);
    }
}

/// The names of what `/metrics` has.
fn exposed(hookbox: &Hookbox) -> Vec<String> {
    let page = hookbox.admin_address().send(&Request::get("/metrics").with("Host", "localhost")).text();
    let names: Vec<String> =
        page.lines().filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split_once(' ')?.0.to_owned())).collect();
    assert!(names.len() > 30, "{page}");
    names
}

#[test]
fn each_metric_is_in_the_dashboard_or_in_an_alert() {
    let busy = Busy::start();
    let dashboard: Value = serde_json::from_str(&read("grafana-dashboard.json")).unwrap();
    let asked = queries(&dashboard).into_iter().map(|(_, expression)| expression).chain([read("alerts.yml")]);
    let asked: Vec<String> = asked.flat_map(|text| metrics(&text).map(str::to_owned).collect::<Vec<_>>()).collect();
    for name in exposed(&busy.hookbox) {
        // A histogram is asked for by its parts.
        let parts = ["", "_bucket", "_sum", "_count"].map(|end| format!("{name}{end}"));
        assert!(asked.iter().any(|it| parts.contains(it)), "{name} is shown nowhere");
    }
}

/// By the command that says more, or mends it.
#[test]
fn each_alert_names_a_command_that_helps() {
    let (rules, home) = (read("alerts.yml"), Home::new());
    let alerts = rules.split("- alert: ").skip(1);
    for alert in alerts {
        let description = alert.split_once("description: ").unwrap().1.lines().next().unwrap();
        let commands: Vec<&str> =
            description.split("hookbox ").skip(1).filter_map(|rest| rest.split([' ', ',', ':', '"']).next()).collect();
        let exists = |command: &&str| home.run([command, "--help"]).code == Some(0);
        let is_helpful = commands.iter().any(exists) || description.contains("journalctl -u hookbox");
        assert!(is_helpful, "{alert}");
    }
}

#[test]
fn no_alert_fires_where_all_is_well() {
    let hookbox = Home::with_config(&format!("{SOURCE}expect_every = '1h'\n")).with_admin().start();
    let Some(prometheus) = Prometheus::start(&hookbox.admin_address(), &read("alerts.yml")) else { return };
    for number in 0..20 {
        hookbox.deliver("push", &format!("push-{number}"), "{}");
    }
    let processed = "sum(hookbox_jobs{state=\"succeeded\"}) == 20";
    wait_longer_for("all to be processed", PATIENCE, || (!prometheus.query(processed).is_empty()).then_some(()));
    assert_rules_can_be_evaluated(&prometheus);
    let alerts = prometheus.get("/api/v1/alerts").unwrap();
    assert_eq!(alerts["alerts"].as_array().map(Vec::len), Some(0), "{alerts}");
}
