//! Writes a stage.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use super::arguments::{self, Leaked};
use super::wrap::wrapped;
use super::{Builder, BuilderFile, Content, Expansion, Finding, Lowered};
use super::{MOST_WARNINGS, copy, metadata, run, traces, user, variables, volume};
use crate::dockerfile::DockerfileError;
use crate::dockerfile::files::ContextFiles;
use crate::dockerfile::lines::Instruction;
use crate::dockerfile::scope::Scope;
use crate::dockerfile::stages::{Base, Stage, Stages};

/// What docker runs a RUN with, unless SHELL says otherwise.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Instructions in whose words docker reads quotes, variables, and the escape character.
const WITH_WORDS: [&str; 10] =
    ["add", "arg", "copy", "env", "expose", "label", "stopsignal", "user", "volume", "workdir"];

/// Bytes that the Dockerfile for the builder, its files, and what is known of its stages may take.
const MOST_BYTES: usize = 8 << 20;
/// Paths of the context that are searched for symlinks.
const MOST_SEARCHED: usize = 100_000;
/// VOLUME instructions of a stage.
const MOST_VOLUMES: usize = 100;
/// Texts that are shown as others: each is looked for in the whole log.
const MOST_HIDDEN: usize = 256;

/// What is read.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) stages: &'a Stages,
    /// The escape character of the Dockerfile.
    pub(super) escape: char,
    pub(super) files: &'a dyn ContextFiles,
    /// One that is known.
    pub(super) builder: Builder,
    pub(super) expansion: Expansion,
}

/// The Dockerfile as far as it is written.
pub(super) struct Writer<'a> {
    pub(super) stages: &'a Stages,
    /// The escape character of the Dockerfile that is read.
    pub(super) escape: char,
    pub(super) files: &'a dyn ContextFiles,
    pub(super) builder: Builder,
    pub(super) expansion: Expansion,
    pub(super) lowered: &'a mut Lowered,
    /// Of the stages that are written, what those that begin with them inherit.
    ends: BTreeMap<usize, End>,
    /// The number of each stage that is written: those that are not needed are left out.
    numbers: BTreeMap<usize, usize>,
    /// The stage that is being written.
    pub(super) at: usize,
    pub(super) scope: Scope,
    pub(super) shell: Vec<String>,
    /// USER is set, and not to root.
    pub(super) has_user: bool,
    /// What WORKDIR has made last, below the root; none: it is not known.
    pub(super) directory: Option<String>,
    /// It was made for a user that is not root.
    pub(super) directory_is_users: bool,
    /// Arguments of the stages before, which the original Kaniko does not forget.
    pub(super) leaked: Leaked,
    /// Bytes of files and of what stages hand on.
    weight: usize,
    /// What the commands of each stage have left, once it was asked for.
    pub(super) traces: BTreeMap<usize, Vec<&'static str>>,
    /// What instructions name of the context, once it was asked for.
    pub(super) reached: Option<BTreeSet<String>>,
    /// Paths of the context that may still be searched for symlinks.
    pub(super) search: Cell<usize>,
    /// Bytes of commands that may still be read for what they say of a path.
    pub(super) read: Cell<usize>,
    /// VOLUME instructions, which come last.
    pub(super) volumes: Vec<Instruction>,
    /// Names of what hookd adds to the archive, and of temporary files, are numbered.
    pub(super) count: usize,
}

/// What a stage hands on.
#[derive(Clone)]
struct End {
    scope: Scope,
    shell: Vec<String>,
    has_user: bool,
    directory: Option<String>,
    directory_is_users: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(source: Source<'a>, lowered: &'a mut Lowered) -> Self {
        let Source { stages, escape, files, builder, expansion } = source;
        // Where the build gives arguments each ARG of a stage has its value in place.
        let global = stages.global.iter().filter(|_| stages.options.arguments.is_empty());
        for instruction in global {
            let text = variables::with_backslash(&instruction.text, escape);
            lowered.dockerfile.push_str(&format!("ARG {text}\n"));
        }
        Self {
            stages,
            escape,
            files,
            builder,
            expansion,
            lowered,
            ends: BTreeMap::new(),
            numbers: BTreeMap::new(),
            at: 0,
            scope: Scope::default(),
            shell: Vec::new(),
            has_user: false,
            directory: None,
            directory_is_users: false,
            leaked: Leaked::default(),
            weight: 0,
            traces: BTreeMap::new(),
            reached: None,
            search: Cell::new(MOST_SEARCHED),
            read: Cell::new(traces::MOST_READ),
            volumes: Vec::new(),
            count: 0,
        }
    }

