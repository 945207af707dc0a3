//! What both ends of a connection must agree on, beside the messages: limits, windows, time limits
//! and names. Sizes are in bytes.
//!
//! There are two connections: hook calls hookd over a Unix socket in the runner pod, and hookd calls
//! stepd over an exec session of the API server. A constant that one end alone uses stays with it.

use std::time::Duration;

/// Name of hookd's socket in the directory into which hookd also installs hook, which looks for the
/// socket beside itself.
pub const HOOKD_SOCKET: &str = "hookd.sock";
/// Directory of stepd's socket and spool in a container: hookd mounts an empty volume there, and
/// starts `stepd connect` with it.
pub const STEPD_DIR: &str = "/__hookd_run";
/// Name of stepd's socket there.
pub const STEPD_SOCKET: &str = "stepd.sock";

/// Directory of the runner pod beneath which the volumes for jobs in that pod are mounted, default of
/// `HOOKD_AGENTS_DIR`.
pub const AGENTS_DIR: &str = "/run/hookd-agents";
/// Name of the runner's externals there: hook copies into it, and job containers read it.
pub const EXTERNALS_DIR: &str = "externals";

/// Domain of the `google.rpc.ErrorInfo` that every error of hookd has. A status without it comes
/// from the transport, and its call can be made again.
pub const ERROR_DOMAIN: &str = "hookd";
/// Key of the remedy in the metadata of that ErrorInfo.
pub const ERROR_REMEDY: &str = "remedy";

/// Characters of a step's id: names and labels of Kubernetes objects, which have at most 63, carry it.
pub const MAX_STEP_ID_LEN: usize = 40;

/// The largest message that hookd takes: Linux gives a program at most 2 MiB of arguments and
/// environment, and the rest of a step's input is small.
pub const MAX_HOOKD_REQUEST_SIZE: usize = 3 << 20;
/// The largest message between hookd and stepd. The environment of a step comes in one message; what
/// hookd takes from its clients always fits.
pub const MAX_STEPD_MESSAGE_SIZE: usize = 64 << 20;
/// The largest message of stepd: 64 KiB of output, or the status of 256 steps. A program that poses as
/// stepd sends no larger one.
pub const MAX_STEPD_ANSWER_SIZE: usize = 256 << 10;
/// The most output in one message of either API: the size of a pipe, so that one read is one message.
pub const MAX_OUTPUT_SIZE: usize = 64 << 10;

/// Output that hookd sends before it waits for an acknowledgement. hookd keeps no copy: after a break
/// it reads what was not acknowledged from the pod again.
pub const OUTPUT_WINDOW: u64 = 1 << 20;
/// Output after which a client acknowledges even while more is arriving. Far less than
/// [`OUTPUT_WINDOW`], so that hookd does not wait.
pub const ACK_INTERVAL: u64 = 64 << 10;

/// HTTP/2 window of a stream that carries output, at its receiver: all of [`OUTPUT_WINDOW`], so that
/// the acknowledgements alone limit the sender.
pub const STREAM_WINDOW: u32 = 1 << 20;
/// HTTP/2 window of a connection, at every end. h2 closes a connection on which many small frames
/// lie unread, and allows for half of this window in overhead, counted as what a frame lacks to
/// 256 bytes: enough for a stream window full of the smallest messages. Streams have windows of
/// their own, so that this is not memory.
pub const CONNECTION_WINDOW: u32 = 64 << 20;

/// Time between two HTTP/2 pings of hook to hookd. hookd answers a ping unless it is stopped; hook
/// waits for the answer as long as it waits for a connection.
pub const HOOK_KEEPALIVE: Duration = Duration::from_secs(30);
/// Time between two pings of hookd to stepd, with calls or without, and the time limit of each
/// answer. An exec session that hangs is noticed after twice this. A quiet one would be closed by
/// the kubelet after 4 hours.
pub const HOOKD_KEEPALIVE: Duration = Duration::from_secs(15);
/// Time between two pings of stepd to hookd: a connection that is dead ends, and with it the
/// attachments of its calls.
pub const STEPD_KEEPALIVE: Duration = Duration::from_secs(20);
/// Time without a byte from hookd after which `stepd connect` ends, default of `--silence`: a
/// container runtime that was restarted holds the pipes of sessions that have no client any more.
pub const STEPD_SILENCE: Duration = Duration::from_secs(60);

// The relations that the reasons above rely on.
const _: () = assert!(ACK_INTERVAL < OUTPUT_WINDOW);
const _: () = assert!(MAX_OUTPUT_SIZE as u64 <= OUTPUT_WINDOW);
const _: () = assert!(STREAM_WINDOW as u64 >= OUTPUT_WINDOW);
const _: () = assert!(STREAM_WINDOW <= CONNECTION_WINDOW);
const _: () = assert!(MAX_HOOKD_REQUEST_SIZE < MAX_STEPD_MESSAGE_SIZE);
const _: () = assert!(STEPD_SILENCE.as_secs() > 2 * HOOKD_KEEPALIVE.as_secs());
