//! What the program says about itself: `help TOPIC`, shell completions, the man page.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::support::{Home, Output, in_a_terminal, runner};

/// The first words of the lines of a list in the help, after this title.
fn listed(help: &Output, title: &str) -> Vec<String> {
    let text = help.text();
    let list = text.split_once(&format!("{title}:\n")).unwrap_or_else(|| panic!("no {title} in {text}")).1;
    let lines = list.lines().take_while(|line| !line.is_empty());
    lines.filter_map(|line| Some(line.strip_prefix("  ")?.split(' ').next()?.to_owned())).collect()
}

#[test]
fn help_lists_commands_and_chapters_and_prints_each() {
    let home = Home::new();
    let help = home.run(["help"]).ok();
    assert!(help.text().starts_with(&home.run(["--help"]).ok().text()));
    let (commands, chapters) = (listed(&help, "Commands"), listed(&help, "The manual, with hookbox help CHAPTER"));
    assert!(commands.len() > 15 && chapters.len() > 10, "{help}");
    for command in &commands {
        let text = home.run(["help", command]).ok().text();
        assert!(text.starts_with(&home.run([command, "--help"]).ok().text()), "{text}");
    }
    for chapter in &chapters {
        let text = home.run(["help", chapter]).ok().text();
        let source = format!("{}/src/manual/{chapter}.md", env!("CARGO_MANIFEST_DIR"));
        assert!(text.ends_with(&std::fs::read_to_string(source).unwrap()), "{text}");
    }
    assert!(!home.path("webhooks.db").exists());
}

#[test]
fn an_unknown_topic_is_exit_2_with_the_nearest() {
    Home::new().run(["help", "recieps"]).refused(2, &["recieps", "did you mean recipes?"]);
    Home::new().run(["help", "frobnicate"]).refused(2, &["frobnicate", "hookbox help"]);
}

/// What an operator asks, where it is answered, and what the answer has.
const QUESTIONS: [(&str, &str, &str); 20] = [
    ("why 401", "troubleshooting", "The secret is not the same on both sides"),
    ("why is it answered 404", "troubleshooting", "404 is answered where no source has this address"),
    ("move to another machine", "systemd", "hookbox-move.tgz"),
    ("disk full", "troubleshooting", "hookbox prune --older-than 30d"),
    ("secret rotated", "troubleshooting", "secret = [\"env:NEW\", \"env:OLD\"]"),
    ("retry a failed one", "troubleshooting", "hookbox replay 7"),
    ("too many open files", "troubleshooting", "LimitNOFILE=4096"),
    ("behind cloudflare", "troubleshooting", "https://www.cloudflare.com/ips/"),
    ("replay everything of last night", "troubleshooting", "hookbox replay --since 12h --again"),
    ("upgrade", "systemd", "That is why the backup comes first"),
    ("uninstall", "systemd", "sudo systemctl disable --now hookbox.socket"),
    ("duplicate deliveries", "sources", "A delivery that is already stored"),
    ("GitHub says timed out", "troubleshooting", "401 means that all is well up to hookbox"),
    ("nothing happens", "troubleshooting", "whose `on` matches nothing"),
    ("outage", "troubleshooting", "GitHub, GitLab, Gitea"),
    ("gitea does not call my LAN address", "gitea", "ALLOWED_HOST_LIST"),
    ("another port", "config", "listen = \"127.0.0.1:5000\""),
    ("forgot the token of the page", "page", "webhooks.db.token"),
    ("max_body", "config", "max_body = \"25MiB\""),
    ("--older-than", "prune", "instead of the ages"),
];

#[test]
fn help_finds_the_answer_to_an_operators_question() {
    let home = Home::new();
    for (question, topic, answer) in QUESTIONS {
        let words = ["help", "--grep"].into_iter().chain(question.split(' '));
        let found = home.run(words).ok().text();
        let reads_on =
            found.contains(&format!("hookbox help {topic}")) || found.contains(&format!("providers {topic}"));
        assert!(found.contains(answer) && reads_on, "{question}:\n{found}");
        assert_eq!(home.run(["help", "--grep", question]).ok().text(), found);
    }
}

