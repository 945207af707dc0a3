//! Starts of containers that neither the kubelet nor the runtime saw to their end.

/// Words of gRPC by which the runtime saw the kubelet go, and the kubelet the runtime.
const WORDS: [&str; 6] = [
    "context canceled",
    "error reading from server",
    "server closed the stream",
    "transport is closing",
    "transport: ",
    "ttrpc: closed",
];

/// containerd's words for what comes before the start of a program.
const BEFORE_START: &str = "failed to create containerd task";

/// True for the message of a start whose kubelet or runtime was killed meanwhile.
pub(super) fn is_told_by(message: &str) -> bool {
    WORDS.iter().any(|words| message.contains(words))
}

/// True for one in which the program has not begun.
pub(super) fn is_before_start(message: &str) -> bool {
    message.starts_with(BEFORE_START)
}
