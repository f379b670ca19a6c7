//! The first minutes, by the README and by the chapter `start`.

use super::patient;
use crate::support::{Machine, example, wait_for};

const README: &str = "README.md";
const START: &str = "src/manual/start.md";

/// The words of each line, without ids and times: those of the README are of another run.
fn words(printed: &str) -> String {
    let is_id_or_time =
        |word: &str| word.len() >= 8 && word.chars().all(|c| c.is_ascii_hexdigit() || "-:,".contains(c));
    let line = |line: &str| line.split_whitespace().filter(|word| !is_id_or_time(word)).collect::<Vec<_>>().join(" ");
    printed.lines().map(|it| line(it) + "\n").collect()
}

/// The two commands of a block, which are for two terminals.
fn two_lines(block: &str) -> [&str; 2] {
    let lines: Vec<&str> = block.lines().collect();
    lines.try_into().unwrap()
}

#[test]
fn the_readmes_first_minute_is_as_it_says() {
    let Some(machine) = Machine::new() else { return };
    let start = example(README, "sh", "cargo run --release     # receives");
    let [run, test] = two_lines(&start);
    assert!(test.starts_with("cargo test "), "`.ci/run` runs it: {test}");
    let hookbox = machine.serve(run);
    assert!(hookbox.stderr().contains("http://127.0.0.1:5000"), "{}", hookbox.stderr());
    let (curl, two_lines) = (example(README, "sh", "curl -i"), example(README, "text", "[1]"));
    for _ in 0..2 {
        let answer = machine.paste(&curl);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    }
    hookbox.wait_for_stdout(&two_lines);
    assert_eq!(hookbox.stdout(), two_lines, "sent again, it is not processed again");
    let sent = machine.paste(&example(README, "sh", "cargo run --release -- send"));
    assert_eq!(words(&sent.replace("unprocessed", "processed")), words(&example(README, "text", "sent ping")));
}

/// A delivery without a signature is answered 401 from then on.
fn assert_verified(machine: &Machine, block: &str) {
    let [serve, send] = two_lines(block);
    let _hookbox = machine.serve(serve);
    assert!(machine.paste(send).contains(": 200 OK"), "{send}");
    let unsigned = machine.paste(&example(README, "sh", "curl -i"));
    assert!(unsigned.starts_with("HTTP/1.1 401 "), "{unsigned}");
}

#[test]
fn the_readmes_secret_is_verified() {
    let Some(machine) = Machine::new() else { return };
    let _hookbox = machine.serve(&example(README, "sh", "GITHUB_WEBHOOK_SECRET=change-me cargo run --release   "));
    for line in example(README, "sh", "GITHUB_WEBHOOK_SECRET=change-me cargo run --release -- send").lines() {
        let (_, answer) = line.rsplit_once("# ").unwrap();
        assert!(machine.paste(line).contains(answer), "{line}");
    }
}

#[test]
fn the_readmes_config_runs_a_program_once_for_a_burst_of_pushes_to_main() {
    let Some(machine) = Machine::new() else { return };
    machine.put("hookbox.toml", &example(README, "toml", "[sources.github]"));
    machine.put("deploy.sh", "#!/bin/sh\necho \"$@\" >>deployed; cat >>deployed\n");
    let secret = "GITHUB_WEBHOOK_SECRET=change-me";
    machine.paste("chmod 755 deploy.sh");
    let checked = machine.paste(&format!("{secret} cargo run --release -- check"));
    assert!(checked.contains("github:push") && checked.contains("./deploy.sh"), "{checked}");
    let _hookbox = machine.serve(&format!("{secret} cargo run --release"));
    let push = |branch: &str, after: &str| format!("{{\"ref\":\"refs/heads/{branch}\",\"after\":\"{after}\"}}");
    for number in 1..=10 {
        machine.put("push.json", &push("main", &format!("commit-{number} ; rm -rf x")));
        machine.paste(&format!("{secret} hookbox send github --event push --file push.json"));
    }
    machine.put("push.json", &push("other", "other"));
    machine.paste(&format!("{secret} hookbox send github --event push --file push.json"));
    patient("every event to be processed", || machine.paste("hookbox list --json --status unprocessed").is_empty());
    let last = "commit-10 ; rm -rf x";
    assert_eq!(machine.read("deployed"), format!("{last}\n{}", push("main", last)));
}

#[test]
fn the_first_delivery_is_as_the_chapter_start_says() {
    let Some(machine) = Machine::new() else { return };
    let hookbox = machine.serve(&example(START, "sh", "hookbox\n"));
    let listed = machine.paste(&example(START, "sh", "hookbox send github\nhookbox list"));
    assert!(listed.contains("200 OK") && listed.contains("ping"), "{listed}");
    wait_for("two lines", || (hookbox.stdout().lines().count() == 2).then_some(()));
    machine.stop("hookbox");
    assert_verified(&machine, &example(START, "sh", "GITHUB_WEBHOOK_SECRET=change-me hookbox\n"));
}
