//! COPY and ADD.

use super::modes::Modes;
use super::stage::Writer;
use super::staging::{self, Sources};
use super::{Builder, archive, directory, run, traces, user, variables};
use crate::dockerfile::DockerfileError;
use crate::dockerfile::files::{self, Entry};
use crate::dockerfile::heredoc;
use crate::dockerfile::lines::Instruction;

/// Files that the container runtime mounts into every container, the builder's too.
const MOUNTED: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
/// Directories that base images have, some of them as symlinks; the last ones those of a whole system only.
const USUAL: [&str; 15] = [
    "bin",
    "etc",
    "home",
    "root",
    "tmp",
    "usr",
    "usr/bin",
    "usr/sbin",
    "var",
    "lib",
    "opt",
    "sbin",
    "usr/lib",
    "usr/local",
    "usr/local/bin",
];
/// Those of them that images of a few programs have.
const FEW: usize = 9;
/// What the names of such images have in them.
const SMALL: [&str; 3] = ["busybox", "distroless", "static"];

/// What the builder takes for a mount.
const MOUNTED_TABLE: &str = "/etc/mtab";

/// The flags of a COPY or an ADD.
#[derive(Default)]
pub(super) struct Flags {
    /// Those that Kaniko reads.
    pub(super) kept: Vec<String>,
    /// The stage or image that the files are of.
    pub(super) from: Option<String>,
    /// The names of the directories above are kept.
    pub(super) parents: bool,
    /// Patterns of what is not copied.
    pub(super) excluded: Vec<String>,
    /// Permissions that Kaniko does not set.
    pub(super) modes: Option<Modes>,
    /// Whether ADD unpacks archives; none: those of the context.
    pub(super) unpack: Option<bool>,
    pub(super) has_owner: bool,
    /// Directories have another mode than 755.
    pub(super) has_mode: bool,
    /// Where the files go, below the root; none: it is not known.
    pub(super) target: Option<String>,
    /// The target is a directory by its name.
    pub(super) is_directory: bool,
    /// Directories that are made for them have another mode than 755.
    has_mode_above: bool,
}

impl Flags {
    fn read(writer: &mut Writer<'_>, copy: &Instruction) -> Result<Self, DockerfileError> {
        let mut flags = Self::default();
        for flag in &copy.flags {
            let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
            let is_true = value.eq_ignore_ascii_case("true") || !flag.contains('=');
            let is_false = value.eq_ignore_ascii_case("false");
            if matches!(name, "--link" | "--parents" | "--unpack") && !is_true && !is_false {
                let problem = format!("expecting boolean value for flag {name}, not: {value}");
                return Err(DockerfileError::new(copy.line, problem));
            }
            match name {
                "--from" => flags.from = Some(value.to_owned()),
                // The files are the same without it.
                "--link" => {}
                "--parents" => flags.parents = is_true,
                "--exclude" => flags.excluded.push(value.to_owned()),
                "--unpack" => flags.unpack = Some(is_true),
                "--chown" => flags.owner(writer, copy, value),
                "--chmod" => flags.mode(writer, value),
                "--checksum" => {
                    let problem = "--checksum is not supported: the builder would not check it";
                    return Err(DockerfileError::new(copy.line, problem));
                }
                _ => flags.kept.push(flag.clone()),
            }
        }
        if let Some(from) = &flags.from {
            if flags.parents || !flags.excluded.is_empty() {
                let problem = "--parents and --exclude are not supported with --from";
                return Err(DockerfileError::new(copy.line, problem));
            }
            let name = writer.stage_name(from).unwrap_or_else(|| from.clone());
            flags.kept.push(format!("--from={name}"));
            if let Some(Modes::Octal(mode)) = flags.modes.take() {
                flags.kept.push(format!("--chmod={mode:o}"));
                writer.warn(copy.line, "setuid, setgid and sticky bits of --chmod are not set");
            }
        }
        Ok(flags)
    }

