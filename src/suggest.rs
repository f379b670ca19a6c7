//! "Did you mean": the known word nearest to a mistyped one.

/// At most a third of a word's letters may be wrong.
const LETTERS_PER_ERROR: usize = 3;

/// The known word that was probably meant, if any is close enough.
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let tolerance = (word.chars().count() / LETTERS_PER_ERROR).max(1);
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// What to write instead of a word that is not known: the closest known one, or all of them.
pub fn hint(word: &str, known: &[&str]) -> String {
    match closest(word, known.iter().copied()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("known: {}", known.join(", ")),
    }
}

/// How many letters to insert, delete, replace, or swap with their neighbour (Damerau's distance, each letter moved once).
/// Entry `j` of a row is the distance from the letters of `from` read so far to the first `j` letters of `to`; the last
/// three rows are kept.
fn distance(from: &str, to: &str) -> usize {
    let [from, to] = [from, to].map(|word| word.chars().collect::<Vec<char>>());
    let mut before = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, letter) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in to.iter().enumerate() {
            let replaced = last[j] + usize::from(letter != other);
            let mut least = replaced.min(row[j] + 1).min(last[j + 1] + 1);
            if i > 0 && j > 0 && from[i - 1] == *other && to[j - 1] == *letter {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        assert_eq!(distance("", ""), 0);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("serve", "server"), 1);
        assert_eq!(distance("lsit", "list"), 1);
        assert_eq!(distance("abcd", "badc"), 2);
    }

    #[test]
    fn suggests_only_close_words() {
        let known = ["serve", "check", "list", "stats"];
        assert_eq!(closest("lst", known), Some("list"));
        assert_eq!(closest("lsit", known), Some("list"));
        assert_eq!(closest("server", known), Some("serve"));
        assert_eq!(closest("stat", known), Some("stats"));
        assert_eq!(closest("frobnicate", known), None);
        assert_eq!(closest("", known), None);
    }

    #[test]
    fn prefers_the_closest() {
        assert_eq!(closest("secrets", ["secret", "sectors"]), Some("secret"));
    }
}
