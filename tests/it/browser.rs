//! The page in a real browser. Skipped, with a line that says so, if none is installed.

mod driver;
mod picture;

use std::ffi::OsStr;
use std::process::Command;
use std::time::Duration;

use driver::Browser;

use crate::recover::hub::{self, Hub};
use crate::support::{
    Address, Answer, Home, Hookbox, Request, SECRET, SOURCE, Stub, closed_port, runner, sign_github,
    take_turn_with_browser, wait_for, wait_longer_for,
};

/// <https://www.w3.org/TR/webdriver2/#keyboard-actions>
const ESCAPE: char = '\u{e00c}';
const ENTER: char = '\u{e007}';
const TAB: char = '\u{e004}';

/// The page of this server.
fn url(hookbox: &Hookbox) -> String {
    format!("http://{}/", hookbox.admin_address().tcp())
}

/// The same with the token that was made for it.
fn url_with_token(hookbox: &Hookbox) -> String {
    let place = hookbox.admin_address().tcp().to_string();
    hookbox.run(["page", "--admin", &place]).ok().text().trim().to_owned()
}

fn opened(hookbox: &Hookbox) -> Option<Browser> {
    let browser = Browser::start()?;
    browser.resize(1200, 1000);
    browser.open(&url(hookbox));
    Some(browser)
}

/// How many rows the list has.
fn rows(count: usize) -> String {
    format!("document.querySelectorAll('#rows tr').length === {count}")
}

#[test]
fn a_new_user_sees_how_to_begin_and_then_the_first_delivery() {
    take_turn_with_browser();
    let hookbox = Home::new().with_open_admin().start();
    let Some(browser) = opened(&hookbox) else { return };
    browser.wait_for_text("#headline", "All is well");
    browser.wait_for_text("#first", "hookbox send github");
    hookbox.deliver("ping", "d-1", "{}");
    browser.wait(&rows(1));
    browser.wait("document.querySelector('#first').hidden");
    browser.wait_for_text("#rows", "processed");
    browser.wait_for_text("#sources", "receiving");
    browser.wait_for_text("#legend", "1 received");
    browser.click("#chart-box summary");
    browser.wait_for_text("#hours", "duplicates");
    let chart = browser.run("return document.querySelector('#chart svg').getAttribute('aria-label')");
    assert!(chart.as_str().unwrap().contains("1 received, 0 duplicates, 0 rejected, 0 failed"), "{chart}");
    assert_eq!(browser.complaints(), [""; 0]);
}

/// In any directory, without the program on a path.
#[test]
fn the_command_shown_to_a_new_user_sends_a_delivery() {
    take_turn_with_browser();
    let hookbox = Home::new().listen(&format!("127.0.0.1:{}", closed_port())).with_admin().start();
    let Some(browser) = Browser::start() else { return };
    browser.open(&url_with_token(&hookbox));
    browser.wait_for_text("#first-secret", "needs GITHUB_WEBHOOK_SECRET too");
    let told = browser.text("#first-commands code");
    // An emulated program says its own name, not the emulator's.
    let command = format!("{} {told}", runner().join(OsStr::new(" ")).display());
    let mut shell = Command::new("sh");
    shell.args(["-c", &command]).current_dir("/").env("GITHUB_WEBHOOK_SECRET", SECRET).env_remove("HOOKBOX_CONFIG");
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
    browser.wait(&rows(1));
    browser.wait("document.querySelector('#first').hidden");
}

