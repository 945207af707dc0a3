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

/// True for the message of a start whose kubelet or runtime was killed meanwhile.
pub(super) fn is_told_by(message: &str) -> bool {
    WORDS.iter().any(|words| message.contains(words))
}