    fn owner(&mut self, writer: &mut Writer<'_>, copy: &Instruction, value: &str) {
        self.has_owner = true;
        let known = writer.scope.expand(value, writer.escape);
        let owner = known.as_deref().unwrap_or(value);
        // Without a user docker takes root; Kaniko finds no such user.
        let root = if owner.starts_with(':') { "0" } else { "" };
        self.kept.push(format!("--chown={root}{value}"));
        let is_name = owner.starts_with(|letter: char| letter.is_ascii_alphabetic());
        if is_name && owner != "root" && !owner.contains(':') {
            let problem = "--chown without a group sets the user's number as the group";
            writer.warn(copy.line, format!("{problem}: write --chown={owner}:GROUP"));
        }
    }

    fn mode(&mut self, writer: &Writer<'_>, value: &str) {
        let known = writer.scope.expand(value, writer.escape);
        self.has_mode = known.as_deref().is_none_or(|mode| !matches!(mode, "755" | "0755"));
        // Letters change the mode of what is there.
        let has_letters = known.as_deref().is_some_and(|mode| mode.contains(['+', '-', '=']));
        self.has_mode_above = self.has_mode && !has_letters;
        match known.and_then(|value| Modes::parse(&value)).filter(|modes| !modes.are_plain()) {
            Some(modes) => self.modes = Some(modes),
            None => self.kept.push(format!("--chmod={value}")),
        }
    }

    /// Kaniko knows nothing of what decides which files are copied, and how.
    pub(super) fn are_staged(&self) -> bool {
        self.parents || !self.excluded.is_empty() || self.modes.is_some()
    }
}

/// Writes a COPY or an ADD.
pub(super) fn write(writer: &mut Writer<'_>, copy: &Instruction) -> Result<(), DockerfileError> {
    let mut flags = Flags::read(writer, copy)?;
    let list = copy.json();
    let words = list.clone().unwrap_or_else(|| words(&copy.rest));
    let Some((target, sources)) = words.split_last().filter(|(_, sources)| !sources.is_empty())
    else {
        writer.same(copy);
        return Ok(());
    };
    flags.target = writer.path(target);
    flags.is_directory = target.ends_with('/') || target == ".";
    let keyword = archive::keyword(writer, copy, &flags, sources)?;
    let mut written = Sources::default();
    let mut heredocs = copy.heredocs.iter();
    for source in sources {
        let begun = list.is_none().then(|| heredoc::alone(source)).flatten();
        match begun.and_then(|_| heredocs.next()) {
            Some(_) if writer.is_full() => return Ok(()),
            Some(heredoc) => written.add(staging::heredoc(writer, copy, &flags, heredoc)?),
            None if flags.from.is_some() || is_remote(writer, source) => {
                written.same(variables::with_backslash(source, writer.escape));
            }
            None => staging::source(writer, copy, &flags, source, &mut written)?,
        }
    }
    if let Some(from) = &flags.from {
        check_source(writer, copy, from, sources)?;
        directory::check_copied(writer, copy, &flags, from, sources);
        traces::check(writer, copy, from);
    }
    check_target(writer, copy, &flags, sources, target);
    let target = variables::with_backslash(target, writer.escape);
    let is_same = keyword == copy.keyword && flags.kept == copy.flags && written.are_same();
    let is_directory = target.ends_with('/') || target == "." || written.words.len() < 2;
    if is_same && is_directory && writer.escape == '\\' {
        writer.same(copy);
        return Ok(());
    }
    let flags = flags.kept.iter().map(|flag| format!("{flag} ")).collect::<String>();
    let instruction = format!("{} {flags}", keyword.to_ascii_uppercase());
    // Where the target is no directory yet, docker copies one source after the other onto it.
    let size = if is_directory { written.words.len().max(1) } else { 1 };
    for words in written.words.chunks(size) {
        if writer.is_full() {
            break;
        }
        let words: Vec<_> = words.iter().chain([&target]).collect();
        // To a list of texts it cannot fail.
        let list = serde_json::to_string(&words).unwrap_or_default();
        writer.line(&format!("{instruction}{list}"));
    }
    Ok(())
}

/// Files of images that are symlinks in many of them.
const LINKS: [&str; 8] =
    ["awk", "corepack", "localtime", "npm", "npx", "os-release", "python", "python3"];

