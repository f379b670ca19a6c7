//! A config of several files.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Home, Request, SOURCE};

const LAB: &str = "[sources.lab]\nprovider = \"github\"\nverify = \"none\"\n";

fn home(main: &str, files: &[(&str, &str)]) -> Home {
    let home = Home::with_config(main);
    fs::create_dir(home.path("conf.d")).unwrap();
    for (name, text) in files {
        home.write(name, text);
    }
    home
}

fn including(pattern: &str) -> String {
    format!("include = {pattern}\n{SOURCE}")
}

#[test]
fn sources_and_actions_may_be_in_several_files() {
    let files = [
        ("conf.d/20-say.toml", "[actions.say]\nkind = \"log\"\non = [\"lab:*\"]\n[retention]\nprocessed = \"90d\"\n"),
        ("conf.d/10-lab.toml", LAB),
        ("conf.d/.hidden.toml", "nonsense"),
        ("conf.d/lab.toml~", "nonsense"),
        ("conf.d/README", "nonsense"),
    ];
    let home = home(&including("\"conf.d/*.toml\""), &files);
    fs::create_dir(home.path("conf.d/directory.toml")).unwrap();
    let text = home.run(["check"]).ok().text();
    assert!(text.contains("includes conf.d/10-lab.toml\n          includes conf.d/20-say.toml\n"), "{text}");
    assert!(text.contains("/webhooks/lab") && text.contains("action    say"), "{text}");
    assert!(text.contains("processed events for 90d"), "{text}");
    assert!(home.run(["doctor"]).text().contains("and so are the 2 files that it includes"));
    let hookbox = home.start();
    assert_eq!(hookbox.send(&Request::github("push", "d-1", "{}").target("/webhooks/lab")).status, 200);
    assert_eq!(hookbox.send(&Request::github("push", "d-1", "{}")).status, 200);
}

#[test]
fn a_path_is_relative_to_the_file_that_includes() {
    let home = Home::new();
    fs::create_dir_all(home.path("etc/conf.d")).unwrap();
    home.write("etc/main.toml", including("[\"conf.d/*.toml\", \"extra.toml\"]"));
    home.write("etc/conf.d/lab.toml", LAB);
    home.write("etc/extra.toml", "[sources.extra]\nprovider = \"token\"\nverify = \"none\"\n");
    let text = home.run(["check", "--config", "etc/main.toml"]).ok().text();
    assert!(text.contains("/webhooks/lab") && text.contains("/webhooks/extra"), "{text}");
}

#[test]
fn what_is_given_twice_is_refused_with_both_places() {
    let files = [
        ("conf.d/a.toml", format!("{LAB}\n{SOURCE}")),
        ("conf.d/b.toml", format!("listen = \"127.0.0.1:0\"\n\n  {LAB}")),
        ("conf.d/c.toml", "listen = \"127.0.0.1:0\"\n".to_owned()),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let home = home(&including("\"conf.d/*.toml\""), &files);
    let words = [
        "conf.d/a.toml:5:10: sources.github is in ./hookbox.toml:2:10 too; remove one of the two",
        "conf.d/b.toml:3:12: sources.lab is in conf.d/a.toml:1:10 too",
        "conf.d/c.toml:1:1: listen is in conf.d/b.toml:1:1 too",
    ]
    .map(|line| line.replace("./", ""));
    home.run(["check"]).refused(2, &words.each_ref().map(String::as_str));
}

#[test]
fn a_problem_names_the_file_that_has_the_key() {
    let files = [
        ("conf.d/lab.toml", "[sources.lab]\nprovider = \"github\"\nsecrt = \"x\"\n"),
        ("conf.d/p.toml", "listn = \"x\"\n"),
    ];
    let home = home(&format!("{}colour = \"red\"\n", including("\"conf.d/*.toml\"")), &files);
    let words = ["conf.d/lab.toml: sources.lab.secrt", "conf.d/p.toml: listn", "\nhookbox.toml: sources.github.colour"];
    home.run(["check"]).refused(2, &words.map(|line| line.trim_start()));
    home.write("conf.d/lab.toml", "[sources.lab\n");
    home.run(["check"]).refused(2, &["conf.d/lab.toml:1:13: "]);
}

#[test]
fn a_pattern_may_find_nothing_and_a_file_must_be_there() {
    let home = Home::with_config(&including("\"conf.d/*.toml\""));
    assert!(home.run(["check"]).ok().text().contains("includes conf.d/*.toml: there is no further file"));
    home.write("hookbox.toml", including("\"lab.toml\""));
    home.run(["check"]).refused(2, &["lab.toml", "No such file", "include"]);
    home.write("hookbox.toml", including("\"*/lab.toml\""));
    home.run(["check"]).refused(2, &["name the directory"]);
    home.write("hookbox.toml", including("7"));
    home.run(["check"]).refused(2, &["include", "expected a string"]);
}

#[test]
fn only_the_first_file_includes_others_and_none_twice() {
    let home = home(&including("[\"*.toml\", \"conf.d/*\", \"conf.d/lab.toml\"]"), &[("conf.d/lab.toml", LAB)]);
    assert_eq!(home.run(["check"]).ok().text().matches("includes conf.d/lab.toml\n").count(), 1);
    home.write("conf.d/more.toml", "include = \"x.toml\"\n");
    home.run(["check"]).refused(2, &["conf.d/more.toml: include: only hookbox.toml can include files"]);
}

#[test]
fn a_file_that_others_can_write_is_not_included() {
    let home = home(&including("\"conf.d/*.toml\""), &[("conf.d/lab.toml", LAB)]);
    let writable = |name: &str, mode: u32| {
        fs::set_permissions(home.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    for (name, before) in [("conf.d/lab.toml", 0o644), ("conf.d", 0o755)] {
        writable(name, 0o777);
        for more in [&[][..], &["--config", "hookbox.toml"]] {
            let output = home.run([&["check"], more].concat());
            output.refused(2, &["include", "is not read", "other users can write", "chmod go-w conf.d"]);
        }
        writable(name, before);
    }
    home.run(["check"]).ok();
}

#[test]
fn a_reload_reads_all_files_again() {
    let hookbox = home(&including("\"conf.d/*.toml\""), &[]).start();
    let to_lab = Request::github("push", "d-1", "{}").target("/webhooks/lab");
    assert_eq!(hookbox.send(&to_lab).status, 404);
    hookbox.write("conf.d/lab.toml", LAB);
    hookbox.reload(including("\"conf.d/*.toml\""));
    assert_eq!(hookbox.send(&to_lab).status, 200);
    fs::remove_file(hookbox.path("conf.d/lab.toml")).unwrap();
    hookbox.reload(including("\"conf.d/*.toml\""));
    assert_eq!(hookbox.send(&to_lab).status, 404);
}
