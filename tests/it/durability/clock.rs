//! Clocks that are wrong, and that are corrected while the program runs.

use std::time::Duration;

use crate::support::{Home, Hookbox, Request, SOURCE, set_clock, wait_for, with_clock};

/// Every write to standard output fails, so that every attempt of the `log` action does.
const NOWHERE_TO_PRINT: [&str; 3] = ["sh", "-c", "exec \"$0\" \"$@\" >/dev/full"];

fn attempts(hookbox: &Hookbox) -> i64 {
    hookbox.query("SELECT coalesce(max(attempts), 0) FROM jobs")[0]
}

#[track_caller]
fn wait_for_attempts(hookbox: &Hookbox, more: i64) {
    let before = attempts(hookbox);
    wait_for("more attempts", || (attempts(hookbox) >= before + more).then_some(()));
}

/// An event whose every attempt fails, and is tried again within a second.
fn retrying(time: &str) -> Option<Hookbox> {
    let action =
        "[actions.print]\nkind = \"log\"\non = [\"*\"]\nattempts = 1000\nbackoff = \"100ms\"\nbackoff_max = \"1s\"\n";
    let home = Home::with_config(&format!("poll_interval = \"200ms\"\n{SOURCE}{action}"));
    let hookbox = with_clock(home, time)?.wrapped_in(&NOWHERE_TO_PRINT).start();
    hookbox.deliver("push", "d-1", "{}");
    wait_for_attempts(&hookbox, 3);
    Some(hookbox)
}

#[track_caller]
fn assert_delivers(hookbox: &Hookbox, id: &str) {
    hookbox.deliver("push", id, "{}");
    hookbox.wait_for_stdout(&format!("(delivery {id})"));
    hookbox.wait_until_done();
}

#[test]
fn in_1970_deliveries_are_processed_and_the_log_reports_the_clock() {
    let Some(home) = with_clock(Home::new(), "@1970-01-01 00:01:00") else { return };
    let hookbox = home.start();
    hookbox.wait_for_stderr("the clock has not been set");
    assert_delivers(&hookbox, "d-1");
    set_clock(&hookbox, "+0");
    assert_delivers(&hookbox, "d-2");
    let years = "SELECT strftime('%Y', received_at) >= '2020' FROM webhook_events ORDER BY id";
    assert_eq!(hookbox.query::<i64>(years), [0, 1]);
    assert_eq!(hookbox.query::<i64>("SELECT max(attempts) FROM jobs"), [1]);
}

/// Whether the timestamp is recent cannot be known: the provider must retry, not give up.
#[test]
fn a_delivery_with_a_timestamp_is_answered_503_until_the_clock_is_set() {
    let shop = Home::with_config("[sources.shop]\nprovider = \"stripe\"\nsecret = \"whsec_c2VjcmV0\"\n");
    let Some(home) = with_clock(shop, "@1970-01-01 00:01:00") else { return };
    let hookbox = home.start();
    let url = hookbox.url("/webhooks/shop");
    let send = || hookbox.run(["send", "shop", "--url", &url]);
    assert!(send().text().contains("503"), "{}", send());
    assert_eq!(hookbox.stored(), 0);
    set_clock(&hookbox, "+0");
    assert!(send().ok().text().contains("200"));
    assert_eq!(hookbox.stored(), 1);
}

#[test]
fn a_clock_set_back_a_day_delays_no_retry_by_a_day() {
    let Some(hookbox) = retrying("+0") else { return };
    set_clock(&hookbox, "-1d");
    wait_for_attempts(&hookbox, 3);
    hookbox.wait_for_stderr("the clock was set back");
}

#[test]
fn a_clock_set_ahead_a_year_and_back_delays_no_retry() {
    let Some(hookbox) = retrying("+0") else { return };
    for time in ["+1y", "+0"] {
        set_clock(&hookbox, time);
        wait_for_attempts(&hookbox, 3);
    }
}

#[test]
fn deliveries_are_processed_once_while_the_clock_jumps() {
    let Some(home) = with_clock(Home::new(), "+0") else { return };
    let hookbox = home.start();
    for (n, time) in ["-1d", "+1y", "@1970-01-01 00:01:00", "+0"].into_iter().enumerate() {
        set_clock(&hookbox, time);
        assert_delivers(&hookbox, &format!("d-{n}"));
        hookbox.deliver("push", &format!("d-{n}"), "{}");
        hookbox.assert_alive();
    }
    hookbox.wait_until_done();
    assert_eq!(hookbox.stored(), 4);
    assert_eq!(hookbox.query::<i64>("SELECT max(attempts) FROM jobs"), [1]);
}

#[test]
fn equal_content_is_a_duplicate_by_the_current_clock() {
    let home = Home::with_config(&format!("{SOURCE}dedup_window = \"5m\"\n"));
    let Some(home) = with_clock(home, "+0") else { return };
    let hookbox = home.start();
    let request = Request::github("push", "", "{}").without("X-GitHub-Delivery");
    let mut stored = Vec::new();
    // Far from every earlier copy, it is a new event; close to the latest one, before or after, it is not.
    for time in ["+0", "+120", "-120", "-1d", "+1y", "+1y"] {
        set_clock(&hookbox, time);
        assert_eq!(hookbox.send(&request).status, 200);
        hookbox.wait_until_done();
        stored.push(hookbox.stored());
    }
    assert_eq!(stored, [1, 1, 1, 2, 3, 3]);
}

#[test]
fn an_idle_server_does_not_spin_at_any_setting_of_the_clock() {
    let Some(home) = with_clock(Home::with_config(&format!("poll_interval = \"100ms\"\n{SOURCE}")), "+0") else {
        return;
    };
    let hookbox = home.start();
    for (n, time) in ["+0", "-1d", "+1y", "@1970-01-01 00:01:00"].into_iter().enumerate() {
        set_clock(&hookbox, time);
        assert_delivers(&hookbox, &format!("d-{n}"));
        let before = hookbox.cpu_ticks();
        // Half a second in which little may happen.
        std::thread::sleep(Duration::from_millis(500));
        let spent = hookbox.cpu_ticks() - before;
        assert!(spent < 25, "{spent} of 50 ticks spent idling with the clock at {time}");
    }
}
