//! How far a builder came with its context, and what that means for its Job.

/// Phrases of an error that is the pod's or the context's own: another attempt would end the same way.
pub(super) const LOCAL_CAUSES: [&str; 11] = [
    "no space left on device",
    "disk quota exceeded",
    "read-only file system",
    "permission denied",
    "operation not permitted",
    "input/output error",
    "file name too long",
    "too many levels of symbolic links",
    "references parent directory",
    "not a directory",
    "file exists",
];

/// What the builder says of its context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing yet, or nothing any more.
    Unknown,
    /// It did not receive the whole context; its message.
    Incomplete(String),
    /// It received all of it, or failed for another reason than that.
    Decided,
}

/// What to do with a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The build is under way, or its end has a reason of its own.
    Continue,
    /// The context must be sent again, to another Job; why.
    Restart(String),
    /// Not known yet.
    Wait,
}

/// What to do with a Job whose context was confirmed as `delivered` or was not, whose builder ended
/// with `exit_code` or still runs, and says this in its log.
pub fn decide(delivered: bool, exit_code: Option<i32>, progress: Progress) -> Decision {
    match (progress, exit_code, delivered) {
        (Progress::Incomplete(message), ..) => Decision::Restart(message),
        // It cannot have succeeded without its context.
        (Progress::Decided, ..) | (_, Some(0), _) | (_, _, true) => Decision::Continue,
        (Progress::Unknown, Some(code), false) => {
            Decision::Restart(format!("the builder ended with exit code {code}"))
        }
        (Progress::Unknown, None, false) => Decision::Wait,
    }
}

/// The text without the escape sequences that set colours and move the cursor.
pub fn plain(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut parts = text.split('\u{1b}');
    result.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let Some(sequence) = part.strip_prefix('[') else {
            // Another kind of sequence: its first letter is all that is known of it.
            result.push_str(part.get(1..).unwrap_or_default());
            continue;
        };
        let end = sequence.find(|letter| ('@'..='~').contains(&letter));
        result.push_str(end.map_or("", |end| &sequence[end + 1..]));
    }
    result
}

/// True of a message of these.
pub(super) fn is_local(message: &str) -> bool {
    let message = message.to_lowercase();
    LOCAL_CAUSES.iter().any(|cause| message.contains(cause))
}

#[cfg(test)]
mod tests;
