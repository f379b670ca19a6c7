//! Values as TOML writes them.

/// A string. One with quotes or backslashes is a literal, which needs no escapes.
pub fn string(text: &str) -> String {
    let is_plain = !text.contains(char::is_control);
    if is_plain && text.contains(['"', '\\']) && !text.contains('\'') {
        return format!("'{text}'");
    }
    if is_plain && text.contains(['"', '\\']) && !text.contains("'''") && !text.ends_with('\'') {
        return format!("'''{text}'''");
    }
    // The escapes of JSON are some of TOML's, which also needs one for DEL.
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

pub fn list<T: AsRef<str>>(items: &[T]) -> String {
    format!("[{}]", items.iter().map(|item| string(item.as_ref())).collect::<Vec<_>>().join(", "))
}

pub fn inline_table<'a>(members: impl Iterator<Item = (&'a str, String)>) -> String {
    let members: Vec<String> = members.map(|(name, value)| format!("{} = {value}", key(name))).collect();
    format!("{{ {} }}", members.join(", "))
}

fn key(name: &str) -> String {
    let is_bare = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_bare { name.to_owned() } else { string(name) }
}

/// Lines of a comment, none of which is longer than usual.
pub fn comment(text: &str) -> String {
    const COLUMNS: usize = 100;
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let word: String = word.chars().map(|char| if char.is_control() { '?' } else { char }).collect();
        if lines.last().is_some_and(|line| !line.is_empty() && line.len() + word.len() > COLUMNS) {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push(' ');
            line.push_str(&word);
        }
    }
    lines.iter().map(|line| format!("#{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_read_as_it_was_written() {
        for text in ["a", "it's", "\"x\"", r"\d'", r"'''\", "a\u{7f}\n\t\u{1}é", "", "'", "\"'"] {
            let read: toml::Table = format!("a = {}", string(text)).parse().expect("TOML");
            assert_eq!(read["a"].as_str(), Some(text));
        }
    }
}
