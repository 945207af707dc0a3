//! The one shape of everything that a client can ask for with a stream.

use futures::future::BoxFuture;

use crate::error::Failure;
use crate::metrics::Call;
use crate::session::cursor::Cursor;
use crate::session::events::Session;

/// An operation for one step. [`crate::session::drive`] runs it once, and then calls `roll_back` (twice
/// after a cancellation) or `finish`; neither if the client leaves and comes back, or if the call is
/// refused before it runs.
pub trait Operation: Send + Sync + 'static {
    /// What the client gets in the end.
    type Output: Send + 'static;

    /// What it is counted as.
    const CALL: Call;

    /// Does it, or goes on from the session's cursor. It looks first whether hookd has the permissions
    /// that it needs. It may be dropped at any `await`.
    fn run(
        &mut self,
        session: &mut Session,
    ) -> impl Future<Output = Result<Self::Output, Failure>> + Send;

    /// True unless the step's own program failed.
    fn succeeded(_: &Self::Output) -> bool {
        true
    }

    /// Deletes what `run` may have made, as far as `cursor` shows; all that it can have made if there
    /// is none. Doing it again does no harm. It goes on when no caller waits for it any more.
    fn roll_back(&self, cursor: Option<&Cursor>) -> BoxFuture<'static, ()>;

    /// Deletes what is not needed once the client has acted on the result.
    fn finish(&self, cursor: &Cursor) -> impl Future<Output = ()> + Send;

    /// True if an object may appear after a cancellation, because its create was under way.
    fn creates_objects(&self) -> bool {
        true
    }
}
