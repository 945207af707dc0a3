//! `RUN --mount`: a build has no right to mount, so a script puts there what docker would mount.

use sha2::{Digest, Sha256};

use super::stage::Writer;
use super::{ARCHIVE_ROOT, BUILDER_DIR, BuilderFile, Content, staging};
use crate::dockerfile::{CONTEXT, DockerfileError, files};

/// The script.
const SCRIPT: &str = include_str!("with-mounts.sh");
/// Its path below the directory of what hookd adds.
const PATH: &str = "with-mounts";
/// How paths begin that Kaniko leaves out of each image, the original and the fork; only the original copies
/// files to its own directory.
const LEFT_OUT: &str = "/tmp/apt-key-gpghome.hookd";

/// How builds may share a cache.
const SHARING: [&str; 3] = ["shared", "private", "locked"];

/// A mount of a RUN.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount {
    kind: Kind,
    target: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Cache {
        id: String,
        mode: Option<String>,
        owner: Option<String>,
        seed: Option<Seed>,
    },
    Bind {
        from: Option<String>,
        source: String,
        is_writable: bool,
    },
    Tmpfs,
    /// The target is a variable, for a secret that is not there.
    Variable,
}

/// What a cache begins with.
#[derive(Debug, PartialEq, Eq)]
struct Seed {
    from: String,
    source: String,
}

/// The fields of a mount.
#[derive(Default)]
struct Fields {
    kind: Option<String>,
    from: Option<String>,
    source: Option<String>,
    target: Option<String>,
    id: Option<String>,
    mode: Option<String>,
    uid: Option<String>,
    gid: Option<String>,
    env: Option<String>,
    is_writable: bool,
    is_required: bool,
}

impl Fields {
    fn read(writer: &Writer<'_>, text: &str) -> Result<Self, String> {
        let mut fields = Self::default();
        for field in fields_of(text) {
            let (name, value) = field.split_once('=').unwrap_or((field.as_str(), ""));
            let is_true = matches!(value.to_ascii_lowercase().as_str(), "" | "1" | "t" | "true");
            let known = writer.scope.expand(value, writer.escape);
            let known = known.filter(|known| !known.contains(['$', '`', '"', '\\']));
            let value = known.unwrap_or_else(|| value.to_owned());
            match name.trim().to_ascii_lowercase().as_str() {
                "type" => fields.kind = Some(value.to_ascii_lowercase()),
                "from" => fields.from = Some(value),
                "source" | "src" => fields.source = Some(value),
                "target" | "dst" | "destination" => fields.target = Some(value),
                "id" => fields.id = Some(value),
                "mode" => fields.mode = Some(value),
                "uid" => fields.uid = Some(value),
                "gid" => fields.gid = Some(value),
                "rw" | "readwrite" => fields.is_writable = is_true,
                "ro" | "readonly" => fields.is_writable = !is_true,
                "required" => fields.is_required = is_true,
                "env" => fields.env = Some(value),
                "sharing" if !is_sharing(&value) => {
                    return Err(format!("unsupported sharing value {value:?}"));
                }
                "sharing" | "size" => {}
                other => return Err(format!("unexpected key {other:?} in {text:?}")),
            }
        }
        Ok(fields)
    }
}

/// The fields of a line of comma-separated values, in which quotes hold commas.
fn fields_of(text: &str) -> Vec<String> {
    let (mut fields, mut is_quoted) = (vec![String::new()], false);
    for letter in text.chars() {
        match letter {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(String::new()),
            _ => fields.last_mut().into_iter().for_each(|field| field.push(letter)),
        }
    }
    fields
}

impl Mount {
    /// Reads the value of the flag; none for what is not there and not required: secrets and sockets.
    pub(super) fn read(
        writer: &mut Writer<'_>,
        text: &str,
        line: usize,
    ) -> Result<Option<Self>, DockerfileError> {
        let refused = |problem: String| Err(DockerfileError::new(line, problem));
        let fields = match Fields::read(writer, text) {
            Ok(fields) => fields,
            Err(problem) => return refused(problem),
        };
        let kind = fields.kind.clone().unwrap_or_else(|| "bind".to_owned());
        if matches!(kind.as_str(), "secret" | "ssh") {
            return Self::absent(writer, fields, &kind, line);
        }
        let Some(target) = fields.target.filter(|target| !target.trim_matches('/').is_empty())
        else {
            return refused(format!("the mount {text:?} has no target but the root"));
        };
        if fields.source.as_deref().is_some_and(|source| !is_safe(source)) || !is_safe(&target) {
            return refused(format!("the variables of the mount {text:?} cannot be read"));
        }
        if fields.from.as_ref().is_some_and(|from| is_number(from)) {
            return refused(
                "from= of a mount is the name of a stage or an image, no number".to_owned(),
            );
        }
        if let Some(source) = fields.source.as_ref().filter(|_| kind == "bind")
            && fields.from.as_ref().is_none_or(|from| from.is_empty() || from == CONTEXT)
            && !source.contains('$')
            && files::resolve(writer.files, source).is_none()
        {
            return Err(staging::not_found(line, source));
        }
        let kind = match kind.as_str() {
            "bind" => Kind::Bind {
                from: fields.from.filter(|from| !from.is_empty() && from != CONTEXT),
                source: fields.source.unwrap_or_else(|| "/".to_owned()),
                is_writable: fields.is_writable,
            },
            "cache" => Kind::Cache {
                id: fields.id.unwrap_or_else(|| target.clone()),
                mode: fields.mode,
                owner: match (fields.uid, fields.gid) {
                    (None, None) => None,
                    (uid, gid) => Some(format!("{}:{}", or_root(uid), or_root(gid))),
                },
                seed: fields.from.filter(|from| !from.is_empty()).map(|from| Seed {
                    from,
                    source: fields.source.unwrap_or_else(|| "/".to_owned()),
                }),
            },
            "tmpfs" => Kind::Tmpfs,
            other => return refused(format!("unsupported mount type {other:?}")),
        };
        Ok(Some(Self { kind, target }))
    }

