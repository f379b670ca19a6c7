//! The tokens of a statement, as far as they are needed to take a definition apart.

/// Comments, quoted names and strings as a whole, everything else character by character; each with its offset.
pub(super) fn tokens(sql: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at;
        at += token_bytes(&sql[start..])?;
        Some((start, &sql[start..at]))
    })
}

/// The length of the token at the start of `sql`.
fn token_bytes(sql: &str) -> Option<usize> {
    let first = sql.chars().next()?;
    let up_to = |end: &str, from: usize| sql[from..].find(end).map_or(sql.len(), |at| from + at + end.len());
    Some(match first {
        '-' if sql.starts_with("--") => up_to("\n", 2),
        '/' if sql.starts_with("/*") => up_to("*/", 2),
        '[' => up_to("]", 1),
        '"' => up_to("\"", 1),
        '`' => up_to("`", 1),
        '\'' => up_to("'", 1),
        _ => first.len_utf8(),
    })
}

/// True for what separates tokens: white space and comments.
pub(super) fn is_blank(token: &str) -> bool {
    token.starts_with(char::is_whitespace) || token.starts_with("--") || token.starts_with("/*")
}

/// A statement to compare: without what separates tokens, and without quotes of names and upper case, which tools change.
pub(super) fn squeezed(sql: &str) -> String {
    let squeeze = |(_, token): (usize, &str)| match token.chars().next() {
        _ if is_blank(token) => String::new(),
        Some('\'') => token.to_owned(),
        _ => token.trim_matches(['"', '`', '[', ']']).to_lowercase(),
    };
    tokens(sql).map(squeeze).collect()
}