/// More of them in few words: statuses, messages of errors, other words than the manual has, typing mistakes in case.
const KEYWORDS: [(&str, &str, &str); 78] = [
    ("400", "limits", "malformed HTTP"),
    ("405", "limits", "wrong method"),
    ("408", "limits", "within 10 seconds"),
    ("411", "limits", "something in front of hookbox"),
    ("413", "limits", "larger than `max_body`"),
    ("414", "limits", "something in front of hookbox"),
    ("415", "limits", "other than gzip"),
    ("417", "limits", "`100-continue`"),
    ("421", "limits", "something in front of hookbox"),
    ("429", "retries", "`retry_after_ms`"),
    ("431", "limits", "more than 64 header fields"),
    ("500 internal server error", "limits", "something in front of hookbox"),
    ("501", "limits", "something in front of hookbox"),
    ("502 bad gateway", "limits", "unless hookbox logs them"),
    ("503", "limits", "cannot be stored now"),
    ("504 gateway timeout", "limits", "unless hookbox logs them"),
    ("not found", "limits", "no such source"),
    ("duplicate", "sources", "A delivery that is already stored"),
    ("Duplicates", "sources", "A delivery that is already stored"),
    ("lost", "troubleshooting", "What arrived is not lost"),
    ("SD card", "database", "To spare SD cards"),
    ("sdcard", "database", "To spare SD cards"),
    ("no space left on device", "troubleshooting", "hookbox prune --older-than 30d"),
    ("update", "database", "brings the database up to date"),
    ("rotate secrets", "troubleshooting", "secret = [\"env:NEW\", \"env:OLD\"]"),
    ("ipv6", "proxy", "IPv4 address within"),
    ("https", "proxy", "has the certificate"),
    ("certificate", "proxy", "has the certificate"),
    ("timezone", "database", "UTC"),
    ("clock", "troubleshooting", "whether the clock is right"),
    ("timeout", "actions", "`timeout` (default `\"30s\"`"),
    ("slow", "troubleshooting", "waits for no action"),
    ("out of memory", "limits", "idle: 10 MiB"),
    ("RAM", "limits", "idle: 10 MiB"),
    ("docker", "install", "docker run"),
    ("raspberry", "install", "Raspberry Pi OS"),
    ("remove package", "install", "sudo apt remove hookbox"),
    ("login", "page", "webhooks.db.token"),
    ("permission denied", "troubleshooting", "must belong to the user that runs hookbox"),
    ("Permission denied (os error 13)", "troubleshooting", "must belong to the user that runs hookbox"),
    ("database is locked", "troubleshooting", ".timeout 5000"),
    ("port already in use", "troubleshooting", "ss -ltnp"),
    ("Address already in use", "troubleshooting", "ss -ltnp"),
    ("Redeliver", "retries", "queues the dead jobs"),
    ("ping", "start", "ping immediately"),
    ("cannot start", "troubleshooting", "journalctl -u hookbox"),
    ("doesn't start", "troubleshooting", "journalctl -u hookbox"),
    ("signature mismatch", "troubleshooting", "The secret is not the same on both sides"),
    ("no such source", "troubleshooting", "404 is answered where"),
    ("events are kept forever", "config", "default: everything is kept forever"),
    ("branch", "actions", "refs/heads/main"),
    ("several repositories", "sources", "can share a source"),
    ("self-signed certificate", "actions", "ca_file"),
    ("rate limit", "limits", "There is no rate limit"),
    ("parallel", "actions", "`concurrency` (default `1`)"),
    ("email", "recipes", "Mail"),
    ("database disk image is malformed", "troubleshooting", "The database is damaged"),
    ("corrupt", "troubleshooting", "The database is damaged"),
    ("windows", "install", "on Windows and macOS"),
    ("traefik", "proxy", "Traefik"),
    ("public url", "sources", "public_url"),
    ("exit code 2", "--help", "exit code 2"),
    ("log level", "--help", "--log-level"),
    ("prometheus", "metrics", "`GET /metrics`"),
    ("restore", "backup", "sudo systemctl stop"),
    ("stripe", "stripe", "Stripe-Signature"),
    ("add a second secret", "troubleshooting", "[\"env:NEW\", \"env:OLD\"]"),
    ("event stuck", "troubleshooting", "what each job of an event waits for"),
    ("log is too noisy", "--help", "--log-level"),
    ("page from my laptop", "page", "ssh -L 5001"),
    ("run a script on push", "recipes", "[actions.site]"),
    ("stop sending to slack", "retries", "hookbox pause team"),
    ("what if the power fails", "troubleshooting", "is on the disk"),
    ("rollback to the old version", "database", "systemctl stop hookbox.socket"),
    ("high availability", "reach", "several of them side by side"),
    ("start on boot", "systemd", "when the machine boots"),
    ("filter by branch", "templates", "payload.ref == 'refs/heads/main'"),
    ("backup s3", "backup", "object store"),
];

