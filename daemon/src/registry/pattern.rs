//! Patterns for names, as administrators write them: of images, volumes and flags.

/// In a path `*` stands for any letters of a part, and a last part `**` for one part or more.
pub fn matches_path(pattern: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    let mut wanted = pattern.split('/').peekable();
    while let Some(part) = wanted.next() {
        let Some(found) = parts.next() else { return false };
        if part == "**" && wanted.peek().is_none() {
            return true;
        }
        if !matches_part(part, found) {
            return false;
        }
    }
    parts.next().is_none()
}

/// `*` stands for any letters.
pub fn matches_part(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut last = None;
    for piece in pieces {
        if let Some(before) = last.replace(piece) {
            let Some((_, after)) = rest.split_once(before) else { return false };
            rest = after;
        }
    }
    last.map_or(rest.is_empty(), |last| rest.ends_with(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_ends_at_a_slash_and_two_do_not() {
        for (pattern, path, matches) in [
            ("a/*", "a/b", true),
            ("a/*", "a/b/c", false),
            ("a/*", "a", false),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("**", "a", true),
            ("**/b", "a/b", true),
            ("**/b", "a/a/b", false),
            ("a*c*/b", "abcd/b", true),
            ("a*b*b", "ab", false),
            ("*a*", "bab", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches_path(pattern, path), matches, "{pattern} {path}");
        }
    }
}
