//! How far Kaniko came with its context, from the beginning of its log.
//!
//! Kaniko unpacks the whole context before it runs anything of the Dockerfile. So the first line of its
//! log that decides is Kaniko's own: a `RUN` may print what it likes, but it prints it later.

/// Phrases of an error that is the pod's or the context's own: another attempt would end the same way.
const LOCAL_CAUSES: [&str; 11] = [
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
/// How the last message of Kaniko begins once it has its context.
const LATER_ERRORS: [&str; 6] = [
    "error building image",
    "error changing to root dir",
    "error checking push permission",
    "error pushing image",
    "error resolving relative paths",
    "kaniko should only be run inside of a container",
];
/// How lines begin that Kaniko writes once it has its context.
const LATER_LINES: [&str; 10] = [
    "Built cross stage deps",
    "Building stage",
    "Executing ",
    "Found cached layer",
    "Resolved base name",
    "Retrieving image",
    "Returning cached image",
    "Storing source image",
    "Unpacking rootfs",
    "Using dockerignore file",
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

/// Reads the beginning of a log.
pub fn progress(head: &str) -> Progress {
    let plain = plain(head);
    plain.lines().find_map(decisive).unwrap_or(Progress::Unknown)
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

/// What a line says of the context; nothing for lines that may come before and after it.
fn decisive(line: &str) -> Option<Progress> {
    let (is_fatal, message) = match line.trim_end().split_once("] ") {
        Some((level, message)) if is_level(level) => (level.starts_with("FATA"), message),
        _ => (false, line.trim_end()),
    };
    // What the command line's parser prints comes before anything is built.
    let early = message.strip_prefix("Error: ");
    let early = early.or(is_fatal.then_some(message));
    let context = ["error resolving source context", "error resolving dockerfile path"];
    match early {
        // hookd sends no context without its Dockerfile.
        Some(message) if context.iter().any(|mark| message.starts_with(mark)) => {
            let local = LOCAL_CAUSES.iter().any(|cause| message.contains(cause));
            let message: String = message.chars().take(300).collect();
            Some(if local { Progress::Decided } else { Progress::Incomplete(message) })
        }
        Some(_) => Some(Progress::Decided),
        None => {
            let marks = LATER_ERRORS.iter().chain(&LATER_LINES);
            marks.into_iter().any(|mark| message.starts_with(mark)).then_some(Progress::Decided)
        }
    }
}

/// "INFO[0003"
fn is_level(text: &str) -> bool {
    let Some((level, seconds)) = text.split_once('[') else { return false };
    let levels = ["TRAC", "DEBU", "INFO", "WARN", "ERRO", "FATA", "PANI"];
    levels.contains(&level) && seconds.bytes().all(|byte| byte.is_ascii_digit())
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

#[cfg(test)]
mod tests;