#[test]
fn events_are_filtered_opened_and_closed() {
    take_turn_with_browser();
    let hookbox = Home::new().with_open_admin().start();
    for n in 1..=4 {
        let body = format!("{{\"n\": {n}, \"big\": 12345678901234567890, \"deep\": {{\"key\": [true, null]}}}}");
        hookbox.deliver(if n == 2 { "push" } else { "issues" }, &format!("d-{n}"), body);
    }
    hookbox.wait_until_done();
    let Some(browser) = opened(&hookbox) else { return };
    browser.wait(&rows(4));
    browser.type_into("[name=event]", "push");
    browser.wait(&rows(1));
    assert_eq!(browser.run("return location.hash"), "#event=push");

    // The address keeps the filter.
    browser.run("location.reload()");
    browser.wait(&rows(1));
    assert_eq!(browser.run("return document.querySelector('[name=event]').value"), "push");
    browser.click("#rows a");
    browser.wait_for_text("#event-title", "push from github");
    browser.wait("document.activeElement.id === 'event-title'");
    browser.wait_for_text("#jobs", "succeeded");
    browser.wait_for_text("#tree", "big: 12345678901234567890");
    assert!(!browser.text("#tree").contains("true"), "what is deeper is folded");
    browser.click("#tree details details summary");
    browser.wait_for_text("#tree", "key: [2]");
    browser.click("#raw-box summary");
    browser.wait_for_text("#raw", "{\"n\": 2, \"big\": 12345678901234567890,");
    browser.click("#headers-box summary");
    browser.wait_for_text("#headers", "X-GitHub-Delivery");

    // The update two seconds later keeps open what was opened.
    browser.run("window.before = document.querySelector('#tree details details')");
    hookbox.deliver("push", "d-2", "{}");
    browser.wait_for_text("#facts", "1 time");
    assert_eq!(browser.run("return window.before.isConnected && window.before.open"), true);

    browser.press(ESCAPE);
    browser.wait("document.activeElement.closest('tr')?.dataset.id === '2'");
    assert_eq!(browser.run("return location.hash"), "#event=push");
    browser.click("[type=reset]");
    browser.wait(&rows(4));
    browser.type_into("[name=status]", "error");
    browser.wait_for_text("#none", "No event passes");
    let update = "UPDATE webhook_events SET received_at = '2020-01-01T00:00:00+00:00' WHERE id < 4";
    hookbox.db().execute(update, []).unwrap();
    browser.open(&format!("{}#since=1h", url(&hookbox)));
    browser.wait(&rows(1));
    browser.click("[name=since] option[value='']");
    browser.wait(&rows(4));
    browser.click("[name=since] option[value='7d']");
    browser.wait(&rows(1));
    assert_eq!(browser.run("return location.hash"), "#since=7d");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn the_list_updates_itself_and_keeps_the_focus() {
    take_turn_with_browser();
    let hookbox = Home::new().with_open_admin().start();
    for n in 0..60 {
        hookbox.deliver("push", &format!("d-{n}"), "{}");
    }
    let Some(browser) = opened(&hookbox) else { return };
    browser.wait(&rows(50));
    browser.click("#older");
    browser.wait(&rows(60));
    browser.run("document.querySelector('tr[data-id=\"58\"] a').focus()");
    browser.run("window.row = document.activeElement");
    hookbox.deliver("issues", "new", "{}");
    browser.wait("document.querySelector('#rows tr').innerText.includes('issues')");
    browser.wait(&rows(61));
    assert_eq!(browser.run("return document.activeElement === window.row"), true);
    browser.press(ENTER);
    browser.wait_for_text("#event-title", "push from github");
    assert_eq!(browser.run("return new URLSearchParams(location.hash.slice(1)).get('id')"), "58");
}

#[test]
fn a_failed_event_is_found_and_replayed_from_the_page() {
    take_turn_with_browser();
    let stub = Stub::http();
    let action = |url: &str| format!("[actions.team]\nkind = 'http'\nurl = '{url}'\non = ['*']\nattempts = 1\n");
    let config = |url: &str| format!("{SOURCE}{}[admin]\ntoken = 'none'\n", action(url));
    let closed = format!("http://127.0.0.1:{}", closed_port());
    let hookbox = Home::with_config(&config(&closed)).with_admin().start();
    let Some(browser) = opened(&hookbox) else { return };
    hookbox.deliver("issues", "d-1", "{}");
    browser.wait_for_text("#headline", "1 event could not be processed");
    browser.wait("document.title.includes('1 event could not')");
    browser.wait_for_text("#actions", "1 dead");
    browser.click("#reasons a");
    browser.wait("location.hash === '#status=error'");
    browser.wait(&rows(1));
    browser.click("#rows a");
    browser.wait_for_text("#jobs", "Connection refused");

    hookbox.reload(config(&stub.url("/")));
    browser.click("#buttons button");
    browser.wait_for_text("#told", "team is queued, with all attempts.");
    browser.wait_for_text("#facts", "processed");
    browser.wait_for_text("#jobs", "succeeded");
    browser.wait_for_text("#headline", "All is well");
    assert_eq!(stub.count(), 1);
}

/// The events of jobs that wait for a retry.
const WAITING: &str = "SELECT event_id FROM jobs WHERE state = 'queued' AND outcome = 'retry' ORDER BY event_id";

/// Three events whose destination has refused them.
fn three_that_wait() -> (Stub, Hookbox) {
    let stub = Stub::http();
    let action = format!("[actions.team]\nkind = 'http'\nurl = '{}'\non = ['*']\nbackoff = '1h'\n", stub.url("/"));
    let hookbox = Home::with_config(&format!("{SOURCE}{action}")).with_open_admin().start();
    stub.answer(Answer::Status(503));
    for n in 1..=3 {
        hookbox.deliver("push", &format!("d-{n}"), format!("{{\"word\": \"needle {n}\"}}"));
    }
    wait_for("all to have failed", || (hookbox.query::<i64>(WAITING) == [1, 2, 3]).then_some(()));
    (stub, hookbox)
}

#[test]
fn everything_that_failed_is_tried_now_and_a_filter_is_in_the_address() {
    take_turn_with_browser();
    let (stub, hookbox) = three_that_wait();
    stub.answer(Answer::Status(200));
    let Some(browser) = opened(&hookbox) else { return };
    browser.wait(&rows(3));
    browser.type_into("[name=grep]", "NEEDLE 2");
    browser.wait(&rows(1));
    browser.wait_for_text("#bulk", "Link to this list");
    assert_eq!(browser.run("return document.querySelector('#bulk a').hash"), "#grep=NEEDLE+2");
    browser.click("#bulk button");
    browser.wait_for_text("#told", "1 job queued");
    wait_for("the second", || (stub.count() == 4).then_some(()));
    browser.open(&format!("{}#id=1", url(&hookbox)));
    browser.wait_for_text("#buttons", "Try now");
    browser.click("#buttons button");
    browser.wait_for_text("#told", "team is due now.");
    browser.wait_for_text("#jobs", "succeeded");
    browser.wait_for_text("#buttons", "Do all of it again");
    browser.click("#back");
    browser.wait_for_text("#bulk", "Try all that failed now");
    browser.click("#bulk button");
    browser.wait_for_text("#told", "1 job queued");
    wait_for("the third", || (stub.count() == 6).then_some(()));
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn what_is_open_of_a_filter_is_cancelled_from_the_page() {
    take_turn_with_browser();
    let (_stub, hookbox) = three_that_wait();
    let Some(browser) = opened(&hookbox) else { return };
    browser.wait(&rows(3));
    browser.wait_for_text("#bulk", "Try all that failed now");
    assert_eq!(browser.run("return document.querySelectorAll('#bulk button').length"), 1, "not of all events");
    browser.type_into("[name=grep]", "NEEDLE 2");
    browser.wait(&rows(1));
    browser.wait_for_text("#bulk", "Cancel these");
    browser.click("#bulk button:nth-of-type(2)");
    browser.wait_for_text("#told", "1 job cancelled.");
    browser.wait_for_text("#rows", "cancelled");
    assert_eq!(hookbox.query::<i64>(WAITING), [1, 3]);
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn what_was_taken_is_missing_or_cannot_be_had_back_is_seen() {
    take_turn_with_browser();
    let hub = Hub::start();
    hub.add("missed", "push", 502, 60);
    let recover = format!(
        "[sources.github.recover]\nhook = 'octocat/hello-world/12345678'\ntoken = 'env:HUB_TOKEN'\nmode = 'take'\napi = '{}'\n",
        hub.url()
    );
    let home = Home::with_config(&format!("{SOURCE}{recover}")).env("HUB_TOKEN", hub::TOKEN).with_open_admin();
    let hookbox = home.start();
    wait_longer_for("the missed one", Duration::from_secs(60), || (hookbox.stored() == 1).then_some(()));
    let Some(browser) = opened(&hookbox) else { return };
    browser.wait_for_text("#rows", "taken from the API");
    browser.wait_for_text("#sources", "1 recovered");
    browser.wait_for_text("#headline", "All is well");
    browser.click("#rows a");
    browser.wait_for_text("#facts", "from the provider’s API, not verified by a signature");
    let (home, _) = hookbox.stop();
    let missing = "INSERT INTO recoveries (source, delivery_id, item, event_type, at_ms, state, status)
         VALUES ('github', 'other', '7', 'push', unixepoch() * 1000, 'missing', '502')";
    home.db().execute_batch(missing).unwrap();
    hub.refuse(Some(401));
    let hookbox = home.start();
    browser.open(&url(&hookbox));
    browser.wait_for_text("#state", "What github missed cannot be recovered since");
    browser.wait_for_text("#reasons", "the token is wrong, revoked or expired");
    browser.wait_for_text("#reasons", "github has missed 1 delivery that is not there yet.");
}

#[test]
fn a_destination_that_is_down_is_seen_at_its_first_failure() {
    take_turn_with_browser();
    let stub = Stub::http();
    let keys = "on = ['*']\nbackoff = '1h'\nbackoff_max = '1h'\n";
    let action = |url: &str| format!("[actions.team]\nkind = 'http'\nurl = '{url}'\n{keys}");
    let config = |url: &str| format!("{SOURCE}{}[admin]\ntoken = 'none'\n", action(url));
    let closed = format!("http://127.0.0.1:{}", closed_port());
    let hookbox = Home::with_config(&config(&closed)).with_admin().start();
    let Some(browser) = opened(&hookbox) else { return };
    hookbox.deliver("issues", "d-1", "{}");
    browser.wait_for_text("#headline", "The action team has failed since");
    browser.wait_for_text("#headline", "1 job pending, tried again at");
    browser.wait_for_text("#reasons", "Connection refused");
    browser.wait_for_text("#actions", "failing");
    browser.wait_for_text("#actions", "has failed since");
    hookbox.db().execute_batch("UPDATE jobs SET due_at_ms = 0").unwrap();
    hookbox.reload(config(&stub.url("/")));
    browser.wait_for_text("#headline", "All is well");
    browser.wait_for_text("#actions", "up to date");
}

#[test]
fn an_action_is_paused_its_job_cancelled_and_the_action_resumed() {
    take_turn_with_browser();
    let hookbox = Home::new().with_open_admin().start();
    let Some(browser) = opened(&hookbox) else { return };
    browser.wait_for_text("#actions", "Pause");
    browser.click("#actions button");
    browser.wait_for_text("#headline", "The action log is paused");
    hookbox.deliver("push", "d-1", "{}");
    browser.wait_for_text("#actions", "1 pending");
    browser.wait_for_text("#rows", "log: paused");
    browser.click("#rows a");
    browser.wait_for_text("#jobs", "queued, paused");
    browser.wait_for_text("#buttons", "Cancel");
    browser.click("#buttons button");
    browser.wait_for_text("#jobs", "cancelled");
    browser.click("#back");
    browser.wait_for_text("#actions", "Resume");
    browser.click("#actions button");
    browser.wait_for_text("#headline", "All is well");
    hookbox.deliver("push", "d-2", "{}");
    browser.wait_for_text("#rows tr", "processed");
}

#[test]
fn a_wrong_secret_is_found_from_the_page() {
    take_turn_with_browser();
    let hookbox = Home::new().with_open_admin().start();
    let Some(browser) = opened(&hookbox) else { return };
    hookbox.send(&Request::github("push", "d-1", "{}").signed_with("wrong"));
    hookbox.send(&Request::github("push", "d-1", "{}").target("/webhooks/gitub"));
    browser.wait_for_text("#headline", "sent to github was rejected");
    browser.wait_for_text("#reasons", "the signature does not match");
    browser.wait_for_text("#sources", "rejecting");
    browser.wait_for_text("#rejects", "is it the same secret on both sides?");
    browser.wait_for_text("#rejects", "/webhooks/gitub");
    browser.wait_for_text("#legend", "2 rejected");
    // Times are whole seconds: what is mended in the next one is seen as mended.
    std::thread::sleep(Duration::from_secs(1));
    hookbox.deliver("push", "d-1", "{}");
    browser.wait_for_text("#headline", "All is well");
}

/// Each event once: what failed was received before.
#[test]
fn a_failed_event_is_not_counted_twice_in_the_chart() {
    take_turn_with_browser();
    let config = format!("{SOURCE}[actions.phone]\nkind = 'command'\nrun = 'false'\non = '*'\nattempts = 1\n");
    let hookbox = Home::with_config(&config).with_open_admin().start();
    for n in 0..4 {
        hookbox.deliver("push", &format!("d-{n}"), "{}");
    }
    let Some(browser) = opened(&hookbox) else { return };
    browser.wait_for_text("#legend", "4 failed");
    browser.wait_for_text("#chart .most", "4");
    let is_right = "const [received, failed] = ['received', 'failed'].map((it) =>
            [...document.querySelectorAll(`#chart .${it}`)].map((bar) => bar.getBBox()).find((bar) => bar.height > 0));
        return failed.y >= received.y && failed.y + failed.height <= received.y + received.height + 0.1";
    assert_eq!(browser.run(is_right), true, "the failed ones stand on top of the received");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn the_browsers_back_and_forward_bring_the_filters_back() {
    take_turn_with_browser();
    let hookbox = Home::new().with_open_admin().start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.deliver("issues", "d-2", "{}");
    hookbox.wait_until_done();
    let Some(browser) = opened(&hookbox) else { return };
    let field = "return document.querySelector('[name=event]').value";
    browser.wait(&rows(2));
    browser.type_into("[name=event]", "push");
    browser.wait(&rows(1));
    browser.click("#rows a");
    browser.wait_for_text("#event-title", "push");
    browser.run("history.back()");
    browser.wait(&rows(1));
    assert_eq!(browser.run(field), "push");
    browser.click("[type=reset]");
    browser.wait(&rows(2));
    browser.run("history.back()");
    browser.wait(&rows(1));
    assert_eq!(browser.run(field), "push", "what the list is filtered by");
    browser.run("history.forward()");
    browser.wait(&rows(2));
    assert_eq!(browser.run(field), "");
    // A bookmark, opened in another tab.
    browser.open("about:blank");
    browser.open(&format!("{}#event=issues&status=processed", url(&hookbox)));
    browser.wait_for_text("#rows", "issues");
    browser.wait(&rows(1));
    assert_eq!(browser.run("return document.querySelector('[name=status]').value"), "processed");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn who_has_sent_too_many_wrong_tokens_is_told_to_wait() {
    take_turn_with_browser();
    let hookbox = Home::with_config(&format!("[admin]\ntoken = 'correct horse'\n{SOURCE}")).with_admin().start();
    let Some(browser) = opened(&hookbox) else { return };
    browser.wait("document.querySelector('#ask').open");
    let guess = Request::get("/api/stats").with("Host", "localhost").header("Authorization", "Bearer wrong");
    for _ in 0..12 {
        hookbox.admin_address().send(&guess);
    }
    browser.type_into("#token", "correct horse");
    browser.press(ENTER);
    browser.wait_for_text("#headline", "too many wrong tokens: try again in a minute");
    assert_eq!(browser.run("return localStorage.getItem('token')"), "correct horse", "it may be right");
    assert_eq!(browser.run("return document.querySelector('#ask').open"), false);
}

#[test]
fn rejects_are_shown_after_a_restart() {
    take_turn_with_browser();
    let hookbox = Home::new().with_open_admin().start();
    hookbox.send(&Request::github("push", "d-1", "{}").signed_with("wrong"));
    let (home, _) = hookbox.stop();
    let hookbox = home.start();
    let Some(browser) = opened(&hookbox) else { return };
    browser.wait_for_text("#headline", "sent to github was rejected");
    browser.wait_for_text("#rejects", "from 127.0.0.0/24");
    browser.wait_for_text("#legend", "1 rejected");
}

#[test]
fn a_scanner_of_paths_displaces_no_rejection_of_a_source() {
    take_turn_with_browser();
    let hookbox = Home::new().with_open_admin().start();
    hookbox.send(&Request::github("push", "d-1", "{}").signed_with("wrong"));
    for n in 0..20 {
        hookbox.send(&Request::get(&format!("/{n}.php")));
    }
    let Some(browser) = opened(&hookbox) else { return };
    browser.wait_for_text("#rejects li", "is it the same secret on both sides?");
    browser.wait("document.querySelectorAll('#rejects > li').length === 5");
    browser.click("#further-count");
    browser.wait("document.querySelectorAll('#further > li').length === 16");
}

/// Values that would do harm as HTML, as an address, or as text from right to left.
#[test]
fn hostile_values_stay_text() {
    take_turn_with_browser();
    let hookbox = Home::new().with_open_admin().start();
    let body = r#"{"<img src=x onerror=hacked()>": "<script>hacked()</script>", "url": "javascript:hacked()",
                   "name": "moc.elpmaxe\u202eevil", "proto": {"__proto__": {"a": 1}, "constructor": 2}}"#;
    let evil = Request::github("<script>hacked()</script>", "\"><img src=x onerror=hacked()>", body)
        .with("X-Hub-Signature-256", &sign_github(SECRET, body.as_bytes()))
        .with("User-Agent", "<img src=x onerror=hacked()>")
        .header("X-Evil", "javascript:hacked()");
    assert_eq!(hookbox.send(&evil).status, 200);
    hookbox.send(&Request::get("/<img/src=x/onerror=hacked()>"));
    hookbox.wait_until_done();
    let Some(browser) = opened(&hookbox) else { return };
    let is_clean = "document.scripts.length === 1 && document.images.length === 1 && typeof hacked === 'undefined' \
                    && !document.querySelector('[href^=\"javascript\" i], iframe, object, [onerror]')";
    browser.run("window.hits = 0; window.addEventListener('securitypolicyviolation', () => window.hits++)");
    browser.wait_for_text("#rows", "<script>hacked()</script>");
    browser.wait_for_text("#rejects", "/<img/src=x/onerror=hacked()>");
    assert_eq!(browser.run(&format!("return {is_clean}")), true);
    browser.click("#rows a");
    browser.wait_for_text("#event-title", "<script>hacked()</script> from github");
    browser.wait_for_text("#tree", "<img src=x onerror=hacked()>: \"<script>hacked()</script>\"");
    browser.wait_for_text("#tree", "moc.elpmaxe\\u202eevil");
    browser.run("document.querySelectorAll('details').forEach((it) => { it.open = true })");
    browser.wait_for_text("#headers", "<img src=x onerror=hacked()>");
    browser.wait_for_text("#tree", "constructor: 2");
    assert_eq!(browser.run(&format!("return {is_clean} && window.hits === 0")), true);

    // If the page made a mistake, the browser would block it.
    let mistake =
        "try { document.body.innerHTML = '<img src=x onerror=hacked()>'; return 'done' } catch { return 'stopped' }";
    assert_eq!(browser.run(mistake), "stopped");
}

#[test]
fn emoji_are_whole_and_text_from_right_to_left_does_not_move_what_is_around_it() {
    take_turn_with_browser();
    let hookbox = Home::new().with_open_admin().start();
    let body = "{\"family\": \"\u{1f469}\u{200d}\u{1f467}\", \"joined\": \"a\u{200d}b\", \"arabic\": \"\u{639}\u{631} \u{202e}x\"}";
    hookbox.deliver("push", "d-1", body);
    let Some(browser) = Browser::start() else { return };
    browser.open(&format!("{}#id=1", url(&hookbox)));
    browser.wait_for_text("#tree", "family: \"\u{1f469}\u{200d}\u{1f467}\"");
    browser.wait_for_text("#tree", "joined: \"a\\u200db\"");
    // The quotes stand at both ends, also of a text that begins from right to left.
    let ends = "const text = [...document.querySelectorAll('#tree .string bdi')].find((it) => it.innerText.includes('x')).firstChild;
        const left = (at) => { const range = document.createRange(); range.setStart(text, at); range.setEnd(text, at + 1);
            return range.getBoundingClientRect().left; };
        const all = [...text.data].map((_, at) => left(at));
        return all[0] === Math.min(...all) && all.at(-1) === Math.max(...all)";
    assert_eq!(browser.run(ends), true);
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn a_page_of_another_origin_can_do_nothing() {
    take_turn_with_browser();
    let hookbox = Home::new().with_open_admin().start();
    hookbox.deliver("push", "d-1", "{}");
    let elsewhere = Stub::http();
    let Some(browser) = Browser::start() else { return };
    browser.open(&elsewhere.url("/"));
    let admin = url(&hookbox);
    let attempt = |request: &str| {
        let script = format!(
            "return fetch('{admin}' + {request}).then((it) => it.type === 'opaque' ? 'opaque' : it.text(), () => 'refused')"
        );
        browser.run(&script)
    };
    assert_eq!(attempt("'api/events'"), "refused");
    assert_eq!(attempt("'api/actions/log/pause', {method: 'POST', headers: {'X-Hookbox': '1'}}"), "refused");
    let blind = attempt("'api/actions/log/pause', {method: 'POST', mode: 'no-cors'}");
    assert!(["opaque", "refused"].contains(&blind.as_str().unwrap()), "{blind}");
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM paused")[0], 0);
}

#[test]
fn a_token_is_asked_for_and_kept() {
    take_turn_with_browser();
    let config = format!("[admin]\ntoken = 'correct horse'\n{SOURCE}");
    let hookbox = Home::with_config(&config).with_admin().start();
    hookbox.deliver("push", "d-1", "{}");
    let Some(browser) = opened(&hookbox) else { return };
    browser.wait("document.querySelector('#ask').open");
    browser.type_into("#token", "wrong");
    browser.press(ENTER);
    browser.wait_for_text("#refused", "not the token");
    browser.type_into("#token", "correct horse");
    browser.press(ENTER);
    browser.wait(&rows(1));
    browser.run("location.reload()");
    browser.wait(&rows(1));
    assert_eq!(browser.run("return document.querySelector('#ask').open"), false);
}

#[test]
fn the_address_of_hookbox_page_opens_the_page_and_shows_the_token_no_longer() {
    take_turn_with_browser();
    let hookbox = Home::new().with_admin().start();
    hookbox.deliver("push", "d-1", "{}");
    let Some(browser) = Browser::start() else { return };
    let address = url_with_token(&hookbox);
    browser.open(&address);
    browser.wait(&rows(1));
    assert_eq!(browser.run("return location.hash"), "");
    browser.open("about:blank");
    browser.open(&url(&hookbox));
    browser.wait(&rows(1));
    assert_eq!(browser.run("return document.querySelector('#ask').open"), false);
    // In a tab that asks for it.
    browser.run("localStorage.clear(); location.reload()");
    browser.wait("document.querySelector('#ask').open");
    browser.run(&format!("location.href = '{}&status=processed'", address));
    browser.wait(&rows(1));
    assert_eq!(
        browser.run("return [document.querySelector('#ask').open, location.hash].join()"),
        "false,#status=processed"
    );
}

#[test]
fn a_stopped_server_is_reported_and_found_again() {
    take_turn_with_browser();
    let home = Home::new().with_open_admin();
    let hookbox = home.start();
    hookbox.deliver("push", "d-1", "{}");
    let Some(browser) = opened(&hookbox) else { return };
    browser.wait(&rows(1));
    let Address::Tcp(admin) = hookbox.admin_address() else { return };
    let (home, _) = hookbox.stop();
    browser.wait_for_text("#headline", "No answer from hookbox");
    let _hookbox = home.admin(Some(&admin.to_string())).start();
    browser.wait_for_text("#headline", "All is well");
}

/// The luminance of a color and the contrast of two: <https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio>
const CONTRAST: &str = "
    const light = (color) => color.match(/[\\d.]+/g).slice(0, 3).map((it) => it / 255)
        .map((it) => it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4)
        .reduce((sum, it, at) => sum + it * [0.2126, 0.7152, 0.0722][at], 0);
    const ground = (it) => {
        const color = getComputedStyle(it).backgroundColor;
        return color === 'rgba(0, 0, 0, 0)' ? ground(it.parentElement) : color;
    };
    const worst = [...document.querySelectorAll('main *, header *')]
        .filter((it) => it.checkVisibility() && [...it.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
        .map((it) => {
            const [a, b] = [light(getComputedStyle(it).color), light(ground(it))];
            return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), it.outerHTML.slice(0, 80)];
        }).sort((a, b) => a[0] - b[0])[0];
    return worst";

/// The same of what surrounds a control and stands in an empty one: <https://www.w3.org/TR/WCAG22/#non-text-contrast>
const CONTRAST_OF_CONTROLS: &str = "
    const faint = [...document.querySelectorAll('button, input, select')].filter((it) => it.checkVisibility())
        .filter((it) => {
            const ground_of_it = light(ground(it.parentElement));
            const contrast = (color) => (Math.max(light(color), ground_of_it) + 0.05) / (Math.min(light(color), ground_of_it) + 0.05);
            const hint = getComputedStyle(it, '::placeholder');
            return contrast(getComputedStyle(it).borderColor) < 3 || it.placeholder && contrast(hint.color) * hint.opacity < 4.5;
        });
    return faint.map((it) => it.outerHTML)";

#[test]
fn contrast_is_sufficient_in_light_and_dark() {
    take_turn_with_browser();
    let config = format!(
        "{SOURCE}[actions.team]\nkind = 'http'\nurl = 'http://127.0.0.1:{}'\non = ['*:issues']\nattempts = 1\n",
        closed_port()
    );
    let hookbox = Home::with_config(&config).with_open_admin().start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.deliver("issues", "d-2", r#"{"text": "a", "number": 1}"#);
    hookbox.send(&Request::github("push", "d-3", "{}").signed_with("wrong"));
    let Some(browser) = opened(&hookbox) else { return };
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        for target in ["#", "#id=2"] {
            browser.open(&format!("{}{target}", url(&hookbox)));
            browser.wait_for_text("#headline", "1 event could not be processed");
            browser.wait_for_text(
                if target == "#" { "#rows" } else { "#jobs" },
                if target == "#" { "error" } else { "dead" },
            );
            let worst = browser.run(CONTRAST);
            assert!(worst[0].as_f64().unwrap() >= 4.5, "{scheme} {target}: {worst}");
            let helpers = CONTRAST.split("const worst").next().unwrap_or_default();
            let faint = browser.run(&format!("{helpers}{CONTRAST_OF_CONTROLS}"));
            assert_eq!(faint, serde_json::json!([]), "{scheme} {target}");
        }
        grounds.push(browser.run("return getComputedStyle(document.body).backgroundColor"));
    }
    assert_ne!(grounds[0], grounds[1]);
}

#[test]
fn the_page_fits_a_phone_and_its_buttons_fit_fingers() {
    take_turn_with_browser();
    let hookbox = Home::new().with_open_admin().start();
    let deep = (0..50).fold("1".to_owned(), |inner, _| format!(r#"{{"key": {inner}}}"#));
    let body = format!(r#"{{"long": "{}", "words": "{}", "deep": {deep}}}"#, "x".repeat(2000), "y ".repeat(500));
    hookbox.deliver(&"long".repeat(60), &"id".repeat(100), &body);
    hookbox.send(&Request::get(&format!("/{}", "z".repeat(150))));
    hookbox.wait_until_done();
    let Some(browser) = opened(&hookbox) else { return };
    browser.resize(360, 740);
    for (target, selector, text) in [("#", "#rows", "processed"), ("#id=1", "#jobs", "succeeded")] {
        browser.open(&format!("{}{target}", url(&hookbox)));
        browser.wait_for_text(selector, text);
        unfold_all(&browser);
        let width = browser.run("return document.documentElement.scrollWidth");
        assert!(width.as_u64().unwrap() <= 360, "{target} is {width} wide");
        let small = "return [...document.querySelectorAll('button, input, select, details:not(.tree *) > summary')]
            .filter((it) => it.checkVisibility() && it.getBoundingClientRect().height < 40).map((it) => it.outerHTML)";
        assert_eq!(browser.run(small), serde_json::json!([]));
    }
    let squeezed = "return [...document.querySelectorAll('#tree div')].filter((it) => it.clientWidth < 150).length";
    assert_eq!(browser.run(squeezed), 0);
    browser.open(&url(&hookbox));
    browser.wait(&rows(1));
    let middle_of_the_row = "document.querySelector('#rows tr').scrollIntoView();
        const it = document.querySelector('#rows tr').getBoundingClientRect();
        return document.elementFromPoint(it.x + it.width / 2, it.y + it.height / 2).closest('a') !== null";
    assert_eq!(browser.run(middle_of_the_row), true);
}

/// Nodes are made when the one around them is unfolded.
fn unfold_all(browser: &Browser) {
    let unfold = "const folded = document.querySelectorAll('details:not([open])');
        folded.forEach((it) => { it.open = true }); return folded.length === 0";
    browser.wait(&format!("(() => {{ {unfold} }})()"));
}

#[test]
fn a_long_name_leaves_room_for_the_other_columns() {
    take_turn_with_browser();
    let hookbox = Home::new().with_open_admin().start();
    hookbox.deliver(&"long.".repeat(50), &"id".repeat(100), "{}");
    hookbox.wait_until_done();
    let Some(browser) = opened(&hookbox) else { return };
    browser.wait_for_text("#rows", "processed");
    let is_on_one_line = "const line = parseFloat(getComputedStyle(document.body).lineHeight);
        return [2, 3, 4].every((at) => {
            const cell = document.querySelector(`#rows td:nth-child(${at}) > *`);
            return cell.getBoundingClientRect().height < 1.5 * line;
        })";
    assert_eq!(browser.run(is_on_one_line), true);
    let height = browser.run("return document.querySelector('#rows tr').clientHeight");
    assert!(height.as_u64().unwrap() < 120, "{height}");
}

/// Of sources, actions and what is not well, until a person asks for all.
#[test]
fn hundreds_of_sources_and_actions_do_not_hide_the_events() {
    take_turn_with_browser();
    let source = |n: usize| format!("[sources.s{n}]\nverify = 'none'\n");
    let action = |n: usize| format!("[actions.a{n}]\nkind = 'log'\non = 's{n}:*'\n");
    let config: String = (0..200).map(source).chain((0..200).map(action)).collect();
    let hookbox = Home::with_config(&config).with_open_admin().start();
    assert_eq!(hookbox.send(&Request::new("POST", "/webhooks/s150").body("{}")).status, 200);
    let Some(browser) = opened(&hookbox) else { return };
    browser.wait(&rows(1));
    browser.wait_for_text("#actions li", "a150");
    for list in ["reasons", "sources", "actions"] {
        let lines = browser.run(&format!("return document.querySelectorAll('#{list} > li').length"));
        assert!(lines.as_u64().unwrap() < 12, "{list}: {lines}");
        browser.run(&format!("document.querySelector('#{list} > li:last-child > button').click()"));
        browser.wait(&format!("document.querySelectorAll('#{list} > li').length >= 200"));
        assert_eq!(browser.run("return document.activeElement.id"), list);
    }
    browser.click("#rows a");
    browser.wait_for_text("#jobs", "Show 191 more");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn a_job_of_an_action_with_a_long_name_fits_a_phone() {
    take_turn_with_browser();
    let name = "a-name-of-an-action-".repeat(4)[..64].to_owned();
    let action = format!("[actions.{name}]\nkind = 'command'\nrun = 'false'\nattempts = 1\non = '*'\n");
    let hookbox = Home::with_config(&format!("{SOURCE}{action}")).with_open_admin().start();
    hookbox.deliver("issues", "d-1", "{}");
    hookbox.wait_until_done();
    let Some(browser) = Browser::start() else { return };
    for width in [320, 390] {
        browser.resize(width, 900);
        browser.open("about:blank");
        browser.open(&format!("{}#id=1", url(&hookbox)));
        browser.wait_for_text("#jobs", "dead");
        // innerWidth grows with what is too wide.
        assert_eq!(browser.run("return document.documentElement.scrollWidth"), width);
    }
}

#[test]
fn an_address_with_a_filter_that_is_not_offered_shows_it() {
    take_turn_with_browser();
    let hookbox = Home::new().with_open_admin().start();
    hookbox.deliver("push", "d-1", "{}");
    let Some(browser) = opened(&hookbox) else { return };
    browser.open(&format!("{}#since=3h", url(&hookbox)));
    browser.wait(&rows(1));
    assert_eq!(browser.run("return document.querySelector('[name=since]').value"), "3h");
}

/// The page went on loading, without the fields by which the filter could be changed.
#[test]
fn an_address_with_a_filter_that_is_none_shows_the_page_and_what_is_wrong() {
    take_turn_with_browser();
    let hookbox = Home::new().with_open_admin().start();
    hookbox.deliver("push", "d-1", "{}");
    let Some(browser) = opened(&hookbox) else { return };
    for filter in ["status=wrong", "since=tomorrow", "before=x"] {
        browser.open("about:blank");
        browser.open(&format!("{}#{filter}", url(&hookbox)));
        browser.wait_for_text("#none", "No such filter: ");
        browser.wait_for_text("#headline", "All is well");
        browser.click("[type=reset]");
        browser.wait(&rows(1));
    }
}

#[test]
fn an_event_that_does_not_exist_leaves_no_empty_headings() {
    take_turn_with_browser();
    let hookbox = Home::new().with_open_admin().start();
    let Some(browser) = opened(&hookbox) else { return };
    browser.open(&format!("{}#id=99", url(&hookbox)));
    browser.wait_for_text("#event-title", "There is no event 99.");
    assert!(!browser.text("#event").contains("Payload"));
}

#[test]
fn every_control_has_a_name_and_is_reached_by_keyboard() {
    take_turn_with_browser();
    let hookbox = Home::new().with_open_admin().start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.wait_until_done();
    let Some(browser) = opened(&hookbox) else { return };
    browser.wait(&rows(1));
    let nameless = "return [...document.querySelectorAll('button, input, select, a, summary, section, article')]
        .filter((it) => !(it.innerText || it.textContent).trim() && !it.labels?.length && !it.getAttribute('aria-labelledby'))
        .map((it) => it.outerHTML.slice(0, 80))";
    assert_eq!(browser.run(nameless), serde_json::json!([]));
    assert_eq!(browser.run("return document.querySelectorAll('[role=status]').length"), 2);
    let mut reached = Vec::new();
    for _ in 0..20 {
        browser.press(TAB);
        let at = browser.run("const at = document.activeElement; return at.id || at.name || at.type || at.localName");
        let is_shown = "const it = document.activeElement; return it === document.body || getComputedStyle(it).outlineStyle !== 'none'";
        assert_eq!(browser.run(is_shown), true, "the focus is not seen at {at}");
        reached.push(at.as_str().unwrap().to_owned());
    }
    for wanted in ["skip", "button", "summary", "status", "source", "event", "reset", "a"] {
        assert!(reached.iter().any(|at| at == wanted), "{wanted} is not among {reached:?}");
    }
}
