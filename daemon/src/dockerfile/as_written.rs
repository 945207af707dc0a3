//! A Dockerfile for BuildKit, which builds it as docker does: as it is. What a rootless BuildKit makes
//! otherwise is a warning with its line.

use super::files::{self, ContextFiles, Entry};
use super::lines::Instruction;
use super::lower::{BuilderFile, Content, Finding, Lowered, MOST_WARNINGS, check_syntax, unused};
use super::options::{self, BuildOptions};
use super::{Dockerfile, DockerfileError};

/// The file beside the Dockerfile with the options of BuildKit's frontend, one a line: build arguments are in
/// no object of the cluster, and count in the key of the image.
const OPTIONS: &str = "options";
/// How the names of build arguments begin that tell BuildKit itself what to do.
const OWN: &str = "BUILDKIT_";
/// The option by which it takes no layer of another build.
const NO_CACHE: &str = "no-cache=\n";
/// Paths of the context that are looked at.
const MOST_PATHS: usize = 10_000;
/// The bits of a program that runs as another user or group.
const SPECIAL: u32 = 0o6000;

/// The Dockerfile as it is.
///
/// # Errors
/// A syntax that is no Dockerfile's.
pub(super) fn as_written(
    dockerfile: &Dockerfile,
    files: &dyn ContextFiles,
) -> Result<Lowered, DockerfileError> {
    let Dockerfile { text, parsed, stages } = dockerfile;
    check_syntax(parsed)?;
    let mut search = Search { files, left: MOST_PATHS };
    let needed = stages.all.iter().filter(|stage| stage.is_needed);
    let instructions = needed.flat_map(|stage| &stage.instructions);
    let mut warnings = Vec::new();
    for warning in instructions.filter_map(|instruction| search.warning(instruction)) {
        // What ONBUILD stands for is in several stages.
        if warnings.len() < MOST_WARNINGS && !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    let (files, unused) = (file(&options(&stages.options)), unused(dockerfile));
    Ok(Lowered { dockerfile: text.clone(), files, warnings, unused, ..Lowered::default() })
}

/// The same for a BuildKit that keeps layers for other builds. It knows a layer of a `RUN` by its instruction and
/// what is below it, and not by a proxy or a cache that the `RUN` has had; and arguments of its own say for
/// which builds it keeps them.
///
/// # Errors
/// As [`as_written`].
pub(super) fn shared(
    dockerfile: &Dockerfile,
    files: &dyn ContextFiles,
) -> Result<Lowered, DockerfileError> {
    let Dockerfile { parsed, stages, .. } = dockerfile;
    let mut lowered = as_written(dockerfile, files)?;
    // It is root outside of any namespace, and sets all bits.
    lowered.warnings.clear();
    let mut kept = stages.options.clone();
    let line = parsed.instructions.first().map_or(1, |first| first.line);
    for name in stages.options.arguments.keys() {
        // BuildKit reads the names of proxy variables in any case.
        if options::is_predefined(&name.to_ascii_uppercase()) || name.starts_with(OWN) {
            kept.arguments.remove(name);
            let problem = format!(
                "the build argument {name} has no effect: other builds use the layers of this one"
            );
            lowered.warnings.push(Finding { line, problem });
        }
    }
    lowered.unused.retain(|name| kept.arguments.contains_key(name));
    // Its machine may be another.
    kept.platform.get_or_insert_default();
    let mut lines = options(&kept);
    let needed = stages.all.iter().filter(|stage| stage.is_needed);
    let mut instructions = needed.flat_map(|stage| &stage.instructions);
    if instructions.any(|instruction| mounts_cache(instruction, parsed.escape)) {
        lines += NO_CACHE;
    }
    lowered.files = file(&lines);
    Ok(lowered)
}

/// True of a `RUN` that may have a cache, also of one in `ONBUILD`: variables, quotes and escapes may stand for
/// its kind.
fn mounts_cache(instruction: &Instruction, escape: char) -> bool {
    let trigger = instruction.trigger(escape);
    let run = trigger.as_ref().unwrap_or(instruction);
    let may_be = |flag: &String| {
        flag.starts_with("--mount")
            && (flag.contains(['$', '\\', '`', '"', '\''])
                || flag.to_ascii_lowercase().contains("cache"))
    };
    run.keyword == "run" && run.flags.iter().any(may_be)
}

/// The options, one a line. No value has a line break (`build/spec.rs`).
fn options(options: &BuildOptions) -> String {
    let BuildOptions { arguments, target, platform } = options;
    let arguments = arguments.iter().map(|(name, value)| format!("build-arg:{name}={value}\n"));
    let target = target.iter().map(|target| format!("target={target}\n"));
    let platform = platform.iter().map(|platform| format!("platform={platform}\n"));
    arguments.chain(target).chain(platform).collect()
}

/// The file with these, if there are any.
fn file(lines: &str) -> Vec<BuilderFile> {
    let file = || BuilderFile {
        path: OPTIONS.to_owned(),
        mode: 0o644,
        content: Content::Bytes(lines.as_bytes().to_vec()),
    };
    if lines.is_empty() { Vec::new() } else { vec![file()] }
}

/// Looks for programs with special bits.
struct Search<'a> {
    files: &'a dyn ContextFiles,
    left: usize,
}

