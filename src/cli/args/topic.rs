//! The commands by their names.

use super::UsageError;
use crate::suggest::closest;

/// A command that has a help text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    Serve,
    Check,
    List,
    Show,
    Stats,
    Send,
    Replay,
    Cancel,
    Pause,
    Resume,
    Forward,
    Prune,
    Backup,
    Doctor,
    Providers,
    Systemd,
}

impl Topic {
    pub const ALL: [Topic; 16] = [
        Topic::Serve,
        Topic::Check,
        Topic::List,
        Topic::Show,
        Topic::Stats,
        Topic::Send,
        Topic::Replay,
        Topic::Cancel,
        Topic::Pause,
        Topic::Resume,
        Topic::Forward,
        Topic::Prune,
        Topic::Backup,
        Topic::Doctor,
        Topic::Providers,
        Topic::Systemd,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Topic::Serve => "serve",
            Topic::Check => "check",
            Topic::List => "list",
            Topic::Show => "show",
            Topic::Stats => "stats",
            Topic::Send => "send",
            Topic::Replay => "replay",
            Topic::Cancel => "cancel",
            Topic::Pause => "pause",
            Topic::Resume => "resume",
            Topic::Forward => "forward",
            Topic::Prune => "prune",
            Topic::Backup => "backup",
            Topic::Doctor => "doctor",
            Topic::Providers => "providers",
            Topic::Systemd => "systemd",
        }
    }

    pub(super) fn find(word: &str) -> Result<Topic, UsageError> {
        let found = Topic::ALL.into_iter().find(|topic| topic.as_str() == word);
        found.ok_or_else(|| {
            let known = Topic::ALL.map(Topic::as_str).into_iter().chain(["help"]);
            UsageError::UnknownCommand { word: word.to_owned(), closest: closest(word, known) }
        })
    }
}
