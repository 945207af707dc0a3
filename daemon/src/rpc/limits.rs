//! How much clients can ask of hookd at the same time. One runner has one job, whose steps number ten
//! at once; a client that asks for far more has a fault or attacks, and is refused with the reason.

use std::sync::Arc;
use std::time::Duration;

use hookd_api::MOST_FIELDS;
use hookd_api::transport::{CONNECTION_WINDOW, MAX_HOOKD_REQUEST_SIZE};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::Server;
use tonic::{Code, Status, Streaming};

use super::error::CallError;
use super::status;
use super::weigh::Weigh;

/// Calls on one connection: hook makes one, a job ten. More of them wait.
const STREAMS: u32 = 16;
/// Bytes that a client can send ahead in one call.
const STREAM_WINDOW: u32 = 64 << 10;
/// Inputs that are read and checked at the same time; each needs about three times its size then.
const READING: usize = 2;
/// KiB of the inputs of all steps at work. Each is in memory twice: tonic keeps the buffer that a
/// message came in as long as the call lasts.
const INPUTS: usize = 8 << 10;
/// What a string takes besides its bytes.
const STRING: usize = 64;
/// For the first message, whatever it has to wait for.
const FIRST_MESSAGE: Duration = Duration::from_secs(20);

/// A server with the limits of each connection.
pub fn server() -> Server {
    Server::builder()
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_concurrent_streams(STREAMS)
}

/// The limits that all calls share.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    reading: Arc<Semaphore>,
    inputs: Arc<Semaphore>,
}

/// A call's share; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    _input: OwnedSemaphorePermit,
}

impl Default for Limits {
    fn default() -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { reading: semaphore(READING), inputs: semaphore(INPUTS) }
    }
}

impl Limits {
    /// Reads the first message of a call and checks it with `convert`; the share of its input is kept
    /// as long as the call is at work.
    pub(super) async fn first<T: Weigh, S>(
        &self,
        inbound: &mut Streaming<T>,
        convert: impl FnOnce(Option<T>) -> Result<S, Status>,
    ) -> Result<(S, Share), Status> {
        let read = async {
            // No code closes the semaphore.
            let _reading = self.reading.acquire().await;
            let first = inbound.message().await.map_err(refused)?;
            let weight = |first: &T| first.encoded_len() + STRING * first.strings();
            let bytes = first.as_ref().map_or(0, weight);
            let share = self.share(bytes).map_err(|error| status::of(&error.into()))?;
            Ok((convert(first)?, share))
        };
        tokio::time::timeout(FIRST_MESSAGE, read).await.unwrap_or_else(|_| Err(late()))
    }

    pub(super) fn share(&self, bytes: usize) -> Result<Share, CallError> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let input = self.inputs.clone().try_acquire_many_owned(kib);
        let input = input.map_err(|_| CallError::TooManyInputs { mebibytes: INPUTS >> 10 })?;
        Ok(Share { _input: input })
    }
}

/// A message that was not decoded.
fn refused(error: Status) -> Status {
    let refused = match error.code() {
        Code::OutOfRange => CallError::InputTooLarge { mebibytes: MAX_HOOKD_REQUEST_SIZE >> 20 },
        Code::ResourceExhausted => CallError::TooManyFields { limit: MOST_FIELDS },
        _ => return error,
    };
    status::of(&refused.into())
}

fn late() -> Status {
    status::of(&CallError::StartLate { timeout: FIRST_MESSAGE }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_large_steps_at_once_are_taken_and_twenty_are_not() {
        let limits = Limits::default();
        let large = || limits.share(700 << 10);
        let shares: Result<Vec<_>, _> = (0..10).map(|_| large()).collect();
        let shares = shares.unwrap();
        let more: Vec<_> = (0..10).map(|_| large()).collect();
        assert_eq!(more.iter().filter(|share| share.is_err()).count(), 9);
        drop((shares, more));
        limits.share(MAX_HOOKD_REQUEST_SIZE + STRING * MOST_FIELDS).unwrap();
    }
}
