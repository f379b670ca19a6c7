use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use super::commands::COMMON_OPTIONS;
use super::option::{Count, OptionSpec, Value};
use super::*;
use crate::cli::help;
use crate::clock::{self, Timestamp};
use crate::event::ShownStatus;

fn parse(line: &str) -> Result<Args, Failure> {
    Args::parse(line.split_whitespace().map(OsString::from))
}

fn args(line: &str) -> Args {
    parse(line).expect(line)
}

fn command(line: &str) -> Command {
    args(line).command
}

fn error(line: &str) -> String {
    parse(line).expect_err(line).to_string()
}

fn assert_error(line: &str, start: &str) {
    let error = error(line);
    assert!(error.starts_with(start), "{line}: {error:?} does not start with {start:?}");
    assert!(error.lines().last().is_some_and(|last| last.starts_with("see hookbox ")), "{error}");
}

/// The given time if it is that many seconds ago.
fn ago(seconds: u64, time: Option<Timestamp>) -> Option<Timestamp> {
    let expected = clock::now().minus(Duration::from_secs(seconds));
    time.filter(|time| time.distance(expected) < Duration::from_secs(60)).or(Some(expected))
}

#[test]
fn nothing_at_all_serves() {
    assert_eq!(args(""), Args::only(Command::Serve));
    assert_eq!(args("serve"), args(""));
}

#[test]
fn global_options_stand_before_or_after_the_command() {
    let options = "--config c.toml --listen 127.0.0.1:0 --admin off --database=x.db --log-level debug";
    let expected = Args {
        config: Some(PathBuf::from("c.toml")),
        listen: Some(Listen::Tcp("127.0.0.1:0".to_owned())),
        admin: Some(AdminListen::Off),
        database: Some(PathBuf::from("x.db")),
        log_level: Some(LevelFilter::Debug),
        command: Command::Check(CheckArgs::Config),
    };
    assert_eq!(args(&format!("{options} check")), expected);
    assert_eq!(args(&format!("check {options}")), expected);
}

#[test]
fn list_filters() {
    let plain = ListArgs { filter: Filter { limit: 50, ..Filter::default() }, json: false, follow: false };
    assert_eq!(command("list"), Command::List(plain));
    let line =
        "list --status error --source github --event push --since 2h --before 9 --grep main --limit 5 --json --follow";
    let Command::List(list) = command(line) else { panic!("no list") };
    let filter = Filter {
        status: Some(ShownStatus::Error),
        source: Some("github".to_owned()),
        event_type: Some("push".to_owned()),
        since: ago(2 * 60 * 60, list.filter.since),
        before: Some(EventId(9)),
        text: Some("main".to_owned()),
        limit: 5,
        ..Filter::default()
    };
    assert_eq!(list, ListArgs { filter, json: true, follow: true });
}

#[test]
fn show_has_one_form() {
    let show = |form| Command::Show(EventId(7), form);
    assert_eq!(command("show 7"), show(ShowForm::Text));
    assert_eq!(command("show 7 --json"), show(ShowForm::Json));
    assert_eq!(command("show --body 7"), show(ShowForm::Body));
    assert_eq!(command("show 7 --curl"), show(ShowForm::Curl));
    assert_error("show 7 --body --json", "--json and --body cannot be given together");
}

#[test]
fn send_takes_a_source_and_what_to_send() {
    let plain = SendArgs { source: "github".to_owned(), event_type: None, file: None, delivery_id: None, url: None };
    assert_eq!(command("send github"), Command::Send(plain));
    let full = SendArgs {
        source: "github".to_owned(),
        event_type: Some("issues".to_owned()),
        file: Some(PathBuf::from("-")),
        delivery_id: Some("1".to_owned()),
        url: Some("http://x/".to_owned()),
    };
    assert_eq!(command("send github --event issues --file - --id 1 --url http://x/"), Command::Send(full));
}

