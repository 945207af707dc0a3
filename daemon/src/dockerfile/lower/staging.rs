//! Files beside the context that a COPY takes in place of its own sources.

use super::copy::{Flags, beneath};
use super::modes::Modes;
use super::stage::Writer;
use super::{BUILDER_DIR, BuilderFile, Content, directory, reached, variables};
use crate::dockerfile::DockerfileError;
use crate::dockerfile::files::{self, Entry};
use crate::dockerfile::heredoc::Heredoc;
use crate::dockerfile::lines::Instruction;

/// Directories that lie in each other.
pub(super) const DEEPEST: usize = 200;
/// Files that a Dockerfile may pick out of the context.
const MOST_FILES: usize = 10_000;

/// Unknown variables of a heredoc that have a warning.
const MOST_NAMED: usize = 10;

/// The sources of a COPY as they are written.
#[derive(Default)]
pub(super) struct Sources {
    pub(super) words: Vec<String>,
    is_changed: bool,
}

impl Sources {
    /// One that is written anew.
    pub(super) fn add(&mut self, word: String) {
        self.words.push(word);
        self.is_changed = true;
    }

    fn add_all(&mut self, words: Vec<String>) {
        self.words.extend(words);
        self.is_changed = true;
    }

    /// One that stays.
    pub(super) fn same(&mut self, word: String) {
        self.words.push(word);
    }

    pub(super) fn are_same(&self) -> bool {
        !self.is_changed
    }
}

/// The path of a file with the text of a heredoc.
///
/// # Errors
/// Its name is none of a file, or its variables cannot be read.
pub(super) fn heredoc(
    writer: &mut Writer<'_>,
    copy: &Instruction,
    flags: &Flags,
    heredoc: &Heredoc,
) -> Result<String, DockerfileError> {
    let name = &heredoc.name;
    // It is the name of a file: what is none would lead elsewhere.
    if name.contains(['/', '\0']) || name.len() > 255 || matches!(&**name, "." | "..") {
        let problem = format!("the heredoc {name:?} has no name for a file");
        return Err(DockerfileError::new(copy.line, problem));
    }
    let mut text = heredoc.content();
    if heredoc.expand {
        let Some((expanded, unknown)) = writer.scope.expand_text(&text) else {
            let problem = format!("the variables in the heredoc {name} cannot be read");
            return Err(DockerfileError::new(copy.line, problem));
        };
        text = expanded;
        for name in unknown.iter().take(MOST_NAMED) {
            let problem = "is empty here: variables of the base image are not known";
            writer.warn(copy.line, format!("${name} {problem}"));
        }
    }
    let path = format!("copy-{}/{}", writer.number(), heredoc.name);
    let word = word(&path);
    let mode = flags.modes.as_ref().map_or(0o644, |modes| modes.apply(0o644, false));
    writer.add_file(BuilderFile { path, mode, content: Content::Bytes(text.into_bytes()) });
    Ok(word)
}

/// Writes a source in the context.
pub(super) fn source(
    writer: &mut Writer<'_>,
    copy: &Instruction,
    flags: &Flags,
    source: &str,
    written: &mut Sources,
) -> Result<(), DockerfileError> {
    let Some(expanded) = writer.scope.expand(source, writer.escape) else {
        if flags.are_staged() {
            let problem = format!("the variables of {source:?} are not known");
            return Err(DockerfileError::new(copy.line, problem));
        }
        keep(writer, source, written);
        return Ok(());
    };
    let Some(found) = matched(writer, &expanded) else {
        if flags.are_staged() {
            let problem = format!(
                "the files of {source:?} cannot be determined: ** and too many are not read"
            );
            return Err(DockerfileError::new(copy.line, problem));
        }
        keep(writer, source, written);
        return Ok(());
    };
    if found.is_empty() {
        reached::check(writer, copy.line, &expanded)?;
    }
    directory::check_symlinks(writer, copy, flags, &found);
    if flags.are_staged() {
        for word in picked(writer, copy, flags, &expanded, &found)? {
            written.add(word);
        }
        written.is_changed = true;
        return Ok(());
    }
    let resolved: Option<Vec<_>> =
        found.iter().map(|path| files::resolve(writer.files, path)).collect();
    let Some(resolved) = resolved else {
        return Err(not_found(copy.line, &expanded));
    };
    let directories: Vec<_> =
        resolved.iter().map(|to| directory::word(writer, copy, flags, to)).collect();
    // One source after the other goes onto a target that is no directory.
    let is_one = found.len() == 1 || flags.is_directory || !files::is_pattern(&expanded);
    let is_same = resolved == found && !found.is_empty() && is_one;
    let is_same = is_same && !matches_more(writer, &expanded, &found);
    if is_same && directories.iter().all(Option::is_none) {
        keep(writer, source, written);
        return Ok(());
    }
    // A pattern may match nothing; Kaniko would copy what is in its own directory.
    let words = found.iter().zip(&resolved).zip(directories);
    let word = |((path, to), directory): ((&String, &String), Option<String>)| {
        directory.unwrap_or_else(|| link(writer, path, to))
    };
    written.add_all(words.map(word).collect());
    Ok(())
}

