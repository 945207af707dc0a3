//! How long registries are waited for.

use std::time::Duration;

/// For all that comes before a request: the name of the host, a proxy, TCP and TLS. Longer than a resolver waits
/// before it repeats a lost packet.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The other waits of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// For the head of an answer, and for the whole answer of a token service.
    pub(crate) answer: Duration,
    /// For the head of the answer with a blob: a cache may have to get all of it first.
    pub(crate) blob: Duration,
    /// For the next bytes of a document.
    pub(crate) silence: Duration,
    /// For a registry to take the next part of a body.
    pub(crate) upload: Duration,
    /// For its answer to all of a body: to put a large blob in its place may take a registry minutes.
    pub(crate) commit: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(30),
            blob: Duration::from_secs(120),
            silence: Duration::from_secs(30),
            upload: Duration::from_secs(300),
            commit: Duration::from_secs(900),
        }
    }
}
