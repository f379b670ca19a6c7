//! The help texts.

use super::args::Topic;

/// The text for the program as a whole, or for one command.
pub fn text(topic: Option<Topic>) -> &'static str {
    match topic {
        None => include_str!("help/hookbox.txt"),
        Some(Topic::Serve) => include_str!("help/serve.txt"),
        Some(Topic::Check) => include_str!("help/check.txt"),
        Some(Topic::List) => include_str!("help/list.txt"),
        Some(Topic::Show) => include_str!("help/show.txt"),
        Some(Topic::Stats) => include_str!("help/stats.txt"),
        Some(Topic::Send) => include_str!("help/send.txt"),
        Some(Topic::Replay) => include_str!("help/replay.txt"),
        Some(Topic::Cancel) => include_str!("help/cancel.txt"),
        Some(Topic::Pause) => include_str!("help/pause.txt"),
        Some(Topic::Resume) => include_str!("help/resume.txt"),
        Some(Topic::Forward) => include_str!("help/forward.txt"),
        Some(Topic::Prune) => include_str!("help/prune.txt"),
        Some(Topic::Backup) => include_str!("help/backup.txt"),
        Some(Topic::Doctor) => include_str!("help/doctor.txt"),
        Some(Topic::Providers) => include_str!("help/providers.txt"),
        Some(Topic::Systemd) => include_str!("help/systemd.txt"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What every terminal has.
    const MAX_COLUMNS: usize = 80;

    fn topics() -> impl Iterator<Item = Option<Topic>> {
        std::iter::once(None).chain(Topic::ALL.map(Some))
    }

    #[test]
    fn every_text_fits_a_terminal() {
        for topic in topics() {
            for line in text(topic).lines() {
                assert!(line.chars().count() <= MAX_COLUMNS, "{topic:?}: {line}");
                assert!(!line.ends_with(' '), "{topic:?}: {line}");
            }
            assert!(text(topic).ends_with('\n'), "{topic:?}");
        }
    }

    #[test]
    fn every_text_has_its_usage_and_an_example() {
        for topic in topics() {
            assert!(text(topic).contains("Usage: hookbox"), "{topic:?}");
            assert!(text(topic).contains("Example"), "{topic:?}");
        }
    }

    #[test]
    fn the_program_names_every_command() {
        for topic in Topic::ALL {
            let line = format!("\n  {} ", topic.as_str());
            assert!(text(None).contains(&line), "{topic:?}");
        }
    }
}