    /// Writes a stage from its FROM to its end.
    pub(super) fn stage(&mut self, at: usize, stage: &Stage) -> Result<(), DockerfileError> {
        self.at = at;
        let inherited = match stage.base {
            Base::Stage(base) => self.ends.get(&base),
            Base::Scratch | Base::Image(_) => None,
        };
        match inherited {
            Some(end) => {
                (self.scope, self.shell) = (end.scope.clone(), end.shell.clone());
                self.has_user = end.has_user;
                self.directory.clone_from(&end.directory);
                self.directory_is_users = end.directory_is_users;
            }
            None => {
                self.scope = Scope::of_image(stage.base == Base::Scratch);
                self.shell = SHELL.map(str::to_owned).into();
                self.has_user = false;
                self.directory = None;
            }
        }
        self.from(stage);
        for (name, value) in self.stages.options.predefined() {
            variables::write_value(self, name, value);
        }
        arguments::begin(self, stage);
        if stage.base == Base::Scratch {
            // As docker's empty image has it.
            self.line("WORKDIR /");
        }
        for instruction in &stage.instructions {
            let before = self.lowered.dockerfile.len();
            self.instruction(instruction)?;
            if self.lowered.dockerfile[before..] != self.as_it_is(instruction) {
                self.lowered.rewritten.push(instruction.line);
            }
            self.check_size(instruction.line)?;
        }
        volume::write(self);
        arguments::end(self);
        self.weight += self.scope.weight() + self.shell.iter().map(String::len).sum::<usize>();
        // Before it is kept for the stages that begin with it.
        self.check_size(stage.from.line)?;
        self.numbers.insert(at, self.numbers.len());
        let end = End {
            scope: self.scope.clone(),
            shell: self.shell.clone(),
            has_user: self.has_user,
            directory: self.directory.clone(),
            directory_is_users: self.directory_is_users,
        };
        self.ends.insert(at, end);
        Ok(())
    }

    /// FROM without variables: Kaniko does not know those that docker predefines.
    fn from(&mut self, stage: &Stage) {
        let image = match &stage.base {
            Base::Scratch => "scratch".to_owned(),
            Base::Image(name) => name.clone(),
            Base::Stage(base) => self.written_name(*base),
        };
        let mut words = vec!["FROM".to_owned()];
        let is_one_word = |platform: &&String| !platform.contains(char::is_whitespace);
        let platform = stage.platform.as_ref().filter(is_one_word);
        words.extend(platform.map(|platform| format!("--platform={platform}")));
        words.push(image);
        if !stage.name.is_empty() {
            words.extend(["AS".to_owned(), self.written_name(self.at)]);
        }
        self.line(&words.join(" "));
    }

    fn instruction(&mut self, instruction: &Instruction) -> Result<(), DockerfileError> {
        match instruction.keyword.as_str() {
            "run" => run::write(self, instruction)?,
            "copy" | "add" => copy::write(self, instruction)?,
            "volume" if self.volumes.len() == MOST_VOLUMES => {
                let problem = format!("a stage has more than {MOST_VOLUMES} VOLUME instructions");
                return Err(DockerfileError::new(instruction.line, problem));
            }
            "volume" => self.volumes.push(instruction.clone()),
            "onbuild" => metadata::onbuild(self, instruction),
            "arg" | "env" => {
                volume::before_variables(self, instruction);
                variables::write(self, instruction);
            }
            "user" | "workdir" => user::write(self, instruction),
            "label" => variables::write_label(self, instruction),
            "shell" => {
                if let Some(shell) = instruction.json() {
                    self.shell = shell;
                }
                self.same(instruction);
            }
            "expose" => metadata::expose(self, instruction)?,
            "healthcheck" => metadata::healthcheck(self, instruction),
            _ => self.same(instruction),
        }
        Ok(())
    }

    /// True for an instruction before which no other of its stage has made a file.
    pub(super) fn is_first(&self, instruction: &Instruction) -> bool {
        let stage = &self.stages.all[self.at].instructions;
        let before = stage.iter().take_while(|one| one.line < instruction.line);
        before.into_iter().all(|one| !matches!(one.keyword.as_str(), "add" | "copy" | "run"))
    }

