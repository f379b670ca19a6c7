//! The table of commands and options. The parser, `--help`, the completions and the man page all come from it: a new command
//! is a row here and, if it has options, a function in `parse.rs`; a new option is a line here and one there.

use super::option::Count::{self, AnyNumber, AtMostOnce, Once, Several};
use super::option::{OptionSpec, Value, option, switch};
use super::raw::Raw;
use super::{Command, parse};
use crate::cli::Failure;
use crate::manual::CHAPTERS;

/// Takes the options and arguments of a command out of the words of the command line.
type Parse = fn(&mut Raw) -> Result<Command, Failure>;

/// One command.
#[derive(Debug)]
pub struct CommandSpec {
    pub name: &'static str,
    /// What it does, as an instruction, without a full stop; fits into the list of commands.
    pub summary: &'static str,
    /// The words after the command.
    pub arguments: &'static [(Count, Value)],
    /// Further ways to call it, after its name, besides the usual one with its arguments.
    pub also: &'static [&'static str],
    /// Its own options, besides the common ones.
    pub options: &'static [OptionSpec],
    /// Paragraphs, with an empty line between two.
    pub description: &'static str,
    pub examples: &'static [&'static str],
    pub parse: Parse,
}

/// The start of a row: a command without arguments, options and description.
const fn command(name: &'static str, summary: &'static str, parse: Parse) -> CommandSpec {
    CommandSpec { name, summary, arguments: &[], also: &[], options: &[], description: "", examples: &[], parse }
}

impl CommandSpec {
    const fn arguments(self, arguments: &'static [(Count, Value)]) -> CommandSpec {
        CommandSpec { arguments, ..self }
    }

    const fn also(self, also: &'static [&'static str]) -> CommandSpec {
        CommandSpec { also, ..self }
    }

    const fn options(self, options: &'static [OptionSpec]) -> CommandSpec {
        CommandSpec { options, ..self }
    }

    const fn description(self, description: &'static str) -> CommandSpec {
        CommandSpec { description, ..self }
    }

    const fn examples(self, examples: &'static [&'static str]) -> CommandSpec {
        CommandSpec { examples, ..self }
    }

    /// `show ID`
    pub fn usage(&self) -> String {
        let arguments = self.arguments.iter().map(|(count, value)| format!(" {}", count.usage(*value)));
        self.name.to_owned() + &arguments.collect::<String>()
    }

    /// Every way to call it.
    pub fn usages(&self) -> impl Iterator<Item = String> {
        std::iter::once(self.usage()).chain(self.also.iter().map(|also| format!("{} {also}", self.name)))
    }
}

/// What the program is, in a sentence.
pub const ABOUT: &str = "Receives webhooks, stores them in SQLite before it answers, and processes them afterwards.";

/// Options of every command.
pub const COMMON_OPTIONS: [OptionSpec; 7] = [
    option(
        "config",
        Value::File,
        "Read this config. Without it: $HOOKBOX_CONFIG, else ./hookbox.toml, else /etc/hookbox/hookbox.toml, else the \
         defaults",
    ),
    option("listen", Value::Address, "Overrides the config's listen: 127.0.0.1:5000, or unix:/run/hookbox/http.sock"),
    option("admin", Value::Address, "Overrides the config's admin.listen, where the page is; off for none"),
    option("database", Value::File, "Overrides the config's database"),
    option(
        "log-level",
        Value::LogLevel,
        "What is logged to stderr: error, warn, info or debug. Without it: $HOOKBOX_LOG, else info",
    ),
    OptionSpec { short: Some('h'), ..switch("help", "Print the help, of the command if one is given") },
    OptionSpec { short: Some('V'), ..switch("version", "Print the version") },
];

pub const EXIT_CODES: [(&str, &str); 3] = [("0", "done"), ("1", "failed"), ("2", "wrong usage, config or database")];

