//! `RUN --mount`: a build has no right to mount, so a script puts there what docker would mount.

use sha2::{Digest, Sha256};

use super::stage::Writer;
use super::{ARCHIVE_ROOT, BUILDER_DIR, BuilderFile, Content};
use crate::dockerfile::{CONTEXT, DockerfileError};

/// The script.
const SCRIPT: &str = include_str!("with-mounts.sh");
/// Its path below the directory of what hookd adds.
const PATH: &str = "with-mounts";
/// How paths begin that Kaniko leaves out of each image, the original and the fork; only the original copies
/// files to its own directory.
const LEFT_OUT: &str = "/tmp/apt-key-gpghome.hookd";

/// A mount of a RUN.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount {
    kind: Kind,
    target: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Cache { id: String, mode: Option<String>, owner: Option<String>, is_seeded: bool },
    Bind { from: Option<String>, source: String, is_writable: bool },
    Tmpfs,
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
    is_writable: bool,
    is_required: bool,
}

impl Fields {
    fn read(text: &str) -> Result<Self, String> {
        let mut fields = Self::default();
        for field in fields_of(text) {
            let (name, value) = field.split_once('=').unwrap_or((field.as_str(), ""));
            let is_true = matches!(value.to_ascii_lowercase().as_str(), "" | "1" | "t" | "true");
            let value = value.to_owned();
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
                "sharing" | "size" | "env" => {}
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
        let fields = match Fields::read(text) {
            Ok(fields) => fields,
            Err(problem) => return refused(problem),
        };
        let kind = fields.kind.as_deref().unwrap_or("bind");
        if matches!(kind, "secret" | "ssh") {
            let name = fields.id.or(fields.target).unwrap_or_else(|| "default".to_owned());
            return if fields.is_required {
                refused(format!("{kind} {name}: not found: a build gets none"))
            } else {
                if kind == "ssh" {
                    writer.warn(line, "no SSH agent is there: SSH_AUTH_SOCK is not set");
                }
                Ok(None)
            };
        }
        let Some(target) = fields.target.filter(|target| !target.trim_matches('/').is_empty())
        else {
            return refused(format!("the mount {text:?} has no target but the root"));
        };
        if fields.source.as_deref().is_some_and(|source| !is_safe(source)) || !is_safe(&target) {
            return refused(format!("the variables of the mount {text:?} cannot be read"));
        }
        let kind = match kind {
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
                is_seeded: fields.from.is_some(),
            },
            "tmpfs" => Kind::Tmpfs,
            other => return refused(format!("unsupported mount type {other:?}")),
        };
        Ok(Some(Self { kind, target }))
    }
}

impl Mount {
    /// The fork of Kaniko mounts it as docker does.
    pub(super) fn is_of_the_fork(&self) -> bool {
        let is_absolute = self.target.starts_with('/') && !self.target.contains('$');
        is_absolute
            && match &self.kind {
                Kind::Cache { is_seeded, .. } => !is_seeded,
                Kind::Bind { from, .. } => from.is_none(),
                Kind::Tmpfs => false,
            }
    }
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
        match kind {
            Kind::Bind { is_writable: false, .. } => {
                let problem = "is not read-only: what the command writes there is discarded";
                writer.warn(line, format!("the mount {target} {problem}"));
            }
            Kind::Cache { is_seeded: true, .. } => {
                writer.warn(line, format!("the cache {target} begins empty: from= has no effect"));
            }
            Kind::Bind { .. } | Kind::Cache { .. } | Kind::Tmpfs => {}
        }
    }
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
        Kind::Cache { id, mode, owner, .. } => {
            let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            let id: String =
                Sha256::digest(id).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            vec!["cache".to_owned(), id, target, or_none(mode), or_none(owner)]
        }
        Kind::Bind { from, source, .. } => {
            let Some(from) = from else {
                return vec!["context".to_owned(), source.clone(), target];
            };
            let from = writer.stage_name(from).unwrap_or_else(|| from.clone());
            let path = format!("{LEFT_OUT}-{}", writer.number());
            // To a list of texts it cannot fail.
            let list = serde_json::to_string(&[source, &path]).unwrap_or_default();
            writer.line(&format!("COPY --from={from} {list}"));
            vec!["moved".to_owned(), path, target]
        }
    }
}
