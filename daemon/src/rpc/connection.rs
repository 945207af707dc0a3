//! One connection of a client: counted, and closed if its client says nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use tonic::transport::server::{Connected, UdsConnectInfo};

/// Until the first bytes of a new connection; a client sends them at once.
const GREETING: Duration = Duration::from_secs(10);

/// A connection that holds its place among those that may be open.
pub struct Connection {
    stream: UnixStream,
    /// Runs until the client has said something.
    greeting: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// A connection that was just accepted, in the runtime that serves it.
    pub(super) fn new(stream: UnixStream, place: OwnedSemaphorePermit) -> Self {
        let greeting = Some(Box::pin(tokio::time::sleep(GREETING)));
        Self { stream, greeting, _place: place }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.greeting = None;
        }
        if let (Poll::Pending, Some(greeting)) = (&read, &mut self.greeting)
            && greeting.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Connected for Connection {
    type ConnectInfo = UdsConnectInfo;

    fn connect_info(&self) -> UdsConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Semaphore;

    use super::*;

    fn pair(places: &Arc<Semaphore>) -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Connection::new(ours, places.clone().try_acquire_owned().unwrap()), theirs)
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_says_nothing_is_closed_and_gives_up_its_place() {
        let places = Arc::new(Semaphore::new(1));
        let (mut connection, _caller) = pair(&places);
        let error = connection.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(connection);
        assert_eq!(places.available_permits(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_has_begun_may_be_quiet() {
        let places = Arc::new(Semaphore::new(1));
        let (mut connection, mut client) = pair(&places);
        client.write_u8(1).await.unwrap();
        assert_eq!(connection.read_u8().await.unwrap(), 1);
        let quiet = tokio::time::timeout(GREETING * 100, connection.read_u8()).await;
        assert!(quiet.is_err());
    }
}
