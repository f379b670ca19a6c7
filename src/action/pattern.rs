//! Which events an action is for.

use std::fmt;
use std::str::FromStr;

use crate::news;

/// Stands for any source, any event type, or (alone) for everything.
const ANY: &str = "*";

/// One entry of an action's `on`: `source:event`, either of which may be `*`; a lone `*` is everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// `None`: any.
    source: Option<String>,
    event_type: Option<String>,
}

impl Pattern {
    /// Matches every event.
    pub fn everything() -> Pattern {
        Pattern { source: None, event_type: None }
    }

    /// News about hookbox itself must be named: whatever is for all deliveries is not meant for it.
    pub fn matches(&self, source: &str, event_type: &str) -> bool {
        self.source.as_ref().map_or(source != news::SOURCE, |only| only == source)
            && self.event_type.as_ref().is_none_or(|only| only == event_type)
    }

    /// The source that it names, if it names one.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// The event type that it names, if it names one.
    pub fn event_type(&self) -> Option<&str> {
        self.event_type.as_deref()
    }
}

impl FromStr for Pattern {
    /// What to write instead.
    type Err = String;

    /// The first colon divides: no source's name has one, but a provider's event type may.
    fn from_str(text: &str) -> Result<Pattern, String> {
        if text == ANY {
            return Ok(Pattern::everything());
        }
        let (source, event_type) = text.split_once(':').ok_or_else(|| {
            format!("{text:?} has no colon; write \"SOURCE:EVENT\", such as \"*:push\", or \"*\" for all")
        })?;
        if source.contains(char::is_whitespace) {
            return Err("the source has a space in it; take it out".to_owned());
        }
        Ok(Pattern { source: parse_side(source, "source")?, event_type: parse_side(event_type, "event type")? })
    }
}

/// One side of the colon; `part` names it in the error.
///
/// Event types are compared as they came, and some have spaces in them (`Push Hook`). None begins or ends with one, but a
/// pattern with a slip may. A type with a control character is not received.
fn parse_side(text: &str, part: &str) -> Result<Option<String>, String> {
    match text {
        ANY => Ok(None),
        "" => Err(format!("the {part} is empty; write * for any")),
        _ if text.contains(ANY) => {
            Err(format!("a * stands for a whole {part} only; write the {part} in full, or * alone"))
        }
        _ if text.trim() != text => Err(format!("the {part} begins or ends with a space; take it out")),
        _ if text.contains(char::is_control) => Err(format!("the {part} has a control character in it; take it out")),
        only => Ok(Some(only.to_owned())),
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Pattern::everything() {
            return f.write_str(ANY);
        }
        let [source, event_type] = [&self.source, &self.event_type].map(|side| side.as_deref().unwrap_or(ANY));
        write!(f, "{source}:{event_type}")
    }
}

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
    fn an_event_type_may_have_spaces() {
        assert!(pattern("gitlab:Push Hook").matches("gitlab", "Push Hook"));
        assert!(pattern("*:Merge Request Hook").matches("gitlab", "Merge Request Hook"));
        assert!(!pattern("gitlab:Push Hook").matches("gitlab", "PushHook"));
        assert!(!pattern("gitlab:Push Hook").matches("gitlab", "Push  Hook"));
    }

    #[test]
    fn displays_as_it_is_written() {
        for text in ["*", "github:push", "*:push", "github:*", "gitlab:Push Hook"] {
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
        assert!(refused("issues").starts_with("\"issues\" has no colon"));
        assert!(refused("").starts_with("\"\" has no colon"));
        assert!(refused(":push").starts_with("the source is empty"));
        assert!(refused("github:").starts_with("the event type is empty"));
        assert!(refused("github:issue*").starts_with("a * stands for a whole event type only"));
        assert!(refused("git*:push").starts_with("a * stands for a whole source only"));
        for text in ["github: push", "github:push ", "github:\tpush", "github:\u{a0}push", "github: "] {
            assert!(refused(text).starts_with("the event type begins or ends with a space"), "{text}");
        }
        assert!(refused(" github:push").starts_with("the source has a space"));
        assert!(refused("github:a\nb").starts_with("the event type has a control character"));
    }
}