/// The paths that a source stands for; none: they cannot be determined.
fn matched(writer: &Writer<'_>, source: &str) -> Option<Vec<String>> {
    match files::is_pattern(source) {
        true => files::glob(writer.files, source),
        false => Some(vec![files::clean(source)]),
    }
}

/// Whether Kaniko takes more for matches of a pattern: the context itself, and a file whose name it is.
fn matches_more(writer: &Writer<'_>, pattern: &str, found: &[String]) -> bool {
    let name = files::clean(pattern);
    let is_name = writer.files.entry(&name).is_some() && !found.contains(&name);
    let rest = name.replace('*', "");
    let is_bracket = rest.starts_with('[') && rest.find(']') == Some(rest.len() - 1);
    let is_root = is_bracket || matches!(rest.as_str(), "" | "." | "?");
    files::is_pattern(pattern) && (is_name || is_root)
}

fn keep(writer: &Writer<'_>, source: &str, written: &mut Sources) {
    let source = variables::with_backslash(source, writer.escape);
    let kept = beneath(&source);
    if kept == source { written.same(kept) } else { written.add(kept) }
}

pub(super) fn not_found(line: usize, source: &str) -> DockerfileError {
    let problem = format!(
        "{:?}: not found in the build context, or .dockerignore leaves it out",
        format!("/{}", files::clean(source))
    );
    DockerfileError::new(line, problem)
}

/// A source that a symlink leads to: docker copies what is there, under the name of the link.
fn link(writer: &mut Writer<'_>, path: &str, to: &str) -> String {
    if path == to {
        return word_of_context(path);
    }
    if matches!(writer.files.entry(to), Some(Entry::Directory(_))) {
        return word_of_context(to);
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    let path = format!("copy-{}/{name}", writer.number());
    let word = word(&path);
    let content = Content::Link(to.to_owned());
    writer.add_file(BuilderFile { path, mode: 0o644, content });
    word
}

/// The sources that the flags pick: with `--parents` a directory with all, and else one for each.
fn picked(
    writer: &mut Writer<'_>,
    copy: &Instruction,
    flags: &Flags,
    source: &str,
    found: &[String],
) -> Result<Vec<String>, DockerfileError> {
    let root = format!("copy-{}", writer.number());
    let mut picked = Picked { root: &root, flags, files: Vec::new() };
    let mut words = Vec::new();
    // What stands before `/./` is left out of the names.
    let before = source.split_once("/./").map_or(String::new(), |(before, _)| files::clean(before));
    let pivot = before.split('/').filter(|part| !part.is_empty()).count();
    for (at, path) in found.iter().enumerate() {
        // With --parents a symlink stays one.
        let is_link = matches!(writer.files.entry(path), Some(Entry::Symlink(_)));
        let resolved = files::resolve(writer.files, path);
        let to = if flags.parents && is_link { Some(path.clone()) } else { resolved };
        let Some(to) = to else {
            return Err(not_found(copy.line, source));
        };
        let is_directory = matches!(writer.files.entry(&to), Some(Entry::Directory(_)));
        let base = path.rsplit('/').next().unwrap_or(path);
        let name = match (flags.parents, is_directory) {
            (true, _) => path.splitn(pivot + 1, '/').nth(pivot).unwrap_or_default().to_owned(),
            (false, true) => at.to_string(),
            (false, false) => format!("{at}/{base}"),
        };
        if flags.parents {
            picked.above(writer, &path[..path.len() - name.len()], &name);
        }
        let before = picked.files.len();
        // The patterns are for what is in directories.
        let added = picked.add(writer, &to, &name, "");
        added.map_err(|problem| DockerfileError::new(copy.line, problem))?;
        if let Some(file) = picked.files.get_mut(before).filter(|_| is_directory && !flags.parents)
        {
            file.mode = flags.modes.as_ref().map_or(0o755, Modes::of_new);
        }
        if !flags.parents && picked.files.len() > before {
            words.push(word(&format!("{root}/{name}")));
        }
    }
    let files = std::mem::take(&mut picked.files);
    if flags.parents {
        let content = Content::Directory;
        writer.add_file(BuilderFile { path: root.clone(), mode: 0o755, content });
        words.push(word(&root) + "/");
    }
    files.into_iter().for_each(|file| writer.add_file(file));
    Ok(words)
}

/// The files of one directory for a COPY.
struct Picked<'a> {
    root: &'a str,
    flags: &'a Flags,
    files: Vec<BuilderFile>,
}

