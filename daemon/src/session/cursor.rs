//! Where a step stands, in the form that its client keeps for us. A daemon that is started again
//! knows nothing of its steps; the client sends the last cursor that it acted on, the cluster has
//! the rest.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::cluster::logs::LogPosition;
use crate::registry::image_config::{BuiltConfig, ImageConfig, ProcessConfig};

/// Jobs tried for one build, should the context not arrive.
pub const BUILD_ATTEMPTS: u32 = 3;

/// Position of an event of a step. Opaque to the client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The build, once its Job was to be created.
    pub build: Option<BuildPosition>,
    /// The image to run, once built.
    pub image: Option<BuiltReference>,
    /// The run, once its Job was created.
    pub run: Option<RunPosition>,
    /// When the call was first made, by this client or for one that came back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<SystemTime>,
    /// When a program in the job's pod was first asked for: its time limit counts from there.
    pub started: Option<SystemTime>,
    /// How the program ended, while the container that it left is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
}

/// A program that failed, and whose container is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Its exit code.
    pub exit_code: i32,
    /// Until when.
    pub until: SystemTime,
}

/// Where a build stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildPosition {
    /// Number of Jobs tried before this one.
    pub attempt: u32,
    /// The whole context reached Kaniko: the Job can end without us.
    pub context_sent: bool,
    /// An earlier Job was killed for its memory, and this one has more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more_memory: bool,
    /// Token that the runner's `::stop-commands::` was given; present while the group is open.
    pub token: Option<String>,
    /// The log is that of another's build, which is followed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub following: bool,
    /// Where its log stands.
    pub log: LogPosition,
}

/// A built image, by digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltReference {
    /// As the kubelet pulls it.
    pub reference: String,
    /// "sha256:..."
    pub digest: String,
}

/// Where a run stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunPosition {
    /// The Job that was created; if it is gone, the step is lost: it is never run again.
    pub job_uid: String,
    /// The image's own program, if stepd starts the step; none: the kubelet does.
    #[serde(default)]
    pub agent_launch: Option<ImageConfig>,
    /// How it starts, if the image was built in the container of the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub built: Option<BuiltProgram>,
    /// Bytes of each stream that the client had before the program wrote any: a build's log.
    #[serde(default)]
    pub before: Offsets,
    /// Where its log stands.
    pub log: LogPosition,
}

/// How the program of an image starts that was built in the container of the step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltProgram {
    /// As the image has it.
    pub process: ProcessConfig,
    /// Variables of the container that it keeps.
    pub inherited: Vec<String>,
}

/// Bytes of a step's two streams, counted from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offsets {
    /// Of standard output.
    pub stdout: u64,
    /// Of standard error.
    pub stderr: u64,
}

/// Bytes of an image's configuration as JSON that leave room for the rest of a cursor.
const MAX_CONFIG_SIZE: usize = LIMIT - (32 << 10);

impl RunPosition {
    /// Whether a cursor with this configuration can be read again. What JSON makes of a string may be
    /// six times as long.
    pub fn has_room(config: &ImageConfig) -> bool {
        serde_json::to_vec(config).is_ok_and(|form| form.len() <= MAX_CONFIG_SIZE)
    }

    /// As [`RunPosition::has_room`], for the configuration of an image that was built.
    pub fn has_room_for_built(config: &BuiltConfig) -> bool {
        let size = |form: serde_json::Result<Vec<u8>>| form.map_or(usize::MAX, |form| form.len());
        let image = size(serde_json::to_vec(&config.image));
        image.saturating_add(size(serde_json::to_vec(&config.process))) <= MAX_CONFIG_SIZE
    }
}

impl Cursor {
    /// The form on the wire.
    pub fn encode(&self) -> Vec<u8> {
        // A struct of plain fields always has a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the form on the wire; empty is the start of a step. A client may send anything: what
    /// no step of hookd's can have come to is refused.
    ///
    /// # Errors
    /// When the bytes were not made by [`Cursor::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidCursor> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        if bytes.len() > LIMIT {
            return Err(InvalidCursor::TooLarge { bytes: bytes.len() });
        }
        let cursor: Self = serde_json::from_slice(bytes)?;
        cursor.check()?;
        Ok(cursor)
    }
}

mod check;

pub use check::{InvalidCursor, LIMIT, MAX_OFFSET};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_the_wire() {
        let cursor = Cursor {
            build: Some(BuildPosition { attempt: 1, ..BuildPosition::default() }),
            run: Some(RunPosition {
                job_uid: "u".into(),
                agent_launch: Some(ImageConfig::default()),
                built: Some(BuiltProgram::default()),
                before: Offsets { stdout: 7, stderr: 0 },
                log: LogPosition::default(),
            }),
            started: Some(SystemTime::now()),
            ..Cursor::default()
        };
        assert_eq!(Cursor::decode(&cursor.encode()).unwrap(), cursor);
        assert_eq!(Cursor::decode(b"").unwrap(), Cursor::default());
        assert!(Cursor::decode(b"x").is_err());
    }

    #[test]
    fn an_image_that_no_cursor_has_room_for_is_known() {
        // As large as a configuration may be that hookd reads.
        for (argument, fits) in [("a", true), ("\u{1}", false)] {
            let cmd = [argument.repeat((64 << 10) - 1)];
            let config: ImageConfig =
                serde_json::from_value(serde_json::json!({ "Cmd": cmd })).unwrap();
            assert_eq!(RunPosition::has_room(&config), fits, "{argument:?}");
            let run = RunPosition {
                job_uid: "u".into(),
                agent_launch: Some(config),
                built: None,
                before: Offsets::default(),
                log: LogPosition::default(),
            };
            let cursor = Cursor { run: Some(run), ..Cursor::default() };
            assert_eq!(Cursor::decode(&cursor.encode()).is_ok(), fits, "{argument:?}");
        }
    }
}
