//! Pictures of the page: that of the README, and others to be looked at.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::driver::Browser;
use super::{opened, rows, url};
use crate::support::{
    DEADLINE, Home, Hookbox, Request, SECRET, SOURCE, closed_port, sign_github, take_turn_with_browser, wait_longer_for,
};

/// That of the README's picture.
const SIZE: (u32, u32) = (1000, 1340);

/// How much of black to white two pictures of the same page differ at most, on average: times and ids do.
const MAX_DIFFERENCE: f64 = 0.01;

/// Deliveries by the hour, the oldest first.
const DAY: [u32; 24] = [3, 2, 1, 1, 2, 5, 9, 14, 18, 22, 19, 15, 12, 17, 24, 28, 26, 21, 18, 14, 11, 9, 6, 7];

fn path_of_picture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/page.png")
}

/// What the README's picture shows: an event that failed, a source that rejects, a day, and the latest events.
fn scene() -> Hookbox {
    let action = |name: &str, on: &str, program: &str, more: &str| {
        format!("[actions.{name}]\nkind = 'command'\nrun = '{program}'\non = '{on}'\n{more}\n")
    };
    let config = format!(
        "[sources.doorbell]\nprovider = 'token'\nsecret = 'x'\nevent = 'json:/kind'\n{SOURCE}\
         [sources.forge]\nprovider = 'gitea'\nsecret = 'env:GITHUB_WEBHOOK_SECRET'\n{}{}{}",
        action("deploy", "*:push", "true", ""),
        action("phone", "doorbell:*", "false", "attempts = 1\nwhen = 'payload.fails'"),
        action("team", "*:issues", "true", ""),
    );
    let hookbox = Home::with_config(&config).with_open_admin().start();
    let mut number = 0;
    for count in DAY {
        for _ in 0..count {
            deliver(&hookbox, number);
            number += 1;
        }
    }
    let ring = Request::new("POST", "/webhooks/doorbell").header("Authorization", "Bearer x");
    assert_eq!(hookbox.send(&ring.body("{\"kind\": \"ring\", \"fails\": true}")).status, 200);
    hookbox.wait_until_done();
    move_into_the_past(&hookbox);
    for number in 0..2 {
        deliver(&hookbox, number);
        deliver(&hookbox, 1000 + number);
    }
    let forged =
        Request::github("push", "x", "{}").target("/webhooks/forge").header("X-Gitea-Signature", &"0".repeat(64));
    assert_eq!(hookbox.send(&forged).status, 401);
    hookbox.wait_until_done();
    hookbox
}

fn deliver(hookbox: &Hookbox, number: usize) {
    let (body, event) = (format!("{{\"number\": {number}}}"), ["push", "issues", "release"][number % 3]);
    let id = format!("c559c0b6-0968-4995-9a03-{number:012x}");
    let request = Request::github(event, &id, &body);
    let signature = sign_github(SECRET, body.as_bytes()).replace("sha256=", "");
    let request = match number % 4 {
        0 => request
            .target("/webhooks/forge")
            .header("X-Gitea-Event", event)
            .header("X-Gitea-Delivery", &id)
            .header("X-Gitea-Signature", &signature),
        _ => request,
    };
    assert_eq!(hookbox.send(&request).status, 200);
}

/// The events get the hours of [`DAY`].
fn move_into_the_past(hookbox: &Hookbox) {
    let (db, mut id) = (hookbox.db(), 0_u32);
    for (at, count) in DAY.iter().enumerate() {
        let sql = "UPDATE webhook_events SET received_at = strftime('%Y-%m-%dT%H:%M:%S+00:00', 'now', ?1) WHERE id > ?2 AND id <= ?3";
        let (hours, last) = (format!("-{} hours", DAY.len() - 1 - at), id + count);
        db.execute(sql, (hours, id, last)).unwrap();
        id = last;
    }
}

/// As the alternative text in the README says.
fn assert_shows_what_the_readme_says(browser: &Browser) {
    browser.wait_for_text("#headline", "1 event could not be processed");
    browser.wait_for_text("#sources", "rejecting");
    browser.wait_for_text("#rejects", "does not match");
    browser.wait_for_text("#legend", "1 failed");
    browser.wait(&rows(50));
}

fn picture_of_scene() -> Option<Vec<u8>> {
    let hookbox = scene();
    let browser = opened(&hookbox)?;
    browser.resize(SIZE.0, SIZE.1);
    browser.prefer("light");
    browser.open(&url(&hookbox));
    assert_shows_what_the_readme_says(&browser);
    Some(browser.screenshot())
}

/// `cargo test picture -- --ignored` writes it.
#[test]
#[ignore = "it writes the README's picture"]
fn makes_the_picture_of_the_readme() {
    take_turn_with_browser();
    std::fs::write(path_of_picture(), picture_of_scene().unwrap()).unwrap();
}

