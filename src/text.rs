//! Untrusted text on a terminal or in a log: on one line, and as it reads.

/// The text on one line, with a `?` for each invisible character: control characters, which move the cursor or forge a line,
/// and those that change the direction of writing or have no width, which make text look like another.
pub fn one_line(text: &str) -> String {
    text.replace(is_invisible, "?")
}

/// Text of several lines, with a `?` for each invisible character but line breaks and tabs.
pub fn lines(text: &str) -> String {
    text.replace(|c: char| c != '\n' && c != '\t' && is_invisible(c), "?")
}

/// Unicode's categories Cc, Cf, Zl and Zp, as far as a terminal is concerned.
pub fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The beginning of the text, with an ellipsis where something is missing.
pub fn cut(text: &str, max_bytes: usize) -> String {
    if text.len() <= max_bytes {
        return text.to_owned();
    }
    let end = (0..=max_bytes).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut("größe", 5), "grö…");
        assert_eq!(cut("größe", 4), "grö…");
        assert_eq!(cut("größe", 3), "gr…");
        assert_eq!(cut("größe", 7), "größe");
    }
}
