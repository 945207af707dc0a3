//! Facts about docker's patterns.

use super::*;
use crate::build::context::Bounds;

/// A meter that ends nothing by accident.
fn meter() -> Meter {
    let timeout = std::time::Duration::from_secs(600);
    Meter::new("/".into(), &Bounds { bytes: 0, timeout, cancelled: Default::default() })
}

/// Whether a path is ignored, its directories having been evaluated first.
fn ignores(file: &str, path: &str) -> bool {
    let rules = Rules::parse(file.as_bytes()).unwrap();
    let mut result = (false, Matched::default());
    for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
        result = rules.evaluate(&path.as_bytes()[..end], &result.1, &meter()).unwrap();
    }
    result.0
}

#[test]
fn one_pattern_matches_as_in_docker() {
    let table: [(&str, &[&str], &[&str]); 30] = [
        ("foo", &["foo", "foo/bar", "foo/a/b"], &["a/foo", "foobar", "Foo"]),
        ("/foo", &["foo", "foo/bar"], &["a/foo"]),
        ("foo/", &["foo", "foo/bar"], &["a/foo"]),
        ("./a//b/../c/.", &["a/c", "a/c/d"], &["a/b", "a"]),
        ("../foo", &[], &["foo", "a/foo"]),
        ("/", &[], &["foo"]),
        (".", &[], &["foo"]),
        ("*", &["foo", ".foo", "foo/bar"], &[]),
        ("*.md", &["a.md", ".md", "a.md/b"], &["a.mdx", "sub/a.md"]),
        ("*/temp*", &["a/temp", "a/temporary.txt", "a/temp/b"], &["temp", "a/b/temp"]),
        ("*/*/temp*", &["a/b/temp1"], &["a/temp1"]),
        ("temp?", &["tempa", "temp☺"], &["temp", "tempab", "temp/"]),
        ("a/*", &["a/b", "a/b/c"], &["a"]),
        // Two stars.
        ("**", &["foo", "a/b/c"], &[]),
        ("**/*.go", &["a.go", "x/y/a.go"], &["a.gox"]),
        ("**/foo", &["foo", "a/foo", "a/b/foo", "foo/x"], &["barfoo", "a/barfoo"]),
        ("**foo", &["foo", "a/foo", "barfoo", "a/barfoo"], &["foob"]),
        ("**foo*", &["foo", "a/foob"], &["barfoo"]),
        ("foo/**", &["foo/a", "foo/a/b"], &["foo", "foob"]),
        ("foo**", &["foo", "foob", "foo/a"], &["fo", "a/foo"]),
        ("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["ab", "a/xb", "b"]),
        ("a**/b", &["a/b", "a/x/b", "ax/b"], &["a/xb", "b"]),
        ("**/**/b", &["b", "x/b", "x/y/b"], &["xb"]),
        // Classes and backslashes.
        ("a[b-d]", &["ab", "ad"], &["aa", "ae", "a"]),
        ("a[^b-dx]", &["aa", "a☺"], &["ab", "ax"]),
        (r"[\]\-]", &["]", "-"], &["\\", "a"]),
        (r"a\*b", &["a*b"], &["axb", r"a\*b"]),
        (r"\#a", &["#a"], &["a"]),
        ("a.b+(c)|{d}^$", &["a.b+(c)|{d}^$"], &["aXb+(c)|{d}^$"]),
        ("] - é", &["] - é"], &["]", "é"]),
    ];
    for (pattern, matching, others) in table {
        for path in matching {
            assert!(ignores(pattern, path), "{pattern} should match {path}");
        }
        for path in others {
            assert!(!ignores(pattern, path), "{pattern} should not match {path}");
        }
    }
}

#[test]
fn the_last_pattern_that_matches_decides() {
    let table: [(&str, &[&str], &[&str]); 9] = [
        ("*.md\n!README.md", &["a.md"], &["README.md", "a.txt"]),
        ("!README.md\n*.md", &["README.md"], &[]),
        ("*.md\n!README*.md\nREADME-secret.md", &["README-secret.md"], &["README.md"]),
        ("docs\n!docs/README.md", &["docs", "docs/a"], &["docs/README.md"]),
        ("docs/\n! /docs/README.md/", &["docs/a"], &["docs/README.md"]),
        ("**\n!util/web", &["util", "util/a"], &["util/web", "util/web/x/y"]),
        ("**\n!util/web\nutil/web/foo", &["util/web/foo"], &["util/web/bar"]),
        ("a/b\n!a", &["a/b"], &["a"]),
        ("*\n!a\n!b", &["c"], &["a/x", "b"]),
    ];
    for (file, ignored, kept) in table {
        for path in ignored {
            assert!(ignores(file, path), "{file:?} should ignore {path}");
        }
        for path in kept {
            assert!(!ignores(file, path), "{file:?} should keep {path}");
        }
    }
}

#[test]
fn comments_blank_lines_spaces_and_marks_are_dropped() {
    let file = "\u{FEFF}# first\n#a\n\n \t \n  b  \r\n !c \n #d\n";
    let rules = Rules::parse(file.as_bytes()).unwrap();
    assert_eq!(rules.0.len(), 3);
    assert!(ignores(file, "b") && ignores(file, "#d") && !ignores(file, "a"));
    assert!(ignores("\u{FEFF}a", "a"));
}

#[test]
fn a_malformed_pattern_is_named() {
    for rule in ["!", "! ", "[", "[^", "[]a]", "[a", "[a-", "[-a]", "[a-]", "[z-a]", "a\\", "[\\"] {
        let error = Rules::parse(format!("ok\n{rule}\n").as_bytes()).unwrap_err();
        assert_eq!(error, Unfit::Malformed { line: 2, rule: rule.to_owned() });
    }
}

#[test]
fn a_byte_that_is_not_text_is_one_character_and_equals_itself() {
    let parent = Matched::default();
    for (pattern, matches) in
        [(&b"a\xFFb"[..], true), (b"a?b", true), (b"a??b", false), (b"a\xFEb", false)]
    {
        let rules = Rules::parse(pattern).unwrap();
        assert_eq!(rules.evaluate(b"a\xFFb", &parent, &meter()).unwrap().0, matches, "{pattern:?}");
    }
}

#[test]
fn a_directory_is_entered_where_an_exception_could_match_below() {
    let rules = Rules::parse(b"*\n!a/b/c\n!x*/y\n").unwrap();
    for (directory, entered) in
        [("a", true), ("a/b", true), ("a/b/c", true), ("a/z", false), ("b", false), ("xx", true)]
    {
        assert_eq!(
            rules.may_except_below(directory.as_bytes(), &meter()).unwrap(),
            entered,
            "{directory}"
        );
    }
    assert!(!Rules::parse(b"*\n").unwrap().may_except_below(b"a", &meter()).unwrap());
    assert!(Rules::parse(b"*\n!**/z\n").unwrap().may_except_below(b"a", &meter()).unwrap());
}

#[test]
fn a_pattern_with_many_stars_does_not_hold_hookd_up() {
    // More ways to share the letters out than could be tried in a lifetime.
    let pattern = format!("{}b", "*a".repeat(50));
    assert!(!ignores(&pattern, &"a".repeat(250)));
    assert!(ignores(&pattern, &("a".repeat(249) + "b")));
    let pattern = format!("{}b", "**/*a/".repeat(50));
    assert!(!ignores(&pattern, &"a/".repeat(100)));
    assert!(ignores(&pattern, &("a/".repeat(100) + "b")));
}
