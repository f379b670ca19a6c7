//! Takes the `CREATE TABLE` of another program apart, to keep what is not ours.

/// The columns of `webhook_events` that are ours; other programs' columns are kept as they are.
pub(super) const OUR_COLUMNS: [&str; 10] = [
    "id",
    "source",
    "event_type",
    "delivery_id",
    "payload_json",
    "received_at",
    "processed_at",
    "status",
    "headers_json",
    "body",
];

/// The columns of a table that are not ours.
pub(super) fn foreign_columns(definition: &str) -> Vec<&str> {
    let is_foreign = |part: &&str| !is_constraint(part) && !OUR_COLUMNS.contains(&first_name(part).as_str());
    parts(definition).into_iter().filter(is_foreign).collect()
}

/// Table constraints, without the uniqueness of the delivery id, which ours replaces.
pub(super) fn foreign_constraints(definition: &str) -> Vec<&str> {
    let replaced = ["unique(delivery_id)", "unique(source,delivery_id)"];
    let squeezed = |part: &str| part.to_ascii_lowercase().replace([' ', '\t', '\n', '\r', '"', '`', '[', ']'], "");
    let is_foreign = |part: &&str| is_constraint(part) && !replaced.contains(&squeezed(part).as_str());
    parts(definition).into_iter().filter(is_foreign).collect()
}

fn is_constraint(part: &str) -> bool {
    let first_word = part.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
    ["CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"]
        .iter()
        .any(|keyword| keyword.eq_ignore_ascii_case(first_word))
}

/// The column name at the start of a definition, without quotes, in lower case.
fn first_name(part: &str) -> String {
    let (end, quote) = match part.chars().next() {
        Some('[') => (']', true),
        Some(mark @ ('"' | '`' | '\'')) => (mark, true),
        _ => (' ', false),
    };
    let name =
        if quote { part[1..].split(end).next() } else { part.split(|c: char| c.is_whitespace() || c == '(').next() };
    name.unwrap_or_default().to_ascii_lowercase()
}

/// The definitions between the outermost parentheses of a `CREATE TABLE`, without comments before them.
fn parts(definition: &str) -> Vec<&str> {
    let mut depth = 0;
    let mut cuts = Vec::new();
    for (at, token) in tokens(definition) {
        let (before, after) = match token {
            "(" => (depth, depth + 1),
            ")" => (depth, depth - 1),
            _ => (depth, depth),
        };
        let is_outermost = before.min(after) == 0 && before != after;
        if is_outermost || depth == 1 && token == "," {
            cuts.push(at);
        }
        depth = after;
    }
    cuts.windows(2).map(|cut| without_comment_before(&definition[cut[0] + 1..cut[1]])).collect()
}

fn without_comment_before(part: &str) -> &str {
    let is_blank =
        |token: &str| token.starts_with(char::is_whitespace) || token.starts_with("--") || token.starts_with("/*");
    let start = tokens(part).find(|(_, token)| !is_blank(token)).map_or(part.len(), |(at, _)| at);
    part[start..].trim_end()
}

/// Comments, quoted names and strings as a whole, everything else character by character; each with its offset.
fn tokens(sql: &str) -> impl Iterator<Item = (usize, &str)> {
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

#[cfg(test)]
mod tests {
    use super::super::tests::OLDER;
    use super::*;

    #[test]
    fn definitions_are_split_at_the_right_commas() {
        assert_eq!(parts(OLDER).len(), 12);
        assert_eq!(
            foreign_columns(OLDER).iter().map(|part| first_name(part)).collect::<Vec<_>>(),
            ["note, of mine", "size"]
        );
        assert_eq!(foreign_constraints(OLDER).len(), 1);
    }
}