/// What is read at a glance, and what is too long to be read.
const NEAR_THE_TOP: usize = 25;
const TOO_LONG: usize = 65;

#[test]
fn help_has_the_answer_to_a_word_near_the_top() {
    let home = Home::new();
    for (question, topic, answer) in KEYWORDS {
        let found = home.run(["help", "--grep"].into_iter().chain(question.split(' '))).ok().text();
        let top = found.lines().take(NEAR_THE_TOP).flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ");
        assert!(top.contains(answer), "{question}: no {answer:?} near the top of\n{found}");
        let reads_on = ["hookbox help", "hookbox providers", "hookbox"].map(|command| format!("{command} {topic}"));
        assert!(reads_on.iter().any(|command| found.contains(command)), "{question}:\n{found}");
        assert!(found.lines().count() < TOO_LONG, "{question}:\n{found}");
    }
}

#[test]
fn help_finds_every_key_of_the_config() {
    let home = Home::new();
    let schema = schema();
    let mut keys = BTreeSet::new();
    collect_keys(&schema, &mut keys);
    assert!(keys.len() > 50, "{keys:?}");
    for key in keys {
        let found = home.run(["help", "--grep", key]).ok().text();
        assert!(has_word(&found, key) && !found.starts_with("nothing has"), "{key}:\n{found}");
    }
}

fn has_word(text: &str, wanted: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == wanted)
}

fn schema() -> Value {
    let path = format!("{}/.github/release/hookbox.schema.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn collect_keys<'a>(schema: &'a Value, keys: &mut BTreeSet<&'a str>) {
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        keys.extend(properties.keys().map(String::as_str));
    }
    match schema {
        Value::Object(fields) => fields.values().for_each(|field| collect_keys(field, keys)),
        Value::Array(items) => items.iter().for_each(|item| collect_keys(item, keys)),
        _ => {}
    }
}

#[test]
fn a_search_without_a_result_is_exit_1_and_names_a_near_word() {
    let home = Home::new();
    home.run(["help", "--grep", "tolerence"]).refused(1, &["nothing has \"tolerence\"; did you mean tolerance?"]);
    home.run(["help", "--grep", "xyzzyx"]).refused(1, &["xyzzyx", "hookbox help lists the chapters"]);
    home.run(["help", "--grep"]).refused(2, &["--grep"]);
    home.run(["help", "unistall"]).refused(2, &["hookbox help --grep unistall"]);
    let partly = home.run(["help", "--grep", "signature", "tolerence"]).ok().text();
    assert!(partly.starts_with("nothing has \"tolerence\"; did you mean tolerance?\n\n"), "{partly}");
}

#[test]
fn help_is_paged_on_a_terminal_and_only_there() {
    let home = Home::new().env("PAGER", "sed s/^/paged:/");
    assert!(!home.run(["help", "recipes"]).ok().text().contains("paged:"));
    let Some(text) = in_a_terminal(&home, 80, &["help", "recipes"], &[("PAGER", "sed s/^/paged:/")]) else { return };
    assert!(text.starts_with("paged:# ") && text.lines().all(|line| line.starts_with("paged:")), "{text}");
}

#[test]
fn a_pager_that_is_missing_or_quits_early_is_no_error() {
    let home = Home::new();
    let chapter = home.run(["help", "recipes"]).ok().text();
    let Some(text) = in_a_terminal(&home, 80, &["help", "recipes"], &[("PAGER", "")]) else { return };
    assert_eq!(text, chapter);
    let first = in_a_terminal(&home, 80, &["help", "recipes"], &[("PAGER", "head -n 1")]);
    assert_eq!(first.as_deref(), chapter.split_inclusive('\n').next());
    // An emulator would have to be found there too.
    if runner().is_empty() {
        let missing = in_a_terminal(
            &home,
            80,
            &["help", "recipes"],
            &[("PAGER", "/nonexistent/pager"), ("PATH", "/nonexistent")],
        );
        assert_eq!(missing.as_deref(), Some(chapter.as_str()));
    }
}

/// What this shell completes the last of these words to; `None` where it is not installed.
fn completed(home: &Home, shell: &str, line: &str) -> Option<Vec<String>> {
    completed_with(home, shell, line, &[])
}