#[test]
fn a_replay_needs_events() {
    let selection = Selection { ids: vec![EventId(7), EventId(8)], ..Selection::default() };
    let expected = ReplayArgs { selection, action: None, scope: ReplayScope::Unsuccessful, dry_run: false };
    assert_eq!(command("replay 7 8"), Command::Replay(expected));
    let Command::Replay(replay) = command("replay --status error --since 1d --action deploy --dry-run") else {
        panic!("no replay")
    };
    let since = ago(86_400, replay.selection.filter.since);
    let filter = Filter { status: Some(ShownStatus::Error), since, ..Filter::default() };
    let (selection, scope) = (Selection { ids: Vec::new(), filter }, ReplayScope::Unsuccessful);
    assert_eq!(replay, ReplayArgs { selection, action: Some("deploy".to_owned()), scope, dry_run: true });
    let (selection, scope) = (Selection::default(), ReplayScope::Failed);
    let expected = ReplayArgs { selection, action: None, scope, dry_run: false };
    assert_eq!(command("replay --failed"), Command::Replay(expected));
    assert_error("replay --failed --again 1", "--failed and --again cannot be given together");
    assert_error("replay", "replay needs the ID of an event, --failed, or a filter");
    assert_error("replay --action deploy", "replay needs");
    assert_error("cancel", "cancel needs");
    let expected = Command::Cancel(Selection::default(), Some("deploy".to_owned()));
    assert_eq!(command("cancel --action deploy"), expected);
}

#[test]
fn check_tries_a_stored_event_or_a_file() {
    assert_eq!(command("check --event 7"), Command::Check(CheckArgs::Event(EventId(7))));
    let file = CheckArgs::File { file: "f".into(), source: Some("s".to_owned()), event_type: Some("t".to_owned()) };
    assert_eq!(command("check --file f --source s --type t"), Command::Check(file));
    assert_error("check --file f --event 7", "--event and --file cannot be given together");
    assert_error("check --source s", "check takes no --source");
}

#[test]
fn usage_is_printed_wherever_it_is_asked_for() {
    for line in ["--help", "-h", "--json -h", "--nonsense=1 --help"] {
        assert_eq!(command(line), Command::Usage(None), "{line}");
    }
    for line in ["list --help", "--help list", "-h list", "list --nonsense -h", "list --limit x --help"] {
        assert_eq!(command(line), Command::Usage(Some("list")), "{line}");
    }
    assert_error("nonsense --help", "unknown command \"nonsense\"");
}

#[test]
fn help_is_about_a_command_or_a_chapter() {
    assert_eq!(command("help"), Command::Help(None));
    assert_eq!(command("help recipes"), Command::Help(Some("recipes".to_owned())));
    let error = |topic| help::about(Some(topic)).expect_err(topic).to_string();
    assert!(error("nonsense").starts_with("no command and no chapter of the manual \"nonsense\"; hookbox help lists"));
    assert!(error("recipe").starts_with("no command and no chapter of the manual \"recipe\"; did you mean recipes?"));
    assert_error("help list show", "help does not take \"show\"");
}

#[test]
fn the_version_is_printed() {
    assert_eq!(command("--version"), Command::Version);
    assert_eq!(command("-V"), Command::Version);
    assert_eq!(command("list -V"), Command::Version);
}

#[test]
fn an_unknown_word_is_answered_with_the_nearest() {
    assert_error("lst", "unknown command \"lst\"; did you mean list?\nsee hookbox --help");
    assert_error("frobnicate", "unknown command \"frobnicate\"\nsee hookbox --help");
    assert_error("list --limt 5", "unknown option --limt; did you mean --limit?");
    assert_error("--frobnicate", "unknown option --frobnicate\nsee hookbox --help");
    assert_error("--json", "serve takes no --json\nsee hookbox serve --help");
    assert_error("-x", "unknown option -x\n");
}

#[test]
fn an_option_belongs_to_its_command() {
    assert_error("doctor --jsn", "unknown option --jsn; did you mean --json?\nsee hookbox doctor --help");
    assert_error(
        "list --limit x",
        "--limit: \"x\" is not a number of events; write 1 or more\nsee hookbox list --help",
    );
    assert_error("list --listen x", "--listen: \"x\" is neither host:port");
    assert!(error("list --listen x").ends_with("\nsee hookbox --help"));
    assert_error("show 7 --limit 5", "show takes no --limit\nsee hookbox show --help");
    assert_error("--json serve", "serve takes no --json");
    assert_error("stats --body", "stats takes no --body");
}

