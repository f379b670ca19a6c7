//! What the program says about itself: `help TOPIC`, shell completions, the man page.

use std::process::Command;

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
    let ask = match shell {
        "bash" => {
            "source completions.bash; read -ra COMP_WORDS <<<\"${LINE}_\"; COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); \
             COMP_WORDS[COMP_CWORD]=${COMP_WORDS[COMP_CWORD]%_}; _hookbox; printf '%s\\n' \"${COMPREPLY[@]}\""
        }
        _ => "source completions.fish; complete -C $LINE",
    };
    home.write(&format!("completions.{shell}"), &home.run(["completions", shell]).ok().stdout);
    let output = Command::new(shell).args(["-c", ask]).env("LINE", line).current_dir(home.path(".")).output();
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
fn the_man_page_has_every_command_and_no_mistake() {
    let home = Home::new();
    let page = home.run(["man"]).ok();
    home.write("hookbox.1", &page.stdout);
    for command in listed(&home.run(["help"]).ok(), "Commands") {
        assert!(page.text().contains(&format!("\n.SS \"{command}")), "{command}");
    }
    let lint = Command::new("mandoc").args(["-T", "lint", "hookbox.1"]).current_dir(home.path(".")).output();
    let Ok(lint) = lint else { return println!("skipped: mandoc is not installed") };
    let findings = String::from_utf8(lint.stdout).unwrap();
    let findings: Vec<&str> = findings.lines().filter(|finding| !finding.contains("missing date")).collect();
    assert!(findings.is_empty(), "{findings:#?}");
}
