//! ADD of archives in the context.

use std::io::Read;

use flate2::read::GzDecoder;

use super::copy::{Flags, is_remote};
use super::stage::Writer;
use crate::dockerfile::DockerfileError;
use crate::dockerfile::files;
use crate::dockerfile::lines::Instruction;

/// Bytes of a header of a tar archive.
const HEADER: usize = 512;

/// What a file is to ADD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It is copied.
    File,
    /// Kaniko unpacks it.
    Archive,
    /// Only docker unpacks it.
    Unknown(&'static str),
}

/// The instruction that makes of the sources what docker does: COPY where Kaniko would unpack what docker
/// does not.
pub(super) fn keyword(
    writer: &mut Writer<'_>,
    copy: &Instruction,
    flags: &Flags,
    sources: &[String],
) -> Result<String, DockerfileError> {
    let refused = |problem: String| Err(DockerfileError::new(copy.line, problem));
    let is_local = !sources.iter().any(|source| is_remote(writer, source));
    match (copy.keyword.as_str(), flags.unpack) {
        ("add", _) => {}
        (_, None) => return Ok(copy.keyword.clone()),
        (_, Some(_)) => return refused("unknown flag --unpack of COPY".to_owned()),
    }
    match flags.unpack {
        Some(false) if is_local => return Ok("copy".to_owned()),
        Some(true) if !is_local => {
            return refused(
                "--unpack of an address is not supported: the builder copies it".into(),
            );
        }
        _ => {}
    }
    let mut kinds = Vec::new();
    for source in sources.iter().filter(|source| !is_remote(writer, source)) {
        kinds.extend(kinds_of(writer, source));
    }
    let unknown = kinds.iter().find_map(|kind| match kind {
        Kind::Unknown(name) => Some(*name),
        Kind::File | Kind::Archive => None,
    });
    if let Some(name) = unknown {
        return refused(format!("ADD does not unpack {name}: use gzip, or COPY and RUN tar"));
    }
    let has_archive = kinds.contains(&Kind::Archive);
    if has_archive {
        let problem = "a new directory for what is unpacked may have another mode, and symlinks in it are root's";
        writer.warn(copy.line, problem);
    }
    if has_archive && flags.has_owner {
        writer.warn(copy.line, "--chown has no effect on what is unpacked");
    }
    let is_copy = is_local && !kinds.is_empty() && !has_archive;
    Ok(if is_copy { "copy".to_owned() } else { copy.keyword.clone() })
}

/// What the files of a source are; none: it is not known.
fn kinds_of(writer: &Writer<'_>, source: &str) -> Vec<Kind> {
    let Some(source) = writer.scope.expand(source, writer.escape) else { return Vec::new() };
    let found = if files::is_pattern(&source) {
        files::glob(writer.files, &source).unwrap_or_default()
    } else {
        vec![files::clean(&source)]
    };
    let resolved = found.iter().filter_map(|path| files::resolve(writer.files, path));
    resolved.map(|path| kind(&writer.files.begin(&path))).collect()
}

/// What a file is, by its first bytes: docker's rule, containerd's and moby's `archive.IsArchivePath`.
fn kind(begin: &[u8]) -> Kind {
    if is_tar(begin) {
        return Kind::Archive;
    }
    match begin {
        [0x1f, 0x8b, 0x08, ..] => {
            let mut header = [0; HEADER];
            let unpacked = GzDecoder::new(begin).read_exact(&mut header).is_ok() && is_tar(&header);
            if unpacked { Kind::Archive } else { Kind::File }
        }
        [b'B', b'Z', b'h', ..] => Kind::Archive,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Kind::Unknown("xz"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Kind::Unknown("zstd"),
        _ => Kind::File,
    }
}

/// The sum of a header's bytes stands in it, and its own place counts as spaces.
fn is_tar(bytes: &[u8]) -> bool {
    let Some(header) = bytes.get(..HEADER) else { return false };
    let mut header: [u8; HEADER] = header.try_into().unwrap_or([0; HEADER]);
    let field = String::from_utf8_lossy(&header[148..156]).into_owned();
    let sum = u32::from_str_radix(field.trim_matches([' ', '\0']), 8);
    header[148..156].fill(b' ');
    sum.is_ok_and(|sum| sum == header.iter().map(|byte| u32::from(*byte)).sum::<u32>())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn an_archive_is_known_by_its_bytes() {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_cksum();
        let tar = header.as_bytes();
        assert_eq!(kind(tar), Kind::Archive);
        assert_eq!(kind(&gzip(tar)), Kind::Archive);
        assert_eq!(kind(&gzip(b"notes\n")), Kind::File);
        assert_eq!(kind(b"notes\n"), Kind::File);
        assert_eq!(kind(&[0; 600]), Kind::File);
        assert_eq!(kind(b""), Kind::File);
        assert_eq!(kind(b"\xfd7zXZ\0\0"), Kind::Unknown("xz"));
    }
}
