//! `hookbox check`: prints what a config would do.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use super::args::CheckArgs;
use super::{Failure, preview};
use crate::action::{Action, ActionKind};
use crate::cidr::Cidr;
use crate::config::{AdminToken, Config, Include, Origin, Retention, Source};
use crate::listen::{self, Listen};
use crate::provider;
use crate::secret::{Env, SecretRef};
use crate::units::{duration_text, size_text};

/// The labels' column: as wide as the longest of them and two spaces.
const LABEL_COLUMNS: usize = 10;

/// Prints the whole config, and fetches every secret to find those that are missing.
pub(super) fn run(config: &Config, args: &CheckArgs, env: &Env, out: &mut dyn Write) -> Result<(), Failure> {
    let mut output = Output { fetches_secrets: *args != CheckArgs::WithoutSecrets, ..Output::default() };
    output.general(config);
    output.admin(config, env);
    for source in config.sources.values() {
        output.source(source, &config.listen, env);
    }
    for action in config.actions.values() {
        output.action(action, config, env);
    }
    if config.actions.is_empty() {
        output.line("action", "none: events are stored, and nothing is done with them");
    }
    out.write_all(output.text.as_bytes())?;
    preview::write(config, args, env, out)?;
    match output.problems {
        0 => Ok(writeln!(out, "\nno problem found")?),
        1 => Err(Failure::usage("the configuration has 1 problem")),
        several => Err(Failure::usage(format!("the configuration has {several} problems"))),
    }
}

#[derive(Default)]
struct Output {
    text: String,
    problems: usize,
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
    }

    fn admin(&mut self, config: &Config, env: &Env) {
        match config.admin.listen.place() {
            None => self.line("admin", "off"),
            Some(place) => {
                self.line("admin", format!("{place}, {}", token(&config.admin.token)));
                if let Some(problem) = listen::unreachable(&place) {
                    self.note(format!("WARNING {problem}: until then there is no page; deliveries are received"));
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
        self.note(format!("provider {}", source.verifier.preset.name));
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
        if let Some(answer) = &source.answer {
            self.note(format!("answers {} with a body of {} bytes", answer.status, answer.body.len()));
        }
        if source.ignores_repeated_body {
            self.note("ignores a stored body under another id");
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

    fn action(&mut self, action: &Action, config: &Config, env: &Env) {
        self.text.push('\n');
        self.line("action", &action.name);
        self.note(format!("kind {}", action.kind.as_str()));
        if let Some(summary) = action.kind.summary() {
            self.note(summary);
        }
        for pattern in &action.on {
            let known = pattern.source().is_none_or(|source| config.sources.contains_key(source));
            let note = if known { "" } else { " (no source of that name here)" };
            self.note(format!("on {pattern}{note}"));
        }
        if let Some(when) = &action.when {
            self.note(format!("when {when}"));
        }
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
            self.note(format!("WARNING {warning}"));
        }
        if self.fetches_secrets
            && let Err(error) = action.kind.prepare(env)
        {
            self.problem(error);
        }
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
        assert_eq!(exit.expect_err("problems").to_string(), "the configuration has 2 problems");
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
            "run /nonexistent/deploy (there is no such program here)\n",
            "run {{ payload.program }}\n",
            "POST http://..., which depends on the event\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn probable_mistakes_are_pointed_out() {
        let toml = "listen = 'unix:/run/h.sock'\n[sources.a]\nprovider = 'github'\nverify = 'none'\n\
                    [actions.x]\nkind = 'log'\non = ['a:push', 'b:push']";
        let (text, exit) = check(toml, &nothing_set);
        assert!(exit.is_ok());
        assert!(text.contains("POST /webhooks/a on unix:/run/h.sock\n"), "{text}");
        assert!(text.contains("NOT verified (verify = \"none\")"), "{text}");
        assert!(text.contains("on a:push\n") && text.contains("on b:push (no source of that name here)\n"), "{text}");
        assert!(check("[actions]", &nothing_set).0.contains("action    none"), "{text}");
    }
}