/// Warns of sources of another stage or image that Kaniko treats otherwise.
///
/// # Errors
/// The root of a stage, in which the builder itself is.
fn check_source(
    writer: &mut Writer<'_>,
    copy: &Instruction,
    from: &str,
    sources: &[String],
) -> Result<(), DockerfileError> {
    let is_stage = writer.stages.find(from, writer.at).is_some();
    for source in sources {
        let path = files::clean(source);
        if path.is_empty() && is_stage && writer.builder == Builder::Original {
            let problem = "all of a stage cannot be copied: name its directories";
            return Err(DockerfileError::new(copy.line, problem));
        }
        let name = path.rsplit('/').next().unwrap_or_default();
        if LINKS.contains(&name) || name.contains(".so") {
            let problem = "is copied as a symlink if it is one, and not as what it leads to";
            writer.warn(copy.line, format!("/{path} {problem}"));
        }
    }
    Ok(())
}

/// Warns of targets that Kaniko treats otherwise.
fn check_target(
    writer: &mut Writer<'_>,
    copy: &Instruction,
    flags: &Flags,
    sources: &[String],
    target: &str,
) {
    let target = writer.scope.expand(target, writer.escape).unwrap_or_else(|| target.to_owned());
    if writer.path(&target).is_some_and(|path| path.split('/').next() == Some("kaniko")) {
        writer.warn(copy.line, run::NOT_IN_IMAGE);
    }
    if MOUNTED.contains(&target.as_str()) {
        let problem =
            format!("{target} is not in the image: the runtime mounts it while it builds");
        writer.warn(copy.line, problem);
    }
    if MOUNTED_TABLE == target {
        writer.warn(copy.line, run::NO_TABLE);
    }
    let path = flags.target.clone().unwrap_or_else(|| files::clean(&target));
    let above = path.rsplit_once('/').map_or("", |two| two.0);
    let parent = if flags.is_directory { path.as_str() } else { above };
    let is_original = writer.builder == Builder::Original;
    if is_original && flags.has_mode_above && may_be_new(writer, parent) {
        let problem =
            format!("directories above {target} that are new do not have the mode of --chmod");
        writer.warn(copy.line, problem);
    }
    if flags.target.as_deref() == Some("") && flags.from.is_none() {
        let is_usual = |source: &String| {
            let source = files::clean(source);
            let is_directory = |name: &&str| {
                let entry = writer.files.entry(&files::below(&source, name));
                matches!(entry, Some(Entry::Directory(_)))
            };
            ["bin", "lib", "lib64", "sbin"].iter().any(is_directory)
        };
        if sources.iter().any(is_usual) {
            let problem =
                "where the base image has a symlink in place of a directory, docker fails";
            writer.warn(copy.line, problem);
        }
    }
}

/// True for a directory that neither the base image has, as far as its name tells, nor WORKDIR makes.
pub(super) fn may_be_new(writer: &Writer<'_>, directory: &str) -> bool {
    let image = user::image(writer).unwrap_or_default();
    let is_small = image.is_empty() || SMALL.iter().any(|word| image.contains(word));
    let usual = if is_small { &USUAL[..FEW] } else { &USUAL[..] };
    let is_made = writer.directory.as_deref() == Some(directory);
    !directory.is_empty() && !usual.contains(&directory) && !is_made
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// A source that is none of the context's: an address, or a repository.
pub(super) fn is_remote(writer: &Writer<'_>, source: &str) -> bool {
    let known = writer.scope.expand(source, writer.escape);
    let source = known.as_deref().unwrap_or(source);
    source.contains("://") || source.starts_with("git@")
}

/// The source beneath the root of the context, as docker resolves `..`; Kaniko would leave it.
pub(super) fn beneath(source: &str) -> String {
    if !source.split('/').any(|part| part == "..") {
        return source.to_owned();
    }
    let path = files::clean(source);
    match (path.is_empty(), source.ends_with('/')) {
        (true, _) => ".".to_owned(),
        (false, true) => path + "/",
        (false, false) => path,
    }
}