    /// A secret or a socket, which a build has not.
    fn absent(
        writer: &mut Writer<'_>,
        fields: Fields,
        kind: &str,
        line: usize,
    ) -> Result<Option<Self>, DockerfileError> {
        let name = fields.id.or(fields.target).unwrap_or_else(|| "default".to_owned());
        if fields.is_required {
            let problem = format!("{kind} {name}: not found: a build gets none");
            return Err(DockerfileError::new(line, problem));
        }
        if kind == "ssh" {
            writer.warn(line, "no SSH agent is there: SSH_AUTH_SOCK is not set");
        }
        // Docker sets it to nothing.
        let variable = fields.env.filter(|_| kind == "secret");
        let variable = variable.map(|env| if env.is_empty() { name } else { env });
        let variable = variable.filter(|name| is_variable(name));
        Ok(variable.map(|target| Self { kind: Kind::Variable, target }))
    }
}

impl Mount {
    /// The fork of Kaniko mounts it as docker does.
    pub(super) fn is_of_the_fork(&self) -> bool {
        let is_absolute = self.target.starts_with('/') && !self.target.contains('$');
        is_absolute
            && match &self.kind {
                Kind::Cache { seed, .. } => seed.is_none(),
                Kind::Bind { from, .. } => from.is_none(),
                Kind::Tmpfs | Kind::Variable => false,
            }
    }
}

fn is_sharing(value: &str) -> bool {
    value.contains('$') || SHARING.contains(&value.to_ascii_lowercase().as_str())
}

fn or_root(id: Option<String>) -> String {
    id.unwrap_or_else(|| "0".to_owned())
}

/// A word whose variables a shell may expand between double quotes as docker does.
fn is_safe(word: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_${}./-:+=@,".contains(letter);
    !word.contains('$') || word.chars().all(plain)
}

/// Warns of what no Kaniko mounts as docker does.
pub(super) fn check(writer: &mut Writer<'_>, line: usize, mounts: &[Mount]) {
    for Mount { kind, target } in mounts {
        if matches!(kind, Kind::Bind { is_writable: false, .. }) {
            let problem = "is not read-only: what the command writes there is discarded";
            writer.warn(line, format!("the mount {target} {problem}"));
        }
    }
}

/// Refuses what the script has no right to put in the root.
///
/// # Errors
/// A mount of a RUN of a user that is not root.
pub(super) fn check_user(
    writer: &Writer<'_>,
    line: usize,
    mounts: &[Mount],
) -> Result<(), DockerfileError> {
    let is_in_root = |mount: &&Mount| {
        let path = writer.path(&mount.target);
        mount.kind != Kind::Variable && path.is_some_and(|path| !path.contains('/'))
    };
    let Some(mount) = mounts.iter().find(is_in_root).filter(|_| writer.has_user) else {
        return Ok(());
    };
    let problem = format!(
        "USER has no right to make {}, where the mount belongs: mount below a directory of that user",
        mount.target
    );
    Err(DockerfileError::new(line, problem))
}

/// Writes a RUN with mounts.
pub(super) fn write(writer: &mut Writer<'_>, mounts: &[Mount], program: Vec<String>) {
    let mut arguments = vec!["/bin/sh".to_owned(), format!("{ARCHIVE_ROOT}/{BUILDER_DIR}/{PATH}")];
    for mount in mounts {
        arguments.extend(argument(writer, mount));
    }
    arguments.push("--".to_owned());
    arguments.extend(program);
    let content = Content::Bytes(SCRIPT.as_bytes().to_owned());
    writer.add_file(BuilderFile { path: PATH.to_owned(), mode: 0o755, content });
    writer.program("", &arguments);
}

/// The arguments of the script for a mount, after what must come before.
fn argument(writer: &mut Writer<'_>, mount: &Mount) -> Vec<String> {
    let target = mount.target.clone();
    match &mount.kind {
        Kind::Tmpfs => vec!["tmpfs".to_owned(), target],
        Kind::Variable => vec!["variable".to_owned(), target],
        Kind::Cache { id, mode, owner, seed } => {
            let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            let id: String =
                Sha256::digest(id).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            let seed = seed.as_ref().map(|seed| copied(writer, &seed.from, &seed.source));
            let seed = seed.map(|path| vec!["seed".to_owned(), id.clone(), path]);
            let cache = ["cache".to_owned(), id, target, or_none(mode), or_none(owner)];
            seed.into_iter().flatten().chain(cache).collect()
        }
        Kind::Bind { from, source, .. } => {
            let Some(from) = from else {
                return vec!["context".to_owned(), source.clone(), target];
            };
            vec!["moved".to_owned(), copied(writer, from, source), target]
        }
    }
}

/// Copies from a stage or an image; the path, which is in no image.
fn copied(writer: &mut Writer<'_>, from: &str, source: &str) -> String {
    let from = writer.stage_name(from).unwrap_or_else(|| from.to_owned());
    let path = format!("{LEFT_OUT}-{}", writer.number());
    // To a list of texts it cannot fail.
    let list = serde_json::to_string(&[source, path.as_str()]).unwrap_or_default();
    writer.line(&format!("COPY --from={from} {list}"));
    path
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_')
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
