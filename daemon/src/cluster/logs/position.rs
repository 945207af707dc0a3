//! Where a Pod log stands.

use serde::{Deserialize, Serialize};

/// Where a Pod log stands: the newest line seen, by its time stamp, and how much of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPosition {
    /// Time stamp of the newest line as the kubelet wrote it; none: no line seen.
    pub timestamp: Option<String>,
    /// Number of lines seen with that time stamp, the newest included.
    pub nth: u64,
    /// Bytes seen of the newest line, its line end included.
    pub bytes: u64,
    /// The newest line's end was seen.
    pub line_ended: bool,
}