impl Search<'_> {
    /// To write to a file takes these bits from it, where the writer is root of a user namespace only, and
    /// BuildKit writes the context's files after it has set them.
    fn warning(&mut self, copy: &Instruction) -> Option<Finding> {
        let sets = |flag: &String| flag.starts_with("--from=") || flag.starts_with("--chmod=");
        if !matches!(copy.keyword.as_str(), "add" | "copy") || copy.flags.iter().any(sets) {
            return None;
        }
        let words = copy.json();
        let words = words
            .unwrap_or_else(|| copy.rest.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let (_, sources) = words.split_last()?;
        let path = sources.iter().find_map(|source| self.special_of(source))?;
        let problem = format!("{path} loses its setuid or setgid bit: set it with --chmod");
        Some(Finding { line: copy.line, problem })
    }

    fn special_of(&mut self, source: &str) -> Option<String> {
        let paths = match files::is_pattern(source) {
            true => files::glob(self.files, source).unwrap_or_default(),
            false => vec![files::clean(source)],
        };
        paths.into_iter().find_map(|path| {
            let path = files::resolve(self.files, &path)?;
            self.special(path)
        })
    }

    fn special(&mut self, path: String) -> Option<String> {
        self.left = self.left.checked_sub(1)?;
        match self.files.entry(&path)? {
            Entry::File(mode) => (mode & SPECIAL != 0).then_some(path),
            Entry::Symlink(_) => None,
            Entry::Directory(_) => {
                let names = self.files.names(&path)?;
                names.iter().find_map(|name| self.special(files::below(&path, name)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::files::tests::Memory;
    use crate::dockerfile::{BUILDER_DIR, Platform};

    fn as_written(text: &[u8], files: &Memory) -> Result<Lowered, DockerfileError> {
        Dockerfile::read(text, &BuildOptions::default())?.as_written(files, false)
    }

    #[test]
    fn what_a_build_asks_for_is_an_option_of_the_frontend() {
        let options = BuildOptions {
            arguments: [("A", "x $y"), ("B", "")].map(|(a, b)| (a.to_owned(), b.to_owned())).into(),
            target: Some("One".to_owned()),
            platform: "linux/arm64".parse().ok(),
        };
        let text = b"FROM a AS one\nARG A\nFROM b\n";
        let lowered = Dockerfile::read(text, &options).unwrap().as_written(&Memory::of(&[]), false);
        let lowered = lowered.unwrap();
        assert_eq!(lowered.dockerfile.as_bytes(), text);
        assert_eq!(lowered.unused, ["B"]);
        let script = include_str!("../objects/build_job/buildkit.sh");
        assert!(script.contains(&format!("{BUILDER_DIR}/{OPTIONS}")));
        let lines = "build-arg:A=x $y\nbuild-arg:B=\ntarget=One\nplatform=linux/arm64\n";
        let content = Content::Bytes(lines.as_bytes().to_vec());
        assert_eq!(lowered.files, [BuilderFile { path: OPTIONS.into(), mode: 0o644, content }]);
    }

    #[test]
    fn a_dockerfile_for_buildkit_is_as_it_is() {
        let text = "# syntax=docker/dockerfile:1\nFROM a\nRUN <<EOF\nx\nEOF\nCOPY f /\n";
        let files = Memory::of(&["f"]);
        let lowered = as_written(text.as_bytes(), &files).unwrap();
        assert_eq!(lowered, Lowered { dockerfile: text.to_owned(), ..Lowered::default() });
        let other = as_written(b"# syntax=evil/frontend\nFROM a\n", &files).unwrap_err();
        assert_eq!(other.line, 1);
    }

    /// Options and warnings where other builds use the layers.
    fn shared(text: &str, arguments: &[&str]) -> (String, Vec<String>) {
        let arguments = arguments.iter().map(|name| ((*name).to_owned(), "x".to_owned()));
        let options = BuildOptions { arguments: arguments.collect(), ..BuildOptions::default() };
        let dockerfile = Dockerfile::read(text.as_bytes(), &options).unwrap();
        let lowered = dockerfile.as_written(&Memory::of(&[]), true).unwrap();
        let lines = lowered.files.into_iter().map(|file| match file.content {
            Content::Bytes(bytes) => String::from_utf8(bytes).unwrap(),
            other => panic!("{other:?}"),
        });
        let warnings = lowered.warnings.iter().map(|one| one.problem.clone()).collect();
        assert_eq!(lowered.unused, Vec::<String>::new());
        (lines.collect(), warnings)
    }

    #[test]
    fn no_argument_changes_layers_that_others_use() {
        let arguments =
            ["A", "BUILDKIT_SANDBOX_HOSTNAME", "HTTP_PROXY", "Http_Proxy", "https_proxy"];
        let text = "FROM a\nARG A\nARG HTTP_PROXY\nRUN x\n";
        let (options, warnings) = shared(text, &arguments);
        assert_eq!(options, format!("build-arg:A=x\nplatform={}\n", Platform::default()));
        assert_eq!(warnings.len(), 4, "{warnings:?}");
        assert!(warnings[0].contains("BUILDKIT_SANDBOX_HOSTNAME has no effect"), "{warnings:?}");
    }

    #[test]
    fn a_run_with_a_cache_takes_no_layer_of_another_build() {
        let is_cached = |text: &str| !shared(text, &[]).0.ends_with(NO_CACHE);
        for mount in [
            "type=cache,id=x,target=/c",
            "\"TYPE=CACHE\",target=/c",
            "type=$KIND,target=/c",
            "type=ca\\che,target=/c",
        ] {
            let text = format!("FROM a\nARG KIND=cache\nRUN --mount={mount} x\n");
            assert!(!is_cached(&text), "{mount}");
        }
        let trigger = "FROM a AS one\nONBUILD RUN --mount=type=cache,target=/c x\nFROM one\n";
        assert!(!is_cached(trigger));
        assert!(is_cached("FROM a\nRUN --mount=type=bind,target=/b x --mount=type=cache\n"));
        // Its layers are nowhere.
        assert!(is_cached("FROM a\nRUN --mount=type=cache,target=/c x\nFROM b\nRUN y\n"));
    }

    #[test]
    fn a_program_that_loses_its_setuid_bit_is_warned_of() {
        let mut files = Memory::of(&["m/su", "m/d/", "f"]);
        files.0.insert("m/su".to_owned(), Entry::File(0o4755));
        let lines = |text: &str| -> Vec<usize> {
            let warnings = as_written(text.as_bytes(), &files).unwrap().warnings;
            warnings.iter().map(|warning| warning.line).collect()
        };
        assert_eq!(lines("FROM a\nCOPY . /\nADD m/s* /\nCOPY [\"m\", \"/\"]\n"), [2, 3, 4]);
        assert!(lines("FROM a\nCOPY f /\nCOPY --chmod=4755 m /\nCOPY --from=b m /\n").is_empty());
        let dockerfile = Dockerfile::read(b"FROM a\nCOPY m /\n", &BuildOptions::default());
        let shared = dockerfile.unwrap().as_written(&files, true).unwrap();
        assert_eq!(shared.warnings, []);
    }
}