    /// The name that Kaniko knows a stage by; none: it is no stage.
    pub(super) fn stage_name(&self, name: &str) -> Option<String> {
        let at = self.stages.find(name, self.at)?;
        let number = self.numbers.get(&at).copied().unwrap_or_default();
        let name = self.written_name(at);
        Some(if name.is_empty() { number.to_string() } else { name })
    }

    /// The name of a stage, which Kaniko takes for one stage only.
    fn written_name(&self, at: usize) -> String {
        let name = &self.stages.all[at].name;
        let is_taken = self.stages.all[..at].iter().any(|stage| stage.name == *name);
        if is_taken && !name.is_empty() { format!("{name}-hookd-{at}") } else { name.clone() }
    }

    /// Writes an instruction as it stands, on one line.
    pub(super) fn same(&mut self, instruction: &Instruction) {
        let text = self.as_it_is(instruction);
        if !self.is_full() {
            self.lowered.dockerfile.push_str(&text);
        }
    }

    fn as_it_is(&self, instruction: &Instruction) -> String {
        let keyword = instruction.keyword.to_ascii_uppercase();
        let has_words = WITH_WORDS.contains(&instruction.keyword.as_str());
        let escape = if has_words { self.escape } else { '\\' };
        let text = variables::with_backslash(&instruction.text, escape);
        let mut written = format!("{keyword} {text}");
        written = wrapped(written.trim_end());
        written.push('\n');
        for heredoc in &instruction.heredocs {
            written.push_str(&heredoc.text);
            written.push_str(&heredoc.name);
            written.push('\n');
        }
        written
    }

    /// Writes a line.
    pub(super) fn line(&mut self, line: &str) {
        if self.is_full() {
            return;
        }
        self.lowered.dockerfile.push_str(&wrapped(line.trim_end()));
        self.lowered.dockerfile.push('\n');
    }

    /// Writes a RUN of a program with its arguments.
    pub(super) fn program(&mut self, flags: &str, arguments: &[String]) {
        // To a list of texts it cannot fail.
        let list = serde_json::to_string(arguments).unwrap_or_default();
        self.line(&format!("RUN {flags}{list}"));
    }

    /// Says where the image will differ, once a line.
    pub(super) fn warn(&mut self, line: usize, problem: impl Into<String>) {
        let problem = problem.into();
        let known = |one: &Finding| one.line == line && one.problem == problem;
        if self.lowered.warnings.len() == MOST_WARNINGS || self.lowered.warnings.iter().any(known) {
            return;
        }
        self.lowered.warnings.push(Finding { line, problem });
    }

    /// Has a text that is written shown as another.
    pub(super) fn hide(&mut self, text: &str, shown: &str) {
        if self.lowered.hidden.len() < MOST_HIDDEN {
            self.lowered.hidden.insert(text.to_owned(), shown.to_owned());
        }
    }

    /// Leaves out of what is copied what matches these patterns.
    pub(super) fn ignore(&mut self, patterns: [String; 2]) {
        self.weight += patterns.iter().map(String::len).sum::<usize>();
        self.lowered.ignored.extend(patterns);
    }

    /// Adds a file to the archive, unless it is there.
    pub(super) fn add_file(&mut self, file: BuilderFile) {
        if !self.lowered.files.iter().any(|known| known.path == file.path) {
            let bytes = if let Content::Bytes(bytes) = &file.content { bytes.len() } else { 0 };
            self.weight += 256 + file.path.len() + bytes;
            self.lowered.files.push(file);
        }
    }

    /// No more is written: the build fails.
    pub(super) fn is_full(&self) -> bool {
        self.lowered.dockerfile.len() + self.weight > MOST_BYTES
    }

    fn check_size(&self, line: usize) -> Result<(), DockerfileError> {
        if !self.is_full() {
            return Ok(());
        }
        let problem = format!("the build takes more than {MOST_BYTES} bytes of instructions");
        Err(DockerfileError::new(line, problem))
    }

    /// Files that it has added.
    pub(super) fn file_count(&self) -> usize {
        self.lowered.files.len()
    }

    /// The next number of a name.
    pub(super) fn number(&mut self) -> usize {
        self.count += 1;
        self.count
    }
}
