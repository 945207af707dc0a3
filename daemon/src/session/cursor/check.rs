//! What a cursor can hold that hookd has made: a client may send any.

use jiff::Timestamp;

use crate::cluster::logs::LogPosition;
use crate::registry::digest::is_digest;

use super::{BUILD_ATTEMPTS, BuildPosition, BuiltReference, Cursor, RunPosition};

/// Bytes that a cursor may have.
pub const LIMIT: usize = 128 << 10;
/// The largest position in an output: what is added to it does not overflow.
pub const MAX_OFFSET: u64 = 1 << 56;

/// Digits of the token of a build's group.
const TOKEN: usize = 32;
/// The longest uid, time stamp and image reference.
const LONGEST_UID: usize = 64;
const LONGEST_STAMP: usize = 40;
const LONGEST_REFERENCE: usize = 1024;

/// A cursor that hookd has not made.
#[derive(Debug, thiserror::Error)]
pub enum InvalidCursor {
    /// It exceeds [`LIMIT`].
    #[error("it has {bytes} bytes, and {LIMIT} is the limit")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// It has another form.
    #[error(transparent)]
    Form(#[from] serde_json::Error),
    /// A field has a value that no step comes to.
    #[error("`{0}` is out of range")]
    Field(&'static str),
}

fn must(holds: bool, field: &'static str) -> Result<(), InvalidCursor> {
    if holds { Ok(()) } else { Err(InvalidCursor::Field(field)) }
}

impl Cursor {
    /// Compares each field with what hookd writes there.
    pub(super) fn check(&self) -> Result<(), InvalidCursor> {
        self.build.as_ref().map_or(Ok(()), BuildPosition::check)?;
        self.image.as_ref().map_or(Ok(()), BuiltReference::check)?;
        must(self.held.is_none_or(|held| held.exit_code != 0), "held.exit_code")?;
        self.run.as_ref().map_or(Ok(()), RunPosition::check)
    }
}

impl BuildPosition {
    fn check(&self) -> Result<(), InvalidCursor> {
        must(self.attempt < BUILD_ATTEMPTS, "build.attempt")?;
        let is_token = |token: &String| {
            token.len() == TOKEN && token.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        must(self.token.as_ref().is_none_or(is_token), "build.token")?;
        check_log(&self.log)
    }
}

impl BuiltReference {
    /// The registry is compared with the configured one where it is used.
    fn check(&self) -> Result<(), InvalidCursor> {
        must(is_digest(&self.digest), "image.digest")?;
        let by_digest = self.reference.strip_suffix(self.digest.as_str());
        let name = by_digest.and_then(|name| name.strip_suffix('@'));
        let plain =
            |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        must(
            self.reference.len() <= LONGEST_REFERENCE && name.is_some_and(plain),
            "image.reference",
        )
    }
}

impl RunPosition {
    fn check(&self) -> Result<(), InvalidCursor> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let is_uid = self.job_uid.len() <= LONGEST_UID && self.job_uid.bytes().all(plain);
        must(is_uid, "run.job_uid")?;
        let largest = self.before.stdout.max(self.before.stderr);
        must(largest <= MAX_OFFSET, "run.before")?;
        check_log(&self.log)
    }
}

fn check_log(log: &LogPosition) -> Result<(), InvalidCursor> {
    let is_stamp =
        |stamp: &String| stamp.len() <= LONGEST_STAMP && stamp.parse::<Timestamp>().is_ok();
    must(log.timestamp.as_ref().is_none_or(is_stamp), "log.timestamp")?;
    must(log.nth <= MAX_OFFSET, "log.nth")?;
    must(log.bytes <= MAX_OFFSET, "log.bytes")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn decoded(change: impl FnOnce(&mut Value)) -> Result<Cursor, InvalidCursor> {
        let log = json!({"timestamp": "2026-01-01T00:00:00.5Z", "nth": 1, "bytes": 2,
            "line_ended": true});
        let digest = format!("sha256:{}", "a".repeat(64));
        let mut value = json!({
            "build": {"attempt": 2, "context_sent": true, "token": "0".repeat(32), "log": log},
            "image": {"reference": format!("localhost:30500/hookd/build@{digest}"),
                "digest": digest},
            "run": {"job_uid": "5c9a7d0e-0000", "before": [1, 2], "log": log},
            "started": null,
            "held": {"exit_code": 3, "until": {"secs_since_epoch": 1, "nanos_since_epoch": 0}},
        });
        change(&mut value);
        Cursor::decode(value.to_string().as_bytes())
    }

    #[test]
    fn a_cursor_that_no_step_has_come_to_is_refused() {
        decoded(|_| {}).unwrap();
        let digest = format!("sha256:{}", "b".repeat(64));
        for (field, value) in [
            ("/build/attempt", json!(3)),
            ("/build/attempt", json!(20_000_000)),
            ("/build/attempt", json!(u64::MAX)),
            ("/build/token", json!("x\n::set-env::")),
            ("/build/token", json!("0".repeat(33))),
            ("/build/log/timestamp", json!("now")),
            ("/build/log/timestamp", json!("9".repeat(100_000))),
            ("/build/log/nth", json!(u64::MAX)),
            ("/build/log/bytes", json!(u64::MAX)),
            ("/image/digest", json!("sha256:0")),
            ("/image/digest", json!(digest)),
            ("/image/reference", json!("evil.example/x:latest")),
            ("/image/reference", json!("")),
            ("/run/job_uid", json!("../x")),
            ("/run/job_uid", json!("u".repeat(65))),
            ("/run/before", json!([u64::MAX, 0])),
            ("/run/log/bytes", json!(u64::MAX)),
            ("/held/exit_code", json!(0)),
            ("/held/until/secs_since_epoch", json!(u64::MAX)),
        ] {
            let refused = decoded(|cursor| *cursor.pointer_mut(field).unwrap() = value.clone());
            assert!(refused.is_err(), "{field}: {value}");
        }
        assert!(Cursor::decode(&vec![b' '; LIMIT + 1]).is_err());
        assert!(Cursor::decode("[".repeat(LIMIT).as_bytes()).is_err());
    }
}
