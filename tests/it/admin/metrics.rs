//! Metrics for Prometheus.

use super::get;
use crate::support::{Address, Home, Request, SOURCE, closed_port, promtool, wait_for};

#[track_caller]
fn scrape(admin: &Address) -> String {
    let answer = admin.send(&get("/metrics"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("Content-Type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    answer.text()
}

/// The value of the line that begins so.
#[track_caller]
fn value(page: &str, sample: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {sample} in\n{page}")).parse().unwrap()
}

#[test]
fn metrics_count_deliveries_rejections_and_attempts() {
    let actions = format!(
        "[actions.log]\nkind = 'log'\non = ['*']\n\
         [actions.team]\nkind = 'http'\nurl = 'http://127.0.0.1:{}'\non = ['*:issues']\nattempts = 2\nbackoff = '1s'\n",
        closed_port()
    );
    let hookbox = Home::with_config(&format!("{}{actions}", SOURCE)).with_admin().start();
    let admin = hookbox.admin_address();
    promtool(&["check", "metrics"], &scrape(&admin));
    hookbox.deliver("push", "d-1", "{}");
    hookbox.deliver("push", "d-1", "{}");
    hookbox.deliver("issues", "d-2", "{}");
    hookbox.send(&Request::github("push", "d-3", "{}").signed_with("wrong"));
    hookbox.send(&Request::github("push", "d-3", "{}").without("X-Hub-Signature-256"));
    hookbox.send(&Request::github("push", "d-4", "{").with("Content-Type", "application/json"));
    let mut malformed = hookbox.connect();
    malformed.send(b"GET nowhere HTTP/1.1\r\n\r\n");
    assert_eq!(malformed.response().status, 400);
    let page = wait_for("the death of a job", || {
        let page = scrape(&admin);
        (value(&page, "hookbox_jobs{action=\"team\",state=\"dead\"}") == 1.0).then_some(page)
    });
    promtool(&["check", "metrics"], &page);
    for (sample, expected) in [
        ("hookbox_deliveries_total{source=\"github\",outcome=\"stored\"}", 2.0),
        ("hookbox_deliveries_total{source=\"github\",outcome=\"duplicate\"}", 1.0),
        ("hookbox_deliveries_total{source=\"github\",outcome=\"rejected\"}", 3.0),
        ("hookbox_rejects_total{source=\"github\",reason=\"signature_wrong\"}", 1.0),
        ("hookbox_rejects_total{source=\"github\",reason=\"signature_missing\"}", 1.0),
        ("hookbox_rejects_total{source=\"github\",reason=\"malformed\"}", 1.0),
        ("hookbox_refused_requests_total{listener=\"public\",status=\"400\"}", 1.0),
        ("hookbox_acknowledgement_seconds_count", 3.0),
        ("hookbox_commit_deliveries_count", 3.0),
        ("hookbox_attempts_total{action=\"log\",outcome=\"success\"}", 2.0),
        ("hookbox_attempts_total{action=\"team\",outcome=\"retry\"}", 2.0),
        ("hookbox_attempt_seconds_count{action=\"team\"}", 2.0),
        ("hookbox_processing_seconds_count{action=\"log\"}", 2.0),
        ("hookbox_events{status=\"processed\"}", 1.0),
        ("hookbox_events{status=\"error\"}", 1.0),
        ("hookbox_healthy", 1.0),
        ("hookbox_oldest_pending_seconds", 0.0),
    ] {
        assert_eq!(value(&page, sample), expected, "{sample} in\n{page}");
    }
    for sample in ["hookbox_database_bytes", "hookbox_disk_free_bytes", "process_resident_memory_bytes"] {
        assert!(value(&page, sample) > 0.0, "{sample}");
    }
    assert!(value(&page, "hookbox_acknowledgement_seconds_sum") < 60.0);
}

#[test]
fn no_value_of_a_sender_becomes_a_label() {
    let hookbox = Home::new().with_admin().start();
    let admin = hookbox.admin_address();
    let lines = scrape(&admin).lines().count();
    for n in 0..200 {
        hookbox.send(&Request::github(&format!("type-{n}"), &format!("d-{n}"), "{}"));
        hookbox.send(&Request::get(&format!("/webhooks/scan-{n}")));
        hookbox.send(&Request::github("push", "x", "{}").target(&format!("/webhooks/\"}}{n}")));
    }
    hookbox.wait_until_done();
    let page = scrape(&admin);
    promtool(&["check", "metrics"], &page);
    assert!(!page.contains("scan-") && !page.contains("type-"), "{page}");
    assert_eq!(value(&page, "hookbox_rejects_total{source=\"\",reason=\"no_such_source\"}"), 400.0);
    assert_eq!(page.lines().count(), lines);
}

#[test]
fn an_event_type_that_is_invented_makes_no_metric_and_no_count_of_its_own() {
    let hookbox = Home::with_config(SOURCE).with_admin().start();
    let admin = hookbox.admin_address();
    let stats = || hookbox.run(["stats", "--json"]).ok().text();
    hookbox.deliver("invented-0", "d-0", "{}");
    let (metric_lines, stats_lines) = (scrape(&admin).lines().count(), stats().lines().count());
    for n in 1..50 {
        hookbox.deliver(&format!("invented-{n}"), &format!("d-{n}"), "{}");
    }
    let (page, stats) = (scrape(&admin), stats());
    assert_eq!(value(&page, "hookbox_deliveries_total{source=\"github\",outcome=\"stored\"}"), 50.0);
    assert!(!page.contains("invented") && !stats.contains("invented"), "{page}{stats}");
    assert_eq!((page.lines().count(), stats.lines().count()), (metric_lines, stats_lines));
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM tallies WHERE name || what LIKE '%invented%'"), [0]);
}
