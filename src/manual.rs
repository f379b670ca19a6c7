//! The manual, chapter by chapter: what `hookbox help TOPIC` prints. The chapters are Markdown that is read as it stands,
//! on a terminal and on the web; the tests run their examples.

// Until the command line prints the chapters.
#![cfg_attr(not(test), allow(dead_code))]

/// One chapter of the manual.
pub struct Chapter {
    pub name: &'static str,
    /// One line for the list of topics.
    pub summary: &'static str,
    /// Markdown, which begins with a `# ` heading.
    pub text: &'static str,
}

/// In the order of somebody who begins.
pub const CHAPTERS: [Chapter; 3] = [
    chapter("start", "what hookbox does, the first delivery, verifying GitHub", include_str!("manual/start.md")),
    chapter("actions", "what to do with an event: log, slack, http, command", include_str!("manual/actions.md")),
    chapter("recipes", "actions for ntfy, Discord, Telegram, Matrix and others", include_str!("manual/recipes.md")),
];

const fn chapter(name: &'static str, summary: &'static str, text: &'static str) -> Chapter {
    Chapter { name, summary, text }
}

/// The chapter of this name.
pub fn find(name: &str) -> Option<&'static Chapter> {
    CHAPTERS.iter().find(|chapter| chapter.name == name)
}

#[cfg(test)]
mod tests;