fn completed_with(home: &Home, shell: &str, line: &str, env: &[(&str, &str)]) -> Option<Vec<String>> {
    let ask = match shell {
        "bash" => {
            "source completions.bash; mapfile -t COMP_WORDS < <(grep -oE \"('[^']*'|[^ '])+\" <<<\"${LINE}_\"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); \
             COMP_WORDS[COMP_CWORD]=${COMP_WORDS[COMP_CWORD]%_}; _hookbox; printf '%s\\n' \"${COMPREPLY[@]}\""
        }
        _ => "source completions.fish; complete -C $LINE",
    };
    home.write(&format!("completions.{shell}"), &home.run(["completions", shell]).ok().stdout);
    let output = Command::new(shell)
        .args(["-c", ask])
        .env("LINE", line)
        .envs(env.iter().copied())
        .current_dir(home.path("."))
        .output();
    let Ok(output) = output else {
        println!("skipped: {shell} is not installed");
        return None;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let mut words: Vec<String> = text.lines().filter_map(|line| line.split('\t').next()).map(str::to_owned).collect();
    words.sort();
    Some(words)
}

#[test]
fn completions_are_those_of_the_command_and_of_the_option() {
    let home = Home::new();
    home.write("my.toml", "");
    for shell in ["bash", "fish"] {
        for (line, expected) in [
            ("hookbox li", &["list"][..]),
            ("hookbox --config my.toml li", &["list"]),
            ("hookbox list --st", &["--status"]),
            ("hookbox show --st", &[]),
            ("hookbox list --status ", &["cancelled", "error", "processed", "unprocessed"]),
            ("hookbox prune --status ", &["cancelled", "error", "processed"]),
            ("hookbox list --log-level d", &["debug"]),
            ("hookbox check --config my", &["my.toml"]),
            ("hookbox systemd so", &["socket"]),
            ("hookbox help recip", &["recipes"]),
        ] {
            let Some(words) = completed(&home, shell, line) else { break };
            let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
            assert_eq!(words, expected, "{shell}: {line}");
        }
    }
}

/// The program under its name, for a shell that calls it.
fn path_with_hookbox(home: &Home) -> Option<String> {
    if !runner().is_empty() {
        println!("skipped: a shell cannot call an emulated program by its name");
        return None;
    }
    std::fs::create_dir_all(home.path("bin")).unwrap();
    std::os::unix::fs::symlink(home.command().get_program(), home.path("bin/hookbox")).unwrap();
    Some(format!("{}:{}", home.path("bin").display(), std::env::var("PATH").unwrap_or_default()))
}

const NAMES: &str = "[sources.door]\nprovider = \"github\"\nsecret = \"env:X\"\n\
                     [sources.shop]\nprovider = \"github\"\nsecret = \"env:X\"\n\
                     [actions.deploy]\nkind = \"log\"\non = [\"*\"]\n";

#[test]
fn completions_know_the_sources_and_actions_of_the_config() {
    let home = Home::new();
    let Some(path) = path_with_hookbox(&home) else { return };
    write_configs(&home);
    let user = home.path(".").display().to_string();
    for shell in ["bash", "fish"] {
        for (line, expected) in [
            ("hookbox --config my.toml send ", &["door", "included-by", "shop"][..]),
            ("hookbox --config my.toml send d", &["door"]),
            ("hookbox --config my.toml list --source s", &["shop"]),
            ("hookbox --config my.toml pause ", &["deploy"]),
            ("hookbox pause --config my.toml ", &["deploy"]),
            ("hookbox --config 'conf d/my.toml' pause ", &["deploy"]),
            ("hookbox --config ~/my.toml pause ", &["deploy"]),
            ("hookbox --config my.toml list --source included", &["included-by"]),
            ("hookbox --config none.toml pause ", &[]),
        ] {
            let Some(words) = completed_with(&home, shell, line, &[("PATH", &path), ("HOME", &user)]) else { break };
            let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
            assert_eq!(words, expected, "{shell}: {line}");
        }
    }
}

/// One includes another, and one is in a directory with a space in its name.
fn write_configs(home: &Home) {
    std::fs::create_dir_all(home.path("conf d")).unwrap();
    home.write("my.toml", format!("include = \"conf d/included.toml\"\n{NAMES}"));
    home.write("conf d/included.toml", "[sources.included-by]\nprovider = \"stripe\"\nsecret = \"env:X\"\n");
    home.write("conf d/my.toml", NAMES);
}

#[test]
fn zsh_completes_on_a_terminal() {
    let home = Home::new();
    let Some(path) = path_with_hookbox(&home) else { return };
    write_configs(&home);
    home.write("completions.zsh", &home.run(["completions", "zsh"]).ok().stdout);
    home.write(
        "ask.zsh",
        r#"zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z 'PS1=; autoload -Uz compinit; compinit -u -D; source ./completions.zsh; bindkey "^I" complete-word; \
show() { print -r -- "<$BUFFER>" }; zle -N show; bindkey "^X" show; print RE""ADY'
zpty -r z out '*READY*'
zpty -w -n z "$1"$'\t\x18'
zpty -r z out "*<$2>*" && print complete
"#,
    );
    for (line, expected) in [
        ("hookbox li", "hookbox list "),
        ("hookbox --config my.toml send do", "hookbox --config my.toml send door "),
        ("hookbox --config my.toml pause ", "hookbox --config my.toml pause deploy "),
        ("hookbox pause --config my.toml ", "hookbox pause --config my.toml deploy "),
        ("hookbox pause --config conf\\ d/my.toml ", "hookbox pause --config *my.toml deploy "),
        ("hookbox --config 'conf d/my.toml' send do", "hookbox --config *my.toml?* send door "),
        ("hookbox --config my.toml list --source sh", "hookbox --config my.toml list --source shop "),
        ("hookbox systemd so", "hookbox systemd socket "),
    ] {
        let mut zsh = Command::new("timeout");
        zsh.args(["60", "zsh", "ask.zsh", line, expected]).env("PATH", &path).env("TERM", "xterm");
        let output = zsh.current_dir(home.path(".")).output().unwrap();
        if output.status.code() == Some(127) {
            return println!("skipped: zsh is not installed");
        }
        assert!(String::from_utf8_lossy(&output.stdout).contains("complete"), "{line}: {output:?}");
    }
}

#[test]
fn completions_are_valid_scripts() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        home.write(shell, &home.run(["completions", shell]).ok().stdout);
        match Command::new(shell).args(["-n", shell]).current_dir(home.path(".")).output() {
            Ok(output) => assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr)),
            Err(_) => println!("skipped: {shell} is not installed"),
        }
    }
    home.run(["completions", "tcsh"]).refused(2, &["tcsh", "bash, zsh, fish"]);
}

