//! Links of the documents, of manifests and of the programs to documents: each leads to a file, and to a heading of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot read the code must fail")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use rules::{files, repository};

/// Where this repository is read.
const HOME: &str = "https://github.com/hookd/hookd/blob/main/";
/// Directories, ends of names and depths of what links by relative paths.
const DOCUMENTS: [(&str, &[&str], usize); 4] =
    [("", &[".md"], 1), ("docs", &[".md"], 2), ("deploy", &[".md"], 3), ("examples", &[".md"], 2)];
/// ... and of what links to [`HOME`].
const OTHERS: [(&str, &[&str], usize); 4] = [
    ("deploy", &[".yaml", ".json", ".txt"], 4),
    ("daemon/src", &[".rs"], 9),
    ("client/src", &[".rs"], 9),
    ("agent/src", &[".rs"], 9),
];

/// The text outside of code.
fn prose(document: &str) -> String {
    let mut is_block = false;
    let mut kept = String::new();
    for line in document.lines() {
        if line.trim_start().starts_with("```") {
            is_block = !is_block;
        } else if !is_block {
            let outside = line.split('`').step_by(2);
            kept.extend(outside.flat_map(|part| [part, "`"]));
            kept.push('\n');
        }
    }
    kept
}

/// Where the inline links of a document lead.
fn links(document: &str) -> Vec<String> {
    let prose = prose(document);
    let rest = prose.split("](").skip(1);
    rest.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// The names by which headings are found, as GitHub makes them.
fn anchors(document: &str) -> BTreeSet<String> {
    let mut is_block = false;
    let mut found = BTreeSet::new();
    for line in document.lines() {
        is_block ^= line.trim_start().starts_with("```");
        let text = line.trim_start_matches('#');
        if is_block || text.len() == line.len() || !text.starts_with(' ') {
            continue;
        }
        let lower = text.trim().to_lowercase();
        let kept = |letter: &char| letter.is_alphanumeric() || " -_".contains(*letter);
        let name: String = lower.chars().filter(kept).collect::<String>().replace(' ', "-");
        let again = (1..).map(|number| format!("{name}-{number}"));
        let free = std::iter::once(name.clone()).chain(again).find(|name| !found.contains(name));
        found.extend(free);
    }
    found
}

/// Without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

/// Why a link from a file in `directory` leads nowhere.
fn broken(directory: &Path, link: &str) -> Option<&'static str> {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = normal(&directory.join(path));
    let Ok(about) = fs::metadata(&target) else { return Some("there is no such file") };
    if anchor.is_empty() || about.is_dir() {
        return None;
    }
    let text = fs::read_to_string(&target).unwrap();
    (!anchors(&text).contains(anchor)).then_some("the file has no such heading")
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for path in DOCUMENTS.iter().flat_map(|(directory, ends, depth)| files(directory, ends, *depth))
    {
        let text = fs::read_to_string(&path).unwrap();
        let relative = links(&text).into_iter().filter(|link| !link.contains(':'));
        for link in relative {
            seen += 1;
            let own = path.file_name().unwrap().to_str().unwrap();
            let full = if link.starts_with('#') { format!("{own}{link}") } else { link.clone() };
            let why = broken(path.parent().unwrap(), &full);
            wrong.extend(why.map(|why| format!("{}: {link}: {why}", path.display())));
        }
    }
    assert!(seen > 80, "{seen} links");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn links_to_the_repository_lead_to_what_it_has() {
    let (mut seen, mut wrong) = (0, Vec::new());
    let all = OTHERS.iter().chain(&DOCUMENTS);
    for path in all.flat_map(|(directory, ends, depth)| files(directory, ends, *depth)) {
        let text = fs::read_to_string(&path).unwrap();
        for rest in text.split(HOME).skip(1) {
            seen += 1;
            let is_end =
                |letter: char| !letter.is_ascii_alphanumeric() && !"/._-#".contains(letter);
            let link = rest.split(is_end).next().unwrap().trim_end_matches('.');
            let why = broken(&repository(), link);
            wrong.extend(why.map(|why| format!("{}: {link}: {why}", path.display())));
        }
    }
    assert!(seen >= 10, "{seen} links");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let text = "# One `two`\n## One two\n```\n# no heading\n[a](code)\n```\n[b](x.md#y) `[c](code)` [d](#one-two-1)";
    assert_eq!(links(text), ["x.md#y", "#one-two-1"]);
    assert_eq!(anchors(text), ["one-two", "one-two-1"].map(str::to_owned).into());
    let root = repository();
    assert_eq!(broken(&root, "README.md"), None);
    assert!(broken(&root.join("docs"), "../README.md#no-such-heading").is_some());
    assert!(broken(&root, "docs/none.md").is_some());
}