/// The variables that change what it does.
pub const ENVIRONMENT: [(&str, &str); 5] = [
    ("HOOKBOX_CONFIG", "The config to read where --config is not given."),
    ("HOOKBOX_LOG", "The log level where --log-level is not given."),
    ("PAGER", "Shows the text of hookbox help on a terminal. Empty for none."),
    ("COLUMNS", "The width to which tables are cut."),
    ("NO_COLOR", "If set and not empty, nothing is coloured."),
];

pub const FILES: [(&str, &str); 2] = [
    ("./hookbox.toml, /etc/hookbox/hookbox.toml", "The config, where neither --config nor $HOOKBOX_CONFIG names one."),
    (
        "webhooks.db",
        "The database, where the config names no other: in $STATE_DIRECTORY, else in the current directory.",
    ),
];

/// Examples for the program as a whole, each with its purpose.
pub const EXAMPLES: [(&str, &str); 3] = [
    ("hookbox", "Try it, without any config"),
    ("hookbox check --config my.toml", "See what a config would do"),
    ("hookbox list --status error", "See what could not be processed"),
];

const AN_ACTION: &str = "the name of an ACTION";

const JSON_OBJECT: OptionSpec = switch("json", "Print one JSON object");
const STATUS: OptionSpec =
    option("status", Value::Status, "Only events that are unprocessed, processed, cancelled or error");
const SOURCE: OptionSpec = option("source", Value::Source, "Only those of this source");
const EVENT: OptionSpec = option("event", Value::EventType, "Only those of this event type, such as push");
const SINCE: OptionSpec = option("since", Value::Duration, "Only those received at most this long ago, such as 2h");
const BEFORE: OptionSpec = option("before", Value::EventId, "Only those with a smaller ID");
const GREP: OptionSpec = option(
    "grep",
    Value::Text,
    "Only those with this text in their delivery id, event type or payload, \
    in upper or lower case",
);

pub fn find(name: &str) -> Option<&'static CommandSpec> {
    COMMANDS.iter().find(|command| command.name == name)
}

/// All possible values, where they are known; else none.
pub fn choices(value: Value) -> Vec<&'static str> {
    match value {
        Value::Topic => topics(),
        _ => value.choices(),
    }
}

/// Each name once: a command and a chapter may have the same.
fn topics() -> Vec<&'static str> {
    let chapters = CHAPTERS.iter().map(|chapter| chapter.name);
    let chapters = chapters.filter(|name| COMMANDS.iter().all(|command| command.name != *name));
    COMMANDS.iter().map(|command| command.name).chain(chapters).collect()
}

/// Every option of every command, some of them several times.
pub fn options() -> impl Iterator<Item = &'static OptionSpec> + Clone {
    COMMON_OPTIONS.iter().chain(COMMANDS.iter().flat_map(|command| command.options))
}

