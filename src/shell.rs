//! Words of a POSIX shell, for commands that are printed to be pasted.

/// The text as one word, quoted where a shell would read it otherwise.
pub fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_quoted_where_a_shell_would_read_it_otherwise() {
        assert_eq!(word("/etc/hook-box_1.toml"), "/etc/hook-box_1.toml");
        assert_eq!(word("/my files/it's"), r"'/my files/it'\''s'");
        assert_eq!(word("it's $HOME `id` \\ \"x\" !"), r#"'it'\''s $HOME `id` \ "x" !'"#);
        assert_eq!(word(""), "''");
    }
}