#[test]
fn the_picture_of_the_readme_is_that_of_the_page() {
    take_turn_with_browser();
    let Some(now) = picture_of_scene() else { return };
    let Some(browser) = Browser::start() else { return };
    let source = |picture: &[u8]| format!("data:image/png;base64,{}", STANDARD.encode(picture));
    let shown = std::fs::read(path_of_picture()).unwrap();
    let compare = format!(
        "const pixels = (src) => new Promise((done, failed) => {{
             const image = new Image();
             image.onerror = failed;
             image.onload = () => {{
                 const canvas = document.createElement('canvas');
                 canvas.width = 250; canvas.height = 335;
                 const context = canvas.getContext('2d');
                 context.drawImage(image, 0, 0, 250, 335);
                 done([image.width, image.height, context.getImageData(0, 0, 250, 335).data]);
             }};
             image.src = src;
         }});
         return Promise.all([pixels('{}'), pixels('{}')]).then(([a, b]) => {{
             let sum = 0;
             a[2].forEach((value, at) => {{ sum += Math.abs(value - b[2][at]); }});
             return [a[0], a[1], sum / a[2].length / 255];
         }});",
        source(&shown),
        source(&now)
    );
    let found = browser.run(&compare);
    assert_eq!((&found[0], &found[1]), (&SIZE.0.into(), &SIZE.1.into()));
    let difference = found[2].as_f64().unwrap();
    println!("it differs by {difference}");
    assert!(difference < MAX_DIFFERENCE, "by {difference}; make it again: cargo test picture -- --ignored");
}

/// What is hard to show: nothing, very much, very long, from right to left.
#[test]
#[ignore = "it writes pictures to target/pictures, to be looked at"]
fn makes_pictures_to_look_at() {
    take_turn_with_browser();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pictures");
    std::fs::create_dir_all(&directory).unwrap();
    let (empty, busy, hard) = (Home::new().with_open_admin().start(), scene(), hard_scene());
    let browser = Browser::start().unwrap();
    for (name, width, height, scheme) in [
        ("light", 1200, 1500, "light"),
        ("dark", 1200, 1500, "dark"),
        ("phone", 390, 2400, "light"),
        ("phone-dark", 390, 2400, "dark"),
    ] {
        browser.resize(width, height);
        browser.prefer(scheme);
        for (scene, target, hookbox) in [
            ("empty", "", &empty),
            ("busy", "", &busy),
            ("busy-event", "#id=1", &busy),
            ("hard", "", &hard),
            ("hard-event", "#id=1", &hard),
            ("hard-failed", "#id=2", &hard),
        ] {
            browser.open("about:blank");
            browser.open(&format!("{}{target}", url(hookbox)));
            browser.wait("!document.querySelector('#headline').innerText.includes('Loading')");
            if !target.is_empty() {
                browser.wait_for_text("#facts", "Received");
            }
            std::fs::write(directory.join(format!("{scene}-{name}.png")), browser.screenshot()).unwrap();
        }
    }
    let guarded = Home::with_config(&format!("[admin]\ntoken = 'correct horse'\n{SOURCE}")).with_admin().start();
    for (name, scheme) in [("light", "light"), ("dark", "dark")] {
        browser.prefer(scheme);
        browser.resize(390, 844);
        browser.open(&url(&guarded));
        browser.wait("document.querySelector('#ask').open");
        browser.type_into("#token", "wrong");
        browser.press(super::ENTER);
        browser.wait_for_text("#refused", "not the token");
        std::fs::write(directory.join(format!("dialog-{name}.png")), browser.screenshot()).unwrap();
    }
}

fn hard_scene() -> Hookbox {
    let action = format!(
        "[actions.a-very-long-name-of-an-action-that-posts-to-the-whole-team]\nkind = 'http'\nurl = 'http://127.0.0.1:{}'\n\
         on = '*:issues'\nbackoff = '1h'\n[actions.pausable]\nkind = 'log'\non = '*:push'\n",
        closed_port()
    );
    let hookbox = Home::with_config(&format!("{SOURCE}{action}")).with_open_admin().start();
    hookbox.run(["pause", "pausable"]).ok();
    let body = format!(
        "{{\"name\": \"عربي \u{202e}moc.elpmaxe\", \"emoji\": \"👩‍👩‍👧 🏴‍☠️ 🇩🇪\", \"hebrew\": \"שלום עולם\", \"cjk\": \"{}\", \"long\": \"{}\", \
         \"number\": 12345678901234567890, \"deep\": {{\"a\": {{\"b\": [1, 2, {{\"c\": null}}]}}}}}}",
        "漢字".repeat(60),
        "x".repeat(600)
    );
    hookbox.deliver(&"very.long.event.type.".repeat(8), &"very-long-id-".repeat(15), &body);
    hookbox.deliver("issues", "d-2", &body);
    let is_failing = || hookbox.query::<i64>("SELECT count(*) FROM troubles")[0] == 1;
    wait_longer_for("a failure", DEADLINE, || is_failing().then_some(()));
    let insert = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 10000)
        INSERT INTO webhook_events (source, event_type, delivery_id, payload_json, received_at, status)
        SELECT 'github', 'push', 'p-' || n, '{}', strftime('%Y-%m-%dT%H:%M:%S+00:00', 'now'), 'unprocessed' FROM n";
    hookbox.db().execute_batch(insert).unwrap();
    hookbox.send(&Request::github("push", "x", "{}").signed_with("wrong"));
    for n in 0..8 {
        hookbox.send(&Request::get(&format!("/{n}/{}", "wp-login.php/".repeat(12))));
    }
    hookbox
}
