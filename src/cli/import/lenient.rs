//! JSON as people write it: adnanh/webhook reads its files as YAML, which takes comments and commas before a closing
//! bracket, and perhaps as a template of Go before that.

/// What stands for a call within a template: `{{ getenv "NAME" | js }}` becomes `{{getenv:NAME}}`, which has no quotes.
pub const CALLS: [(&str, &str); 3] = [("getenv", "env"), ("credential", "credential"), ("cat", "file")];

/// The text as JSON.
pub fn json(text: &str) -> String {
    without_commas(&without_comments(&with_marked_calls(text.trim_start_matches('\u{feff}'))))
}

fn with_marked_calls(text: &str) -> String {
    let mut marked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        marked.push_str(before);
        let call = after.split_once("}}").and_then(|(inside, after)| Some((marked_call(inside)?, after)));
        match call {
            Some((call, after)) => {
                marked.push_str(&call);
                rest = after;
            }
            None => {
                marked.push_str("{{");
                rest = after;
            }
        }
    }
    marked + rest
}

fn marked_call(inside: &str) -> Option<String> {
    let inside = inside.trim_matches(['-', ' ', '\t', '\n']);
    let (name, rest) = inside.split_once([' ', '\t'])?;
    CALLS.iter().find(|(known, _)| *known == name)?;
    let argument = rest.trim_start().trim_start_matches('\\').strip_prefix(['"', '`'])?;
    let end = argument.find(['"', '`', '\\'])?;
    let is_whole = ["", "js", "json"].contains(&argument[end..].trim_start_matches(['"', '`', '\\', ' ', '|']).trim());
    is_whole.then(|| format!("{{{{{name}:{}}}}}", &argument[..end]))
}

/// The characters outside of strings, each with its position, and whether it is within a string.
fn outside_strings(text: &str) -> impl Iterator<Item = (usize, char, bool)> {
    let (mut is_inside, mut is_escaped) = (false, false);
    text.char_indices().map(move |(at, char)| {
        let was_inside = is_inside;
        match char {
            _ if is_escaped => is_escaped = false,
            '\\' if is_inside => is_escaped = true,
            '"' => is_inside = !is_inside,
            _ => {}
        }
        (at, char, was_inside || is_inside)
    })
}

/// A comment begins with `#`, or with `//`, and ends with the line.
fn without_comments(text: &str) -> String {
    let lines = text.split_inclusive('\n').map(|line| {
        let is_comment = |at: usize| line[at..].starts_with('#') || line[at..].starts_with("//");
        let comment = outside_strings(line).find(|(at, _, is_inside)| !is_inside && is_comment(*at));
        comment.map_or(line.to_owned(), |(at, _, _)| format!("{}\n", &line[..at]))
    });
    lines.collect()
}

fn without_commas(text: &str) -> String {
    let is_last = |at: usize| text[at + 1..].trim_start().starts_with([']', '}']);
    let kept = outside_strings(text).filter(|(at, char, is_inside)| *is_inside || *char != ',' || !is_last(*at));
    kept.map(|(_, char, _)| char).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_last_commas_are_left_out_and_strings_kept() {
        let text = "\u{feff}[ # all\n {\"a\": \"x, ] // \\\" #\", // one\n }, ]";
        assert_eq!(json(text).split_whitespace().collect::<String>(), r##"[{"a":"x,]//\"#"}]"##);
    }

    #[test]
    fn calls_within_a_template_become_marks() {
        for (call, mark) in [
            (r#""{{ getenv "A" | js }}""#, r#""{{getenv:A}}""#),
            (r#""{{credential "a-b"}}""#, r#""{{credential:a-b}}""#),
            (r#""x {{- cat `/run/s` -}}""#, r#""x {{cat:/run/s}}""#),
            (r#""{{ payload }}""#, r#""{{ payload }}""#),
        ] {
            assert_eq!(json(call), mark);
        }
    }
}
