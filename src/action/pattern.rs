//! Which events an action is for.

use std::fmt;
use std::str::FromStr;

/// Stands for any source, any event type, or (alone) for everything.
const ANY: &str = "*";

/// One entry of an action's `on`: `source:event`, either of which may be `*`; a lone `*` is everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    source: Side,
    event_type: Side,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Side {
    Any,
    Only(String),
}

impl Pattern {
    /// Matches every event.
    pub fn everything() -> Pattern {
        Pattern { source: Side::Any, event_type: Side::Any }
    }

    pub fn matches(&self, source: &str, event_type: &str) -> bool {
        self.source.matches(source) && self.event_type.matches(event_type)
    }

    /// The source that it names, if it names one.
    pub fn source(&self) -> Option<&str> {
        match &self.source {
            Side::Any => None,
            Side::Only(name) => Some(name),
        }
    }
}

impl Side {
    fn parse(text: &str, part: &'static str) -> Result<Side, PatternError> {
        if text == ANY {
            return Ok(Side::Any);
        }
        if text.is_empty() {
            return Err(PatternError::Empty(part));
        }
        if text.contains(ANY) {
            return Err(PatternError::PartialWildcard(part));
        }
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(PatternError::Blank(part));
        }
        Ok(Side::Only(text.to_owned()))
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Side::Any => true,
            Side::Only(only) => only == name,
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    /// The first colon divides: no source's name has one, but a provider's event type may.
    fn from_str(text: &str) -> Result<Pattern, PatternError> {
        if text == ANY {
            return Ok(Pattern::everything());
        }
        let Some((source, event_type)) = text.split_once(':') else {
            return Err(PatternError::NoColon(text.to_owned()));
        };
        Ok(Pattern { source: Side::parse(source, "source")?, event_type: Side::parse(event_type, "event type")? })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.source, &self.event_type) {
            (Side::Any, Side::Any) => f.write_str(ANY),
            (source, event_type) => write!(f, "{source}:{event_type}"),
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Side::Any => f.write_str(ANY),
            Side::Only(name) => f.write_str(name),
        }
    }
}

/// Why a text is not a [`Pattern`].
#[derive(Debug, PartialEq, Eq)]
pub enum PatternError {
    NoColon(String),
    Empty(&'static str),
    PartialWildcard(&'static str),
    Blank(&'static str),
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatternError::NoColon(text) => {
                write!(f, "{text:?} has no colon; write \"SOURCE:EVENT\", such as \"*:push\", or \"*\" for all")
            }
            PatternError::Empty(part) => write!(f, "the {part} is empty; write * for any"),
            PatternError::PartialWildcard(part) => {
                write!(f, "a * stands for a whole {part} only; write the {part} in full, or * alone")
            }
            PatternError::Blank(part) => write!(f, "the {part} has a space or a control character in it; take it out"),
        }
    }
}

impl std::error::Error for PatternError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().expect("a pattern")
    }

    #[test]
    fn matches_what_it_names() {
        let push = pattern("github:push");
        assert!(push.matches("github", "push"));
        assert!(!push.matches("github", "pushed"));
        assert!(!push.matches("gitlab", "push"));
    }

    #[test]
    fn a_star_is_any_on_its_side() {
        assert!(pattern("github:*").matches("github", "issues"));
        assert!(!pattern("github:*").matches("stripe", "issues"));
        assert!(pattern("*:push").matches("gitlab", "push"));
        assert!(!pattern("*:push").matches("gitlab", "issues"));
    }

    #[test]
    fn a_lone_star_is_everything() {
        assert_eq!(pattern("*"), Pattern::everything());
        assert_eq!(pattern("*:*"), Pattern::everything());
        assert!(pattern("*").matches("anything", "at:all"));
    }

    #[test]
    fn an_event_type_may_have_colons() {
        assert!(pattern("gitea:issue:opened").matches("gitea", "issue:opened"));
    }

    #[test]
    fn displays_as_it_is_written() {
        for text in ["*", "github:push", "*:push", "github:*"] {
            assert_eq!(pattern(text).to_string(), text);
        }
    }

    #[test]
    fn names_its_source() {
        assert_eq!(pattern("github:*").source(), Some("github"));
        assert_eq!(pattern("*:push").source(), None);
    }

    #[test]
    fn refuses_what_cannot_be_meant() {
        let refused = |text: &str| text.parse::<Pattern>().expect_err("no pattern");
        assert_eq!(refused("issues"), PatternError::NoColon("issues".to_owned()));
        assert_eq!(refused(""), PatternError::NoColon(String::new()));
        assert_eq!(refused(":push"), PatternError::Empty("source"));
        assert_eq!(refused("github:"), PatternError::Empty("event type"));
        assert_eq!(refused("github:issue*"), PatternError::PartialWildcard("event type"));
        assert_eq!(refused("git*:push"), PatternError::PartialWildcard("source"));
        assert_eq!(refused("github: push"), PatternError::Blank("event type"));
    }
}
