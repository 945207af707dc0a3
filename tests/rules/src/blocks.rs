//! Shell lines in the documents: fenced blocks, and the marks that say whether they are run.
//!
//! The word after the fence is the language, by which GitHub colours the block; the mark follows it:
//! `run-by: <test or script>` or `not-run: <why>`.

use std::fs;
use std::path::Path;

use crate::{files, repository};

/// Languages of blocks that a reader pastes into a shell.
const LANGUAGES: [&str; 5] = ["sh", "bash", "shell", "console", "zsh"];
/// Directories with documents, and the depth to look at.
const DOCUMENTS: [(&str, usize); 8] = [
    ("", 1),
    (".github", 3),
    ("agent", 9),
    ("client", 9),
    ("daemon", 9),
    ("deploy", 9),
    ("docs", 9),
    ("examples", 9),
];
/// Not a reader's: what Dockerfiles are tested with.
const CONTEXTS: &str = "tests/parity/contexts";

/// What a block says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The file, below the repository's root, that takes this block from its document and runs it.
    RunBy(String),
    /// Why nothing runs it.
    NotRun(String),
    /// Nothing, or what is no mark.
    None,
}

/// A block of shell lines.
#[derive(Clone, Debug)]
pub struct ShellBlock {
    /// Below the repository's root.
    pub document: String,
    /// That of the fence, from 1 on.
    pub line: usize,
    /// What it says of itself.
    pub mark: Mark,
    /// Its lines, without the indent of the fence.
    pub text: String,
}

impl ShellBlock {
    /// Its commands: a line that begins with a space continues the one before; comments are left out.
    pub fn commands(&self) -> Vec<String> {
        let mut commands: Vec<String> = Vec::new();
        for line in self.text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            match commands.last_mut() {
                Some(last) if line.starts_with(' ') => *last = format!("{last}\n{line}"),
                _ => commands.push(line.to_owned()),
            }
        }
        commands
    }
}

/// Every document of the repository: its path below the root, and its text.
pub fn documents() -> Vec<(String, String)> {
    let tests = fs::read_dir(repository().join("tests")).unwrap();
    let tests = tests.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let tests: Vec<_> = tests.map(|path| (relative(&path), 9)).collect();
    let all = DOCUMENTS.iter().map(|(directory, depth)| ((*directory).to_owned(), *depth));
    let mut found = Vec::new();
    for (directory, depth) in all.chain(tests) {
        found.extend(markdown(&directory, depth));
    }
    found.sort();
    found.retain(|path| !path.starts_with(CONTEXTS));
    let read = |path: String| (fs::read_to_string(repository().join(&path)).unwrap(), path);
    found.into_iter().map(read).map(|(text, path)| (path, text)).collect()
}

/// Documents below a directory; it may have none.
fn markdown(directory: &str, depth: usize) -> Vec<String> {
    // Every directory of the repository has a file.
    let all = files(directory, &[""], depth).into_iter();
    all.filter(|path| path.extension().is_some_and(|end| end == "md"))
        .map(|path| relative(&path))
        .collect()
}

fn relative(path: &Path) -> String {
    path.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned()
}

/// The shell blocks of all documents.
pub fn shell_blocks() -> Vec<ShellBlock> {
    documents().iter().flat_map(|(path, text)| blocks_of(path, text)).collect()
}

/// The blocks that `runner` is to run: it must run each of them.
pub fn run_by(runner: &str) -> Vec<ShellBlock> {
    let mut all = shell_blocks();
    all.retain(|block| block.mark == Mark::RunBy(runner.to_owned()));
    assert!(!all.is_empty(), "no block is marked run-by: {runner}");
    all
}

/// The shell blocks of one document.
pub fn blocks_of(document: &str, text: &str) -> Vec<ShellBlock> {
    let mut found = Vec::new();
    let mut open: Option<Open> = None;
    for (index, line) in text.lines().enumerate() {
        match &mut open {
            None => open = Open::at(index, line),
            Some(block) if block.is_closed_by(line) => {
                found.extend(open.take().and_then(|block| block.shell(document)));
            }
            Some(block) => block.add(line),
        }
    }
    found
}

/// A fenced block that has not ended.
struct Open {
    line: usize,
    indent: usize,
    fence: String,
    info: String,
    text: String,
}

impl Open {
    fn at(index: usize, line: &str) -> Option<Self> {
        let trimmed = line.trim_start();
        let fence: String = trimmed.chars().take_while(|letter| *letter == '`').collect();
        (fence.len() >= 3).then(|| Self {
            line: index + 1,
            indent: line.len() - trimmed.len(),
            info: trimmed[fence.len()..].trim().to_owned(),
            fence,
            text: String::new(),
        })
    }

    fn is_closed_by(&self, line: &str) -> bool {
        let line = line.trim();
        line.starts_with(&self.fence) && line.chars().all(|letter| letter == '`')
    }

    fn add(&mut self, line: &str) {
        let own = line.len() - line.trim_start().len();
        self.text.push_str(&line[own.min(self.indent)..]);
        self.text.push('\n');
    }

    fn shell(self, document: &str) -> Option<ShellBlock> {
        let rest = self.info.split_once(' ').map_or("", |(_, rest)| rest);
        is_shell(&self.info).then(|| ShellBlock {
            document: document.to_owned(),
            line: self.line,
            mark: mark(rest.trim()),
            text: self.text,
        })
    }
}

/// True of what stands behind the fence of a block of shell lines.
pub fn is_shell(info: &str) -> bool {
    let language = info.split_whitespace().next().unwrap_or_default();
    LANGUAGES.contains(&language.to_lowercase().as_str())
}

fn mark(text: &str) -> Mark {
    match text.split_once(": ").map(|(key, value)| (key, value.trim())) {
        Some(("run-by", file)) if !file.is_empty() => Mark::RunBy(file.to_owned()),
        Some(("not-run", why)) if !why.is_empty() => Mark::NotRun(why.to_owned()),
        _ => Mark::None,
    }
}