impl Picked<'_> {
    /// The directories that `name` lies in.
    fn above(&mut self, writer: &Writer<'_>, before: &str, name: &str) {
        for (at, _) in name.match_indices('/') {
            let source = files::clean(&format!("{before}/{}", &name[..at]));
            if let Some(Entry::Directory(mode)) = writer.files.entry(&source) {
                let (path, mode) =
                    (format!("{}/{}", self.root, &name[..at]), self.mode(mode, true));
                self.put(BuilderFile { path, mode, content: Content::Directory });
            }
        }
    }

    /// What lies at `source`, under `name`; `inner` is its path for the patterns.
    fn add(
        &mut self,
        writer: &Writer<'_>,
        source: &str,
        name: &str,
        inner: &str,
    ) -> Result<(), String> {
        if writer.file_count() + self.files.len() > MOST_FILES {
            return Err(format!(
                "--parents, --exclude and --chmod pick more than {MOST_FILES} files"
            ));
        }
        if name.matches('/').count() > DEEPEST {
            return Err(format!("it copies directories more than {DEEPEST} levels deep"));
        }
        if !inner.is_empty() && !self.flags.excluded.is_empty() {
            match writer.files.matches(&self.flags.excluded, inner) {
                None => return Err(format!("one of {:?} is no pattern", self.flags.excluded)),
                Some(true) => return Ok(()),
                Some(false) => {}
            }
        }
        let path = format!("{}/{name}", self.root);
        match writer.files.entry(source) {
            None => {}
            Some(Entry::File(mode)) => {
                let mode = self.mode(mode, false);
                let content = match self.flags.modes {
                    Some(_) => Content::Copy(source.to_owned()),
                    None => Content::Link(source.to_owned()),
                };
                self.put(BuilderFile { path, mode, content });
            }
            Some(Entry::Symlink(target)) => {
                let content = Content::Symlink(target);
                self.put(BuilderFile { path, mode: 0o777, content });
            }
            Some(Entry::Directory(mode)) => {
                if !name.is_empty() {
                    let mode = self.mode(mode, true);
                    self.put(BuilderFile { path, mode, content: Content::Directory });
                }
                let names = writer.files.names(source);
                let names = names.ok_or_else(|| {
                    format!("the files in {source:?} are too many, or the name of one is not UTF-8")
                })?;
                for one in names {
                    let (source, inner) = (files::below(source, &one), files::below(inner, &one));
                    self.add(writer, &source, &files::below(name, &one), &inner)?;
                }
            }
        }
        Ok(())
    }

    /// The permissions that it gets.
    fn mode(&self, mode: u32, is_directory: bool) -> u32 {
        self.flags.modes.as_ref().map_or(mode, |modes| modes.apply(mode, is_directory))
    }

    fn put(&mut self, file: BuilderFile) {
        if !self.files.iter().any(|known| known.path == file.path) {
            self.files.push(file);
        }
    }
}

/// The path of what hookd adds, as a word of COPY: Kaniko reads it from the context's root.
fn word(path: &str) -> String {
    variables::escaped(&format!("../{BUILDER_DIR}/{path}"))
}

fn word_of_context(path: &str) -> String {
    if path.is_empty() { ".".to_owned() } else { variables::escaped(path) }
}
