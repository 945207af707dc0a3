//! Phrases that must not come back into what users read: documents, manifests, the comments of the
//! APIs, and the strings of the programs.
#![allow(clippy::unwrap_used, reason = "a test that cannot read the code must fail")]

use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use rules::{files, is_test, is_test_file, sources};

/// Each as lower case words; an object is named first, and says what it does.
const PHRASES: [&str; 7] =
    ["to be had", "be had", "is told", "nobody", "for want of", "whoever", "or else"];
/// A user of images, not a person.
const ALLOWED: &str = "--user nobody";
/// Derives of clap, which prints the doc comments as `--help`.
const HELP: [&str; 4] = ["Parser", "Args", "Subcommand", "ValueEnum"];
/// Directories and the ends of file names, with the depth to look at.
const TEXTS: [(&str, &[&str], usize); 7] = [
    ("", &[".md"], 1),
    ("docs", &[".md"], 1),
    ("docs/decisions", &[".md"], 1),
    ("proto", &[".proto"], 9),
    ("deploy", &[".md", ".yaml"], 3),
    ("deploy/chart/hookd/templates", &[".tpl", ".txt", ".yaml"], 1),
    ("examples", &[".md", ".yaml"], 1),
];
const SOURCES: [&str; 3] = ["daemon/src", "client/src", "agent/src"];

/// Words of `text` with their lines; code in backticks is one dash, and signs of comments are none.
fn words(text: &str) -> Vec<(usize, String)> {
    let (mut words, mut line, mut is_code) = (Vec::new(), 1, false);
    let mut word = String::new();
    for letter in text.chars().chain(['\n']) {
        is_code ^= letter == '`';
        if letter.is_alphanumeric() && !is_code {
            word.extend(letter.to_lowercase());
            continue;
        }
        if !word.is_empty() {
            words.push((line, std::mem::take(&mut word)));
        }
        if letter == '\n' {
            line += 1;
        } else if !letter.is_whitespace() && !"/#>*_".contains(letter) {
            words.push((line, "-".to_owned()));
        }
    }
    words
}

/// The phrases in `text`, with the lines at which they begin.
fn found(text: &str) -> Vec<(usize, &'static str)> {
    let words = words(&text.replace(ALLOWED, ""));
    let stands = |at: usize, phrase: &str| {
        let expected = phrase.split(' ');
        expected
            .enumerate()
            .all(|(index, word)| words.get(at + index).is_some_and(|(_, is)| is == word))
    };
    let at = |at| {
        PHRASES.into_iter().filter(move |phrase| stands(at, phrase)).map(move |phrase| (at, phrase))
    };
    (0..words.len()).flat_map(at).map(|(at, phrase)| (words[at].0, phrase)).collect()
}

/// The string literals of a source, those of macros and attributes too, with their lines.
#[derive(Default)]
struct Strings {
    all: Vec<(usize, String)>,
    /// In a type of clap.
    is_help: bool,
}

impl Strings {
    fn of(syntax: &syn::File) -> Vec<(usize, String)> {
        let mut strings = Self::default();
        strings.visit_file(syntax);
        strings.all
    }

    fn tokens(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Literal(literal) => {
                    if let Ok(string) = syn::parse2::<syn::LitStr>(TokenTree::from(literal).into())
                    {
                        self.visit_lit_str(&string);
                    }
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Strings {
    fn visit_lit_str(&mut self, string: &'ast syn::LitStr) {
        self.all.push((string.span().start().line, string.value()));
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
        } else if self.is_help || !attribute.path().is_ident("doc") {
            visit::visit_attribute(self, attribute);
        }
    }

    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = match item {
            syn::Item::Const(item) => &item.attrs,
            syn::Item::Enum(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Struct(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if is_test(attributes) {
            return;
        }
        self.is_help = attributes.iter().any(|attribute| {
            let derives = attribute.meta.require_list().map(|list| list.tokens.to_string());
            attribute.path().is_ident("derive")
                && derives.is_ok_and(|all| HELP.iter().any(|help| all.contains(help)))
        });
        visit::visit_item(self, item);
        self.is_help = false;
    }
}

#[test]
fn texts_for_users_avoid_the_phrases_of_the_old_dialect() {
    let mut wrong = Vec::new();
    let mut note = |path: &Path, line: usize, phrase: &str| {
        wrong.push(format!("{}:{line}: {phrase:?}", path.display()));
    };
    for (directory, ends, depth) in TEXTS {
        for path in files(directory, ends, depth) {
            let text = fs::read_to_string(&path).unwrap();
            found(&text).into_iter().for_each(|(line, phrase)| note(&path, line, phrase));
        }
    }
    for directory in SOURCES {
        for source in sources(directory).iter().filter(|source| !is_test_file(&source.path)) {
            let path = Path::new(directory).join(&source.path);
            for (start, string) in Strings::of(&source.syntax) {
                found(&string).into_iter().for_each(|(_, phrase)| note(&path, start, phrase));
            }
        }
    }
    assert!(wrong.is_empty(), "say it in plain English:\n{}", wrong.join("\n"));
}

#[test]
fn a_phrase_is_found_across_lines_and_in_macros() {
    let text = "// The port is not to be\n// had. Or elsewhere.\n`nobody` and --user nobody\n";
    assert_eq!(found(text), [(1, "to be had"), (1, "be had")]);
    let source = "/// nobody\n#[error(\"is told {0}\")]\nstruct Odd;\n\
                  fn say() {\n    let text = format!(\"Or \\\n else\");\n}\n\
                  /// Whoever.\n#[derive(Args)]\nstruct Help;\n\
                  #[cfg(test)]\nmod tests { const TEXT: &str = \"nobody\"; }\n";
    let strings = Strings::of(&syn::parse_file(source).unwrap());
    let all: Vec<_> = strings
        .into_iter()
        .flat_map(|(line, string)| {
            found(&string).into_iter().map(move |(_, phrase)| (line, phrase))
        })
        .collect();
    assert_eq!(all, [(2, "is told"), (5, "or else"), (8, "whoever")]);
}
