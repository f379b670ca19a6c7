//! The manual, chapter by chapter: what `hookbox help TOPIC` prints. The chapters are Markdown that is read as it stands,
//! on a terminal and on the web. Tests run their examples. Notes for contributors are in `.github/CONTRIBUTING.md` and
//! `tests/bench/FIGURES.md`, and not in the binary.

pub mod markdown;

use std::sync::LazyLock;

use crate::packed::packed;

/// One chapter of the manual.
pub struct Chapter {
    pub name: &'static str,
    /// One line for the list of topics; README.md has the same.
    pub summary: &'static str,
    /// Markdown, which begins with a `# ` heading.
    pub text: LazyLock<String>,
}

macro_rules! chapter {
    ($name:literal, $summary:literal) => {
        Chapter { name: $name, summary: $summary, text: packed!($name, ".md") }
    };
}

/// From the first steps to the rare questions.
pub static CHAPTERS: [Chapter; 24] = [
    chapter!("start", "what hookbox does, the first delivery, the first secret"),
    chapter!("install", "static binaries, on a Raspberry Pi, on a server"),
    chapter!("config", "the config file"),
    chapter!("sources", "providers, handshakes, senders of your own"),
    chapter!("actions", "log, slack, http, command, nats, redis"),
    chapter!("templates", "templates and expressions"),
    chapter!("recipes", "mail, MQTT, Redis, ntfy, Discord, Home Assistant and others"),
    chapter!("import", "converting the hooks of adnanh/webhook"),
    chapter!("migrate", "coming from adnanh/webhook, Flask, smee and others"),
    chapter!("retries", "retries, dead jobs, pausing"),
    chapter!("recover", "getting back what was missed from the provider"),
    chapter!("reach", "several receivers in front of NATS, Redis or a hookbox"),
    chapter!("commands", "the command line"),
    chapter!("page", "the page in the browser"),
    chapter!("api", "the same for scripts: reading, replaying, pausing"),
    chapter!("metrics", "Prometheus metrics and alerts"),
    chapter!("systemd", "running as a service, upgrading, moving"),
    chapter!("proxy", "HTTPS, behind Caddy, nginx, HAProxy or Apache"),
    chapter!("tunnel", "without a public address"),
    chapter!("database", "the table, deleting old events, sparing SD cards"),
    chapter!("backup", "backup and restore"),
    chapter!("limits", "answers to senders, what untrusted clients can do"),
    chapter!("doctor", "checking for common problems"),
    chapter!("troubleshooting", "when things go wrong"),
];

pub fn find(name: &str) -> Option<&'static Chapter> {
    CHAPTERS.iter().find(|chapter| chapter.name == name)
}

#[cfg(test)]
mod tests;
