//! Patterns of substitutions: `${name#pattern}`, `${name/pattern/text}`.

/// A part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// `*`
    Any,
    /// `?`
    One,
    Letter(char),
}

/// A pattern of `*` and `?`; brackets are letters, as docker has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Part>);

impl Pattern {
    /// Reads a pattern, in which a backslash stands before a letter that is meant as such; none: docker
    /// refuses it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            parts.push(match letter {
                '*' => Part::Any,
                '?' => Part::One,
                // The end of a substitution, and what divides it.
                '\\' if matches!(letters.peek(), Some('}' | '/')) => continue,
                '\\' => Part::Letter(letters.next_if(|next| matches!(next, '*' | '?' | '\\'))?),
                _ => Part::Letter(letter),
            });
        }
        Some(Self(parts))
    }

    /// The value without the part at its begin that matches.
    pub(super) fn without_begin(&self, value: &str, longest: bool) -> String {
        let value: Vec<_> = value.chars().collect();
        let end = self.end(&value, longest).unwrap_or_default();
        value[end..].iter().collect()
    }

    /// The value without the part at its end that matches.
    pub(super) fn without_end(&self, value: &str, longest: bool) -> String {
        let value: Vec<_> = value.chars().rev().collect();
        let reversed = Self(self.0.iter().rev().copied().collect());
        let end = reversed.end(&value, longest).unwrap_or_default();
        value[end..].iter().rev().collect()
    }

    /// The value with other text where it matches: at the first place or at all.
    pub(super) fn replace(&self, value: &str, text: &str, all: bool) -> String {
        let value: Vec<_> = value.chars().collect();
        let (mut result, mut at, mut is_open) = (String::new(), 0, true);
        while at <= value.len() {
            let end = if is_open { self.end(&value[at..], true) } else { None };
            if let Some(length) = end {
                result.push_str(text);
                is_open = all;
                at += length;
                if length > 0 {
                    continue;
                }
            }
            result.extend(value.get(at));
            at += 1;
        }
        result
    }

    /// The length of the longest or the shortest begin of the text that matches. Its time is the product
    /// of both lengths.
    fn end(&self, text: &[char], longest: bool) -> Option<usize> {
        let mut found = None;
        let mut places = vec![false; self.0.len() + 1];
        places[0] = true;
        for length in 0..=text.len() {
            for at in 0..self.0.len() {
                places[at + 1] |= places[at] && self.0[at] == Part::Any;
            }
            if places[self.0.len()] {
                found = Some(length);
                if !longest {
                    break;
                }
            }
            let Some(letter) = text.get(length) else { break };
            let mut next = vec![false; places.len()];
            for (at, part) in self.0.iter().enumerate().filter(|(at, _)| places[*at]) {
                match part {
                    Part::Any => next[at] = true,
                    Part::One => next[at + 1] = true,
                    Part::Letter(one) => next[at + 1] |= one == letter,
                }
            }
            places = next;
            if !places.contains(&true) {
                break;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn the_shortest_or_the_longest_part_is_cut_off() {
        for (text, value, begin, begins, end, ends) in [
            ("*/", "a/b/c/", "b/c/", "", "a/b/c", ""),
            (".*", ".a.b", "a.b", "", ".a", ""),
            ("?", "abc", "bc", "bc", "ab", "ab"),
            ("", "abc", "abc", "abc", "abc", "abc"),
            ("x", "abc", "abc", "abc", "abc", "abc"),
            ("*", "abc", "abc", "", "abc", ""),
            ("a*c", "abcbc", "bc", "", "", ""),
            ("\\*", "*a*", "a*", "a*", "*a", "*a"),
            ("[a]", "[a]b[a]", "b[a]", "b[a]", "[a]b", "[a]b"),
            ("ü?", "ü☃", "", "", "", ""),
        ] {
            let pattern = pattern(text);
            assert_eq!(pattern.without_begin(value, false), begin, "{text}");
            assert_eq!(pattern.without_begin(value, true), begins, "{text}");
            assert_eq!(pattern.without_end(value, false), end, "{text}");
            assert_eq!(pattern.without_end(value, true), ends, "{text}");
        }
        assert_eq!(Pattern::parse("\\a"), None);
        assert_eq!(Pattern::parse("a\\"), None);
    }

    #[test]
    fn what_matches_is_replaced_once_or_everywhere() {
        for (text, value, one, all) in [
            ("a", "a.b.a", "X.b.a", "X.b.X"),
            (".", "a.b.a", "aXb.a", "aXbXa"),
            ("\\/", "linux/amd64/v2", "linuxXamd64/v2", "linuxXamd64Xv2"),
            ("b*", "a.b.a", "a.X", "a.X"),
            ("?", "abc", "Xbc", "XXX"),
            ("no", "abc", "abc", "abc"),
        ] {
            assert_eq!(pattern(text).replace(value, "X", false), one, "{text}");
            assert_eq!(pattern(text).replace(value, "X", true), all, "{text}");
        }
    }
}