/// In the order of the help.
pub static COMMANDS: [CommandSpec; 24] = [
    command("serve", "Receive and process deliveries (the default command)", |_| Ok(Command::Serve))
        .description("It runs until SIGTERM or SIGINT. A delivery is answered once it is stored. SIGHUP reads the \
            config again; if it has a problem, the problem is logged, and the old config stays in force.\n\n\
            Without any config it listens on 127.0.0.1:5000, stores in webhooks.db, takes POST /webhooks/github and \
            prints each event. It verifies the deliveries if GITHUB_WEBHOOK_SECRET is set. A browser on the same \
            machine sees everything on the page, whose address hookbox page prints.")
        .examples(&["GITHUB_WEBHOOK_SECRET=s3cret hookbox serve --listen 127.0.0.1:8080"]),
    command("check", "Validate the config and print what it would do", parse::check)
        .options(&[
            option("event", Value::EventId, "Also say which actions this stored event would trigger, and what each \
                would send, without doing it"),
            option("file", Value::File, "The same for a delivery of JSON with the content of this file"),
            option("source", Value::Source, "The source that the file is delivered to; if not given, the first"),
            option("type", Value::EventType, "Its event type; if not given, that of the provider's example"),
            switch("no-secrets", "Fetch no secret: neither env: nor file: nor credential:. For ExecReload= of a unit, \
                which may see none of them"),
        ])
        .description("It prints the address of each source, how its deliveries are verified, the database, the limits, \
            and what is done with which events. It fetches each secret and says whether it could, but never shows it. \
            It opens no socket. It exits with 2 if the config or a secret has a problem. What is valid but probably a \
            mistake is a warning, which hookbox serve logs too.")
        .examples(&[
            "hookbox check --config /etc/hookbox/hookbox.toml",
            "hookbox check --event 7",
            "hookbox check --file issue.json --source github --type issues",
        ]),
    command("list", "List stored events", parse::list)
        .options(&[
            STATUS,
            SOURCE,
            EVENT,
            SINCE,
            BEFORE,
            GREP,
            option("limit", Value::Number, "At most so many, the newest ones; 50 if not given"),
            switch("follow", "Continue with new events and changes of status, until Ctrl-C; also over restarts of \
                hookbox serve, and before there is a database"),
            switch("json", "Print one JSON object a line"),
        ])
        .description("The newest come last. On a terminal, columns are cut to fit; COLUMNS=200 asks for another width, \
            and NO_COLOR=1 for no colours. In texts from senders, characters that cannot be seen are shown as ?.\n\n\
            An event is cancelled if a job of it was cancelled and none has succeeded. A search with --grep begins \
            with the newest events, and ends within a second. If it has not read all events, it says how to go on.")
        .examples(&[
            "hookbox list --status error --since 1d",
            "hookbox list --source github --event push --limit 5 --json",
            "hookbox list --grep refs/heads/main --source github",
            "hookbox list --follow",
        ]),
    command("show", "Show one stored event", parse::show)
        .arguments(&[(Once, Value::EventId)])
        .options(&[
            switch("full", "Print all of each answer and of the output of each command"),
            switch("json", "Print it as one JSON object"),
            switch("body", "Print the body of the delivery and nothing else, byte for byte"),
            switch("curl", "Print a shell command that sends it again, with the exact body and the headers. Headers that \
                carried a secret were not stored, and are named as missing. A signature with a timestamp is soon too old"),
        ])
        .description("It prints the headers of the event, its jobs, why other actions have none, what happened when, \
            and its payload. Of a long answer it prints the first lines. The ID is the number in the first column of \
            hookbox list.")
        .examples(&["hookbox show 7", "hookbox show 7 --body > delivery.json", "hookbox show 7 --curl"]),
    command("stats", "Count by source and action", |raw| Ok(Command::Stats { json: raw.switch("json") }))
        .options(&[JSON_OBJECT])
        .description("It prints how many events came, how many wait and since when, how many failed, and how large the \
            database is.\n\n\
            Received, duplicates and repeated bodies are counted forever, also when events are deleted. For what was \
            rejected, and why, it asks the running hookbox serve at the page's listener.")
        .examples(&["hookbox stats", "hookbox stats --json"]),
    command("page", "Print the page's address with its token", |_| Ok(Command::Page))
        .description("Open it in a browser, which remembers the token. hookbox serve makes the token at its first \
            start, and keeps it beside the database, in a file that only its own user can read: run this as that user, \
            or as root. If token is set in [admin] of the config, the address has that one.")
        .examples(&["hookbox page", "sudo hookbox page"]),
    command("send", "Sign a test delivery and send it", parse::send)
        .arguments(&[(Once, Value::Source)])
        .options(&[
            option("event", Value::EventType, "The event type; if not given, that of the provider's example"),
            option("file", Value::File, "Send the content of this file, or of standard input for -; if not given, the \
                provider's example. Its content type follows from its content: JSON, a form, other text, other bytes"),
            option("id", Value::DeliveryId, "The delivery id; if not given, a new one"),
            option("url", Value::Url, "Send it there; if not given, to where this config listens"),
        ])
        .description("It signs with the secret of the source, as the provider would. For push, issues, pull_request, \
            release, workflow_run and ping of GitHub the body is like GitHub's own. It prints the answer, and the \
            delivery id and the number under which the delivery was stored.")
        .examples(&["hookbox send github --event push", "hookbox send github --event issues --file issue.json --id again-and-again"]),
    command("replay", "Run the jobs of events now, or again", parse::replay)
        .arguments(&[(Several, Value::EventId)])
        .also(&["--failed", "--status error"])
        .options(&[
            switch("failed", "Only jobs that are dead or wait for a retry; without an ID, of all events"),
            switch("again", "Also jobs that have succeeded: everything runs again, with another idempotency key"),
            option("action", Value::Action, "Only the jobs of this action"),
            STATUS,
            SOURCE,
            EVENT,
            SINCE,
            BEFORE,
            GREP,
            switch("dry-run", "Only say what it would do"),
        ])
        .description("A job that waits for a retry is due now, and its attempts count on. A job that is dead or \
            cancelled gets all its attempts again. A job that succeeded, or that a later event has superseded, runs \
            again only with --again. For each job the command says what it did, or why it did nothing. A running \
            hookbox serve starts the jobs within its poll interval.\n\n\
            After an outage of a destination, hookbox replay --failed tries everything now.")
        .examples(&[
            "hookbox replay 7",
            "hookbox replay --failed",
            "hookbox replay --status error --since 1d --action deploy --dry-run",
            "hookbox replay 7 --again --action deploy",
        ]),
    command("cancel", "Cancel the open jobs of events", parse::cancel)
        .arguments(&[(Several, Value::EventId)])
        .also(&["--action ACTION"])
        .options(&[
            option("action", Value::Action, "Only the jobs of this action, which need not be configured any more"),
            STATUS,
            SOURCE,
            EVENT,
            SINCE,
            BEFORE,
            GREP,
        ])
        .description("Open jobs are those that wait for their first or next attempt. A running attempt continues, but \
            is not repeated. An event without open jobs is then in error if a job of it is dead, processed if one has \
            succeeded, else cancelled. hookbox replay queues cancelled jobs again.")
        .examples(&["hookbox cancel 7", "hookbox cancel --action an-action-that-was-removed"]),
    command("pause", "Start no further job of an action", |raw| Ok(Command::Pause(raw.argument(AN_ACTION)?)))
        .arguments(&[(Once, Value::Action)])
        .description("Its jobs are kept and wait until hookbox resume, over restarts too. hookbox stats shows which \
            actions are paused.")
        .examples(&["hookbox pause deploy"]),
    command("resume", "End the pause of an action", |raw| Ok(Command::Resume(raw.argument(AN_ACTION)?)))
        .arguments(&[(Once, Value::Action)])
        .description("A running hookbox serve starts its jobs within its poll interval. It also ends the time for \
            which the destination of the action has asked to wait.")
        .examples(&["hookbox resume deploy"]),
    command("forward", "Send a stored event somewhere else", parse::forward)
        .arguments(&[(Once, Value::EventId), (Once, Value::Url)])
        .description("It sends the event byte for byte and with its headers, so that the provider's signature can be \
            verified there. Headers that carried a secret were not stored, and are missing. It prints the answer, and \
            changes nothing in the database.")
        .examples(&["hookbox forward 7 http://127.0.0.1:3000/webhooks"]),
    command("prune", "Delete old events, with their jobs and attempts", parse::prune)
        .arguments(&[(AnyNumber, Value::EventId)])
        .options(&[
            option("older-than", Value::Duration, "Delete events that were processed longer ago, such as 90d, \
                instead of the ages in the config"),
            option("status", Value::FinalStatus, "Only those that are processed, cancelled or error. With --older-than and \
                no ID: those that are processed or cancelled"),
            SOURCE,
            EVENT,
            SINCE,
            BEFORE,
            GREP,
            switch("dry-run", "Only say how many events it would delete"),
            switch("vacuum", "Make the file smaller afterwards"),
        ])
        .description("Without options it does what hookbox serve does by itself: it deletes events that are older than \
            [retention] in the config allows. The age of an event counts from when it was processed. An event that is \
            unprocessed, or has an open job, is never deleted. Events named by their ID need no age. If a provider \
            delivers a pruned event again, it is a new event.\n\n\
            It works while hookbox serve runs, in small steps. The database uses the freed pages for new events; \
            --vacuum gives them back to the file system. That rewrites the database: if more than 8 MiB would remain, \
            stop hookbox serve first.")
        .examples(&[
            "hookbox prune --dry-run",
            "hookbox prune --older-than 30d",
            "hookbox prune --older-than 1y --status error --vacuum",
        ]),
    command("delete", "Delete one event, whatever its state", parse::delete)
        .arguments(&[(Once, Value::EventId)])
        .description("This is for a secret that has leaked into a payload. It deletes the event with its jobs and \
            attempts, overwrites their place in the database, and empties the WAL. A running attempt is not stopped.\n\n\
            It does not reach backups, the output of the log action, or destinations. Earlier changes of the row can \
            have left parts of it in free pages of the database: hookbox prune --vacuum removes these. Change the \
            secret. If the provider delivers the event again, it is a new one.")
        .examples(&["hookbox delete 7"]),
    command("recover", "Get back what was missed from the provider", parse::recover)
        .arguments(&[(Once, Value::Source)])
        .options(&[
            option("since", Value::Duration, "Look so far back, such as 2d. If not given: to where the last comparison \
                ended, or as far as the provider's list goes"),
            switch("dry-run", "Only print what is missing"),
        ])
        .description("It compares the provider's list of deliveries with what is stored here. What is missing the \
            provider sends again, or hookbox stores what the provider's API returns, by mode in [sources.NAME.recover] \
            of the config. A running hookbox serve does the same at its start and every ten minutes, or as often as \
            every says. A delivery is sent again at most once an hour, and three times in all.")
        .examples(&["hookbox recover github --dry-run", "hookbox recover github --since 2d"]),
    command("backup", "Write a copy of the database, while it is in use", parse::backup)
        .arguments(&[(Once, Value::File)])
        .description("It works whether hookbox serve runs or not, and neither delays the other. The copy has \
            everything that was acknowledged before the backup began. It gets its name only after it was checked page \
            by page and compared with the original. An existing file is never overwritten.\n\n\
            To restore it: stop hookbox, move the database and the -wal and -shm files beside it aside, put the copy \
            in its place, and start hookbox.")
        .examples(&[
            "hookbox backup /mnt/usb/webhooks-$(date +%F).db",
            "hookbox list --database /mnt/usb/webhooks-2025-01-31.db",
        ]),
    command("doctor", "Check for common problems, and say what to do", |raw| Ok(Command::Doctor { json: raw.switch("json") }))
        .options(&[switch("json", "Print a JSON array of objects")])
        .description("It prints a line for each check: ok, warn or FAIL. It checks the clock, the config, the secrets \
            (without printing any), the disk and its file system, permissions, the database and what waits in it, the \
            address to listen on, systemd's units, what was rejected, what a proxy passes on, what actions need, and \
            whether their destinations can be reached, without a request to them. To measure a sync, it writes a file \
            and removes it again. It changes nothing else, and works whether hookbox serve runs or not. Run it as the \
            user that runs hookbox, or as root.\n\n\
            Exit codes: 0 nothing fails, 1 something does.")
        .examples(&["sudo hookbox doctor", "hookbox doctor --json | jq '.[] | select(.result != \"ok\")'"]),
    command("health", "Ask the running server whether it takes deliveries", |_| Ok(Command::Health))
        .description("It asks /healthz at the address on which this config listens, waits at most five seconds, and \
            prints one line. It needs no secret. It is for the health check of a container or of a monitor; hookbox \
            doctor says what is wrong and what to do.\n\n\
            Exit codes: 0 deliveries are taken, 1 they are not, or nothing answers.")
        .examples(&["hookbox health", "hookbox health --listen unix:/run/hookbox/http.sock"]),
    command("providers", "Print what each provider sends and expects", |raw| Ok(Command::Providers(raw.word())))
        .arguments(&[(AtMostOnce, Value::Provider)])
        .description("It lists the providers that can be configured. For one provider it prints what to enter there, \
            what is verified, where ids and types come from, how soon it wants an answer, and how it retries.")
        .examples(&["hookbox providers", "hookbox providers github"]),
    command("import", "Convert the hooks of adnanh/webhook to a config", parse::import)
        .arguments(&[(Once, Value::File)])
        .options(&[option("secrets", Value::File, "Write the secrets of the hooks into this new file, which only you can \
            read, as NAME='value'")])
        .description("It reads the JSON of adnanh/webhook (hooks.json, Debian's /etc/webhook.conf), from standard \
            input for -, and prints a config on standard output. Where hookbox does something else, a comment says \
            what, and the way out. For YAML: yq . hooks.yaml | hookbox import -\n\n\
            Secrets are never printed: the config refers to variables (env:NAME), and a comment lists them. --secrets \
            writes them into a file for the environment.")
        .examples(&[
            "hookbox import /etc/webhook.conf > hookbox.toml",
            "hookbox import hooks.json --secrets secrets.env > hookbox.toml",
        ]),
    command("systemd", "Print the systemd units of the service", |raw| Ok(Command::Systemd(raw.word())))
        .arguments(&[(AtMostOnce, Value::Unit)])
        .description("UNIT is service or socket; without it, both are printed. Their comments say where they go and what to change.")
        .examples(&[
            "hookbox systemd service | sudo tee /etc/systemd/system/hookbox.service",
            "hookbox systemd socket | sudo tee /etc/systemd/system/hookbox.socket",
        ]),
    command("completions", "Print the completions for a shell", parse::completions)
        .arguments(&[(Once, Value::Shell)])
        .description("SHELL is bash, zsh or fish. The script completes commands, options, files, and values of which \
            there is a list. For the names of sources and actions it asks `hookbox completions sources` or `actions`, \
            which reads them from the config. A comment in the script says where it goes.")
        .examples(&[
            "source <(hookbox completions bash)",
            "hookbox completions fish > ~/.config/fish/completions/hookbox.fish",
        ]),
    command("man", "Print the man page hookbox(1) or hookbox.toml(5)", parse::man)
        .arguments(&[(AtMostOnce, Value::ManPage)])
        .description("PAGE is hookbox or hookbox.toml; without it, hookbox. hookbox(1) has all of this help, \
            hookbox.toml(5) the chapters of the manual about the config. Both are in roff.")
        .examples(&[
            "hookbox man | man -l -",
            "hookbox man | sudo tee /usr/local/share/man/man1/hookbox.1 > /dev/null",
            "hookbox man hookbox.toml | man -l -",
        ]),
    command("help", "Print the help of a command, or a chapter of the manual", parse::help)
        .arguments(&[(AtMostOnce, Value::Topic)])
        .also(&["--grep WORD..."])
        .options(&[option("grep", Value::Text, "Print what the manual, the help of the commands and the descriptions of the \
            providers say about these words, in upper or lower case")])
        .description("TOPIC is the name of a command or of a chapter; without it, both are listed. On a terminal \
            $PAGER shows the text, else less or more. With an empty PAGER it is printed as it is.\n\n\
            --grep prints the paragraphs that have most of the words, in any form and order, the best ones first, and \
            which chapter to read on. It names the words that are nowhere, and exits with 1 if all are.")
        .examples(&["hookbox help", "hookbox help recipes", "hookbox help --grep disk full"]),
];
