//! `hookbox check`: prints what a config would do.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use super::args::CheckArgs;
use super::{Failure, preview};
use crate::action::{Action, ActionKind};
use crate::cidr::Cidr;
use crate::client;
use crate::config::{AdminToken, Config, Include, Mode, Origin, Recover, Retention, Source, Warning};
use crate::listen::{self, Listen};
use crate::provider::{self, Verification};
use crate::secret::{Env, SecretRef};
use crate::units::{duration_text, size_text};

/// The labels' column: as wide as the longest of them and two spaces.
const LABEL_COLUMNS: usize = 10;

/// Prints the whole config, and fetches every secret to find those that are missing.
pub(super) fn run(config: &Config, args: &CheckArgs, env: &Env, out: &mut dyn Write) -> Result<(), Failure> {
    let mut output = Output { fetches_secrets: *args != CheckArgs::WithoutSecrets, ..Output::default() };
    output.general(config);
    output.admin(config, env);
    output.warnings(&config.general_warnings(env));
    for source in config.sources.values() {
        output.source(source, &config.listen, env);
        output.warnings(&config.source_warnings(source));
    }
    for action in config.actions.values() {
        output.action(action, env);
        output.warnings(&config.action_warnings(action));
    }
    if config.actions.is_empty() {
        output.line("action", "none: events are stored, and nothing is done with them");
    }
    out.write_all(output.text.as_bytes())?;
    preview::write(config, args, env, out)?;
    match (output.problems, output.warnings) {
        (0, 0) => Ok(writeln!(out, "\nno problem found")?),
        (0, warnings) => Ok(writeln!(out, "\n{}", counted(warnings, "warning"))?),
        (problems, 0) => Err(Failure::usage(format!("the config has {}", counted(problems, "problem")))),
        (problems, warnings) => {
            let (problems, warnings) = (counted(problems, "problem"), counted(warnings, "warning"));
            Err(Failure::usage(format!("the config has {problems} and {warnings}")))
        }
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[derive(Default)]
struct Output {
    text: String,
    problems: usize,
    warnings: usize,
    fetches_secrets: bool,
}

fn token(token: &AdminToken) -> &'static str {
    match token {
        AdminToken::Made => "with a token that is made at the first start (hookbox page)",
        AdminToken::Configured(_) => "with a token",
        AdminToken::None => "without a token: every user of this machine can read and replay deliveries",
    }
}

impl Output {
    fn general(&mut self, config: &Config) {
        match &config.origin {
            Origin::File(path) => self.line("config", path.display()),
            Origin::BuiltIn => self.line("config", "none: these are the defaults"),
        }
        for Include { pattern, files } in &config.includes {
            match files.as_slice() {
                [] => self.note(format!("includes {pattern}: there is no further file")),
                files => files.iter().for_each(|file| self.note(format!("includes {}", file.display()))),
            }
        }
        self.line("listen", &config.listen);
        self.line("database", config.database.display());
        let (max_body, reserve) = (size_text(config.max_body_bytes), size_text(config.disk_reserve_bytes));
        self.line("limits", format!("bodies up to {max_body}; refuses (503) with less than {reserve} of disk free"));
        match config.trusted_proxies.as_slice() {
            [] => self.line("proxies", "none trusted: X-Forwarded-For is ignored"),
            trusted => self.line("proxies", format!("trusts X-Forwarded-For of {}", list(trusted))),
        }
        self.line("keeps", keeps(&config.retention));
        self.line("poll", format!("every {}", duration_text(config.poll_interval)));
        if config.is_without_built_in() {
            self.line("sources", "those of the config alone: the built-in github is there only without [sources]");
        }
    }

    fn admin(&mut self, config: &Config, env: &Env) {
        match config.admin.listen.place() {
            None => self.line("admin", "off"),
            Some(place) => {
                self.line("admin", format!("{place}, {}", token(&config.admin.token)));
                if let Some(problem) = listen::unreachable(&place) {
                    self.warning(format!("{problem}: until then there is no page; deliveries are received"));
                }
            }
        }
        if self.fetches_secrets
            && let Err(failure) = config.admin.fetch_token(env)
        {
            self.problem(failure);
        }
    }

    fn source(&mut self, source: &Source, listen: &Listen, env: &Env) {
        self.text.push('\n');
        self.line("source", &source.name);
        let methods = source.methods_text();
        for path in [Some(source.path()), source.further_path.clone()].into_iter().flatten() {
            self.note(format!("{methods} {}", endpoint(listen, &path)));
        }
        let preset = source.verifier.preset;
        match source.verification {
            Verification::Nothing if preset.is_own_sender() => self.note("for a sender of your own"),
            _ => self.note(format!("provider {}", preset.name)),
        }
        match source.verification.warning() {
            Some(warning) => self.note(warning),
            None => self.secrets(source, env),
        }
        for key in source.keys_for_handshakes() {
            self.note(format!("NO {key}: the handshake with which the provider tries this address is refused"));
        }
        if self.fetches_secrets
            && let Err(failure) = source.fetch_verify_token(env)
        {
            self.problem(failure);
        }
        if let Some(networks) = &source.allow {
            self.note(format!("takes deliveries from {} only; refuses (403) others", list(networks)));
        }
        if let Some(window) = source.dedup_window {
            self.note(format!("replays what comes again after {}", duration_text(window)));
        }
        if let Some(every) = source.expect_every {
            self.note(format!("expects a delivery every {}", duration_text(every)));
        }
        if let Some(answer) = &source.answer {
            self.note(format!("answers {} with a body of {} bytes", answer.status, answer.body.len()));
        }
        if source.ignores_repeated_body {
            self.note("ignores a stored body under another id");
        }
        if let Some(recover) = &source.recover {
            self.recover(source, recover, env);
        }
    }

    fn recover(&mut self, source: &Source, recover: &Recover, env: &Env) {
        let every = recover.every.map_or("by hand".to_owned(), |every| format!("every {}", duration_text(every)));
        let only = if recover.events.is_empty() { "" } else { ", only " };
        let hook = format!("{} at {}", recover.hook, client::origin(&recover.api));
        let events = recover.events.join(", ");
        let how = match recover.mode {
            Mode::Redeliver => "",
            Mode::Take => ", taken from the API",
        };
        self.note(format!("gets back what was missed of {hook}{how} {every}{only}{events}"));
        if (self.fetches_secrets || matches!(recover.token, SecretRef::Literal(_)))
            && let Err(error) = source.fetch_recover_token(recover, env)
        {
            self.problem(error);
        }
    }

    fn secrets(&mut self, source: &Source, env: &Env) {
        self.note(format!("verifies {}", provider::verification_text(&source.verifier)));
        if let Some(unsigned) = provider::unsigned_summary(&source.verifier) {
            let provider = source.verifier.preset.name;
            self.note(format!("NOT signed: {unsigned} (`hookbox providers {provider}` says what helps)"));
        }
        for secret in source.verification.secrets() {
            // One in the config itself may be malformed.
            if !self.fetches_secrets && !matches!(secret, SecretRef::Literal(_)) {
                self.note(format!("verified with {secret}, which was not fetched"));
                continue;
            }
            match source.key(secret, env) {
                Ok(_) => self.note(format!("verified with {secret}")),
                Err(error) => self.problem(error.reason),
            }
        }
    }

    fn action(&mut self, action: &Action, env: &Env) {
        self.text.push('\n');
        self.line("action", &action.name);
        self.note(format!("kind {}", action.kind.as_str()));
        if let Some(summary) = action.kind.summary() {
            self.note(summary);
        }
        for pattern in &action.on {
            self.note(format!("on {pattern}"));
        }
        if let Some(when) = &action.when {
            self.note(format!("when {when}"));
        }
        self.order(action);
        for variable in action.kind.variables() {
            self.note(format!("env {variable}"));
        }
        if let Some(condition) = action.kind.success_when() {
            self.note(format!("success when {condition}"));
        }
        let policy = &action.policy;
        let (backoff, backoff_max) = (duration_text(policy.backoff), duration_text(policy.backoff_max));
        self.note(format!("attempts {}, backoff {backoff} up to {backoff_max}", policy.attempts));
        if !matches!(action.kind, ActionKind::Log) {
            self.note(format!("timeout {}, concurrency {}", duration_text(action.timeout), action.concurrency));
        }
        if let Some(warning) = action.dedup_warning() {
            self.warning(warning);
        }
        if self.fetches_secrets
            && let Err(error) = action.kind.prepare(env)
        {
            self.problem(error);
        }
    }

    /// In which order, and when, its jobs are done.
    fn order(&mut self, action: &Action) {
        if let Some(key) = &action.key {
            self.note(format!("key {}: jobs of one key are done one after the other", key.source()));
        }
        if action.latest_only {
            self.note("latest_only: of those that wait, only the newest is done");
        }
        if !action.delay.is_zero() {
            self.note(format!("delay {}", duration_text(action.delay)));
        }
    }

    fn warnings(&mut self, warnings: &[Warning]) {
        self.warnings += warnings.len();
        warnings.iter().for_each(|warning| self.note(format!("WARNING {warning}")));
    }

    fn warning(&mut self, warning: impl fmt::Display) {
        self.warnings += 1;
        self.note(format!("WARNING {warning}"));
    }

    fn problem(&mut self, error: impl fmt::Display) {
        self.problems += 1;
        self.note(format!("PROBLEM {error}"));
    }

    /// A further line under the last label.
    fn note(&mut self, text: impl fmt::Display) {
        self.line("", text);
    }

    fn line(&mut self, label: &str, text: impl fmt::Display) {
        self.text.push_str(&format!("{label:LABEL_COLUMNS$}{text}\n"));
    }
}

fn list(networks: &[Cidr]) -> String {
    networks.iter().map(Cidr::to_string).collect::<Vec<_>>().join(", ")
}

fn keeps(retention: &Retention) -> String {
    let age = |age: Option<Duration>| age.map_or("forever".to_owned(), |age| format!("for {}", duration_text(age)));
    format!("processed events {}, those in error {}", age(retention.processed), age(retention.error))
}

fn endpoint(listen: &Listen, path: &str) -> String {
    match listen {
        Listen::Tcp(address) => format!("http://{address}{path}"),
        Listen::Unix(_) => format!("{path} on {listen}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::fs;

    fn check(toml: &str, env: &Env) -> (String, Result<(), Failure>) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("hookbox.toml");
        fs::write(&path, toml).expect("written");
        let config = Config::load(Some(&path), env).expect("a config");
        let mut out = Vec::new();
        let ended = run(&config, &CheckArgs::Config, env, &mut out);
        (String::from_utf8(out).expect("UTF-8"), ended)
    }

    fn nothing_set(_: &str) -> Option<OsString> {
        None
    }

    #[test]
    fn the_built_in_config_is_printed() {
        let (text, exit) = check("", &nothing_set);
        assert!(exit.is_ok());
        for part in [
            "listen    127.0.0.1:5000\n",
            "database  webhooks.db\n",
            "admin     127.0.0.1:5001, with a token that is made at the first start (hookbox page)\n",
            "bodies up to 25MiB",
            "less than 64MiB",
            "every 5s",
            "keeps     processed events forever, those in error forever\n",
            "POST http://127.0.0.1:5000/webhooks/github\n",
            "provider github\n",
            "NOT verified, and accepted from this machine only",
            "kind log\n",
            "on *\n",
            "attempts 10, backoff 5m up to 12h\n",
            "no problem found\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }

    #[test]
    fn a_secret_is_named_and_not_printed() {
        let toml = "[sources.a]\nprovider = 'github'\nsecret = ['env:A', 'hunter2']";
        let (text, exit) = check(toml, &|name| (name == "A").then(|| OsString::from("hunter2")));
        assert!(exit.is_ok());
        assert!(text.contains("verified with env:A\n") && text.contains("verified with (literal)\n"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_missing_secret_is_a_problem() {
        let toml = "[sources.a]\nprovider = 'github'\nsecret = ['env:A', 'file:/nonexistent/secret', 'hunter2']";
        let (text, exit) = check(toml, &nothing_set);
        assert_eq!(exit.expect_err("problems").to_string(), "the config has 2 problems");
        assert!(text.contains("PROBLEM env:A: the variable is not set"), "{text}");
        assert!(text.contains("PROBLEM file:/nonexistent/secret: cannot read"), "{text}");
    }

    #[test]
    fn an_action_is_printed_without_secrets() {
        let toml = "[actions.a]\nkind = 'http'\non = '*'\nmethod = 'PUT'\nurl = 'http://me:hunter2@h.test:81/hunter2/{{ id }}'\n\
                    [actions.b]\nkind = 'slack'\non = '*'\nurl = 'env:HOOK'\n\
                    [actions.c]\nkind = 'command'\non = '*'\nrun = ['sh', 'hunter2']\n\
                    [actions.d]\nkind = 'command'\non = '*'\nrun = ['/nonexistent/deploy']\n\
                    [actions.e]\nkind = 'command'\non = '*'\nrun = ['{{ payload.program }}']\n\
                    [actions.f]\nkind = 'http'\non = '*'\nurl = 'http://{{ payload.host }}/'";
        let (text, exit) = check(toml, &|name| (name == "HOOK").then(|| OsString::from("https://h.test/hunter2")));
        assert!(exit.is_ok(), "{text}");
        for part in [
            "PUT http://h.test:81/...\n",
            "POST env:HOOK\n",
            "run sh\n",
            "run /nonexistent/deploy\n",
            "WARNING actions.d.run: there is no program /nonexistent/deploy",
            "run {{ payload.program }}\n",
            "POST http://..., which depends on the event\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn probable_mistakes_are_warnings_with_a_way_out() {
        let toml = "listen = '0.0.0.0:5000'\nadmin.listen = 'off'\n\
                    [sources.a]\nprovider = 'gitlab'\nsecret = '${TOKEN}'\nallow = '192.0.2.0/24'\n\
                    [actions.x]\nkind = 'log'\non = ['a:push', 'b:push', 'github:push', '*:Push Hook', 'hookbox:job.dead']\n\
                    [actions.y]\nkind = 'command'\non = '*'\nrun = ['git pull']\n\
                    [actions.z]\nkind = 'http'\non = '*'\nurl = 'http://h.test/'\nheaders.Authorization = 'Bearer env:TOKEN'";
        let (text, exit) = check(toml, &nothing_set);
        assert!(exit.is_ok());
        for part in [
            "WARNING listen: deliveries come in plain HTTP",
            "WARNING sources.a.secret: this is the name of a variable",
            "WARNING actions.x.on: GitLab, secret token sends no event type \"push\", as far as is known: did you mean \"Push Hook\"?",
            "WARNING actions.x.on: there is no source \"b\"; did you mean \"a\"?",
            "WARNING actions.x.on: there is no source \"github\": the built-in source github is there only without [sources]",
            "WARNING actions.y.run: there is no program named \"git pull\"",
            "WARNING actions.z.headers.authorization: a reference is replaced only where it is the whole value",
            "\n7 warnings\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
        let (text, exit) =
            check("[sources.a]\nprovider = 'github'\nsecret = 'x'\nallow = '192.0.2.0/24'", &nothing_set);
        assert!(exit.is_ok() && text.contains("WARNING sources.a.allow") && text.ends_with("\n1 warning\n"), "{text}");
        assert!(check("[actions]", &nothing_set).0.contains("action    none"), "{text}");
    }

    #[test]
    fn the_missing_built_in_source_is_said() {
        let toml = "[sources.a]\nprovider = 'stripe'\nsecret = 'whsec_aGk='";
        let (text, _) = check(toml, &nothing_set);
        assert!(
            text.contains("the built-in github is there only without [sources]") && text.contains("no problem found"),
            "{text}"
        );
        let (text, _) = check(toml, &|name| (name == "GITHUB_WEBHOOK_SECRET").then(|| OsString::from("x")));
        assert!(text.contains("WARNING sources: GITHUB_WEBHOOK_SECRET is set, and no source uses it"), "{text}");
        assert!(!check("", &nothing_set).0.contains("built-in github"), "{text}");
    }

    #[test]
    fn an_unsigned_sender_needs_no_provider() {
        let (text, exit) = check("listen = 'unix:/run/h.sock'\n[sources.kuma]\nverify = 'none'", &nothing_set);
        assert!(exit.is_ok());
        assert!(text.contains("POST /webhooks/kuma on unix:/run/h.sock\n"), "{text}");
        assert!(text.contains("NOT verified (verify = \"none\")") && !text.contains("provider token"), "{text}");
    }
}