#[test]
fn values_must_make_sense() {
    assert_error(
        "list --status done",
        "--status: no status \"done\"; write one of: unprocessed, processed, cancelled, error",
    );
    for limit in ["0", "-1", "x", "99999999999"] {
        assert_error(&format!("list --limit={limit}"), &format!("--limit: {limit:?} is not a number"));
    }
    for id in ["0", "x", "7x"] {
        assert_error(&format!("show {id}"), &format!("show: {id:?} is not an event's ID"));
    }
    assert_error("--log-level loud", "--log-level: no level \"loud\"");
    assert_error("--listen nowhere", "--listen: ");
    assert_error("--database=", "--database: the path is empty");
    assert_error("list --source=", "--source: the value is empty");
}

#[test]
fn too_much_or_too_little_is_refused() {
    assert_error("show", "show needs the ID of an event\nsee hookbox show --help");
    assert_error("send", "send needs the SOURCE");
    assert_error("show 7 8", "show does not take \"8\"");
    assert_error("serve me", "serve does not take \"me\"");
    assert_error("list --json --json", "--json is given twice");
    assert_error("--config a --config b", "--config is given twice");
    assert_error("list --limit", "missing argument for option '--limit'");
    assert_error("list --json=yes", "unexpected argument for option '--json'");
}

#[test]
fn a_path_need_not_be_utf_8_but_a_name_must() {
    let odd = || OsString::from_vec(vec![b'a', 0xff]);
    let args = Args::parse(["--database".into(), odd()]).expect("args");
    assert_eq!(args.database, Some(PathBuf::from(odd())));
    let error = Args::parse(["list".into(), "--source".into(), odd()]).expect_err("not UTF-8");
    assert!(error.to_string().starts_with("--source: the value is not UTF-8"));
}

#[test]
fn the_command_line_overrides_the_config() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("hookbox.toml");
    std::fs::write(&path, "listen = '127.0.0.1:1'\ndatabase = 'file.db'\nadmin.hosts = 'pi'").expect("written");
    let load = |mut args: Args| {
        args.config = Some(path.clone());
        args.load_config(&|_| None).expect("a config")
    };
    let config = load(args(""));
    assert_eq!(
        (config.listen, config.database.as_path()),
        (Listen::Tcp("127.0.0.1:1".to_owned()), Path::new("file.db"))
    );
    let config = load(args("--listen 127.0.0.1:2 --database flag.db --admin off"));
    assert_eq!(
        (config.listen, config.database.as_path()),
        (Listen::Tcp("127.0.0.1:2".to_owned()), Path::new("flag.db"))
    );
    assert_eq!((config.admin.listen, config.admin.hosts), (AdminListen::Off, vec!["pi".to_owned()]));
}

/// The option, with a value that it takes.
fn given(option: &OptionSpec) -> String {
    let value = match option.value {
        None => return format!("--{}", option.long),
        Some(Value::Address) => "127.0.0.1:0",
        Some(Value::Duration) => "2h",
        Some(value) => value.choices().last().copied().unwrap_or("1"),
    };
    format!("--{} {value}", option.long)
}

/// The arguments that a command needs, and what else an option needs to make sense.
fn needed_beside(command: &CommandSpec, option: &str) -> String {
    if command.name == "check" && matches!(option, "source" | "type") {
        return "--file f".to_owned();
    }
    let needed = command.arguments.iter().filter(|(count, _)| matches!(count, Count::Once | Count::Several));
    needed.map(|(_, value)| format!("{} ", value.choices().first().unwrap_or(&"1"))).collect()
}

#[test]
fn every_command_takes_its_options_and_no_others() {
    for command in &COMMANDS {
        for option in commands::options().filter(|option| !matches!(option.long, "help" | "version")) {
            let line = format!("{} {} {}", command.name, needed_beside(command, option.long), given(option));
            let has = |options: &[OptionSpec]| options.iter().any(|one| one.long == option.long);
            if has(command.options) || has(&COMMON_OPTIONS) {
                assert!(parse(&line).is_ok(), "{line}");
            } else {
                assert_error(&line, &format!("{} takes no --{}", command.name, option.long));
            }
        }
    }
}

#[test]
fn an_option_takes_a_value_for_every_command_or_for_none() {
    for option in commands::options() {
        let named_so = commands::options().filter(|other| other.long == option.long);
        assert!(named_so.into_iter().all(|other| other.value.is_some() == option.value.is_some()), "{}", option.long);
    }
}
