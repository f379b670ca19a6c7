//! `on_dead` is gone: its error prints the lines that replace it.

use super::{action, config, shell, wait_for_news};
use crate::support::Home;

/// The lines that `check` prints for `[actions.team]`.
#[track_caller]
fn printed_lines(home: &Home) -> Vec<String> {
    let output = home.run(["check"]);
    output.refused(2, &["on_dead", "Delete this line", "[actions.team]"]);
    let lines =
        output.stderr.lines().map(str::trim).filter(|line| line.starts_with("on = ") || line.starts_with("when = "));
    let mut lines: Vec<String> = lines.map(str::to_owned).collect();
    lines.dedup();
    lines.truncate(2);
    lines
}

/// Replaces what the error says: no `on_dead` any more, and these lines in place of those of `[actions.team]`.
fn follow(config: &str, lines: &[String]) -> String {
    let (mut is_team, mut followed) = (false, Vec::new());
    for line in config.lines().filter(|line| !line.starts_with("on_dead")) {
        if line.starts_with('[') {
            is_team = line == "[actions.team]";
            followed.push(line.to_owned());
            followed.extend(lines.iter().filter(|_| is_team).cloned());
        } else if !is_team || !(line.starts_with("on =") || line.starts_with("when =")) {
            followed.push(line.to_owned());
        }
    }
    followed.join("\n")
}

#[test]
fn the_printed_lines_replace_on_dead() {
    let dies = |name: &str| action(name, "command", &format!("{}\nattempts = 1\non_dead = \"team\"", shell("exit 1")));
    let team = action("team", "command", &shell("echo $HOOKBOX_SOURCE $HOOKBOX_EVENT >> told"));
    for (on, when, told) in [
        ("", "", "hookbox job.dead\nhookbox job.dead\n"),
        ("on = [\"github:issues\"]\n", "", "github issues\nhookbox job.dead\nhookbox job.dead\n"),
        ("on = [\"*:issues\"]\n", "when = \"payload.no or payload['x']\"\n", "hookbox job.dead\nhookbox job.dead\n"),
    ] {
        let team = team.replace("on = [\"*\"]\n", &format!("{on}{when}"));
        // One of them dies unreported.
        let silent = action("silent", "command", &format!("{}\nattempts = 1", shell("exit 1")));
        let old = config(&(dies("a") + &dies("b") + &silent + &team));
        let home = Home::with_config(&old);
        let lines = printed_lines(&home);
        assert_eq!(lines.len(), 2, "{lines:?}");
        home.write("hookbox.toml", follow(&old, &lines));
        home.run(["check"]).ok();
        let hookbox = home.start();
        hookbox.deliver("issues", "d-1", "{}");
        wait_for_news(&hookbox, "job.dead", 3);
        hookbox.wait_until_done();
        let mut found: Vec<String> =
            std::fs::read_to_string(hookbox.path("told")).unwrap().lines().map(str::to_owned).collect();
        found.sort();
        assert_eq!(found.join("\n") + "\n", told, "{lines:?}");
    }
}