#[test]
fn the_man_pages_have_every_command_and_key_and_no_mistake() {
    let home = Home::new();
    let page = home.run(["man"]).ok();
    home.write("hookbox.1", &page.stdout);
    for command in listed(&home.run(["help"]).ok(), "Commands") {
        assert!(page.text().contains(&format!("\n.SS \"{command}")), "{command}");
    }
    lint(&home, "hookbox.1");
    let config = home.run(["man", "hookbox.toml"]).ok();
    let schema = schema();
    let mut keys = BTreeSet::new();
    collect_keys(&schema, &mut keys);
    let text = config.text().replace("\\fB", " ").replace("\\fR", " ");
    for key in keys {
        assert!(has_word(&text, key), "{key}");
    }
    assert!(config.text().contains(".SS \"Secrets and reload\""));
    home.write("hookbox.toml.5", &config.stdout);
    lint(&home, "hookbox.toml.5");
    home.run(["man", "hookbox.conf"]).refused(2, &["hookbox.conf", "hookbox, hookbox.toml"]);
}

fn lint(home: &Home, page: &str) {
    let lint = Command::new("mandoc").args(["-T", "lint", page]).current_dir(home.path(".")).output();
    let Ok(lint) = lint else { return println!("skipped: mandoc is not installed") };
    let findings = String::from_utf8(lint.stdout).unwrap();
    assert!(findings.is_empty(), "{findings}");
}

/// In the manual's words about an outage.
#[test]
fn providers_that_never_send_again_are_named_where_an_outage_is_spoken_of() {
    let home = Home::new();
    let outage = home.run(["help", "--grep", "after an outage"]).ok().text();
    let providers = home.run(["providers"]).ok().text();
    let names = providers.lines().skip(1).take_while(|line| !line.is_empty()).filter_map(|line| line.split(' ').next());
    for name in names {
        let contract = home.run(["providers", name]).ok().text();
        let title = contract.lines().next().unwrap()["provider".len()..].trim();
        let title = title.split([',', '(']).next().unwrap().trim();
        let never = contract.lines().any(|line| line.starts_with("retries") && line.contains(" none"));
        assert!(!never || outage.contains(title), "{name}: {title} is missing in\n{outage}");
        let forge = ["gitea", "forgejo"].contains(&name);
        assert!(!forge || contract.contains("ALLOWED_HOST_LIST"), "{contract}");
    }
    assert!(outage.contains("hookbox recover"), "{outage}");
}
