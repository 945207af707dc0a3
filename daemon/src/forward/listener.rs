//! TCP ports on the loopback of the runner pod, each of which leads to a port of another pod.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A service that does not take a connection within this is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a connection that could not be accepted, without free descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Ports that are tried before there is none that is free for both families.
const TRIES: usize = 16;

/// A port of 127.0.0.1, and of ::1 where there is IPv6. No other pod reaches it.
#[derive(Debug)]
pub struct LoopbackPort {
    port: u16,
    sockets: Vec<TcpListener>,
}

impl LoopbackPort {
    /// Listens at a port.
    ///
    /// # Errors
    /// The kernel's, for either family.
    pub async fn bind(port: u16) -> io::Result<Self> {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let port = first.local_addr()?.port();
        let mut sockets = vec![first];
        match TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
            Ok(second) => sockets.push(second),
            // No IPv6 in this pod.
            Err(error)
                if error.kind() == io::ErrorKind::AddrNotAvailable
                    || error.raw_os_error()
                        == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
        Ok(Self { port, sockets })
    }

    /// Listens at `preferred`, or at any port that is free if that one is not.
    ///
    /// # Errors
    /// The kernel's, if there is none.
    pub async fn bind_any(preferred: u16) -> io::Result<Self> {
        let mut tried = Self::bind(preferred).await;
        for _ in 0..TRIES {
            if tried.is_ok() {
                break;
            }
            tried = Self::bind(0).await;
        }
        tried
    }

    /// The port.
    pub fn number(&self) -> u16 {
        self.port
    }

    /// Takes connections and forwards each to the first of `targets` that takes one, until this is
    /// dropped, which ends all of them. Each connection holds one of the `slots`.
    pub async fn forward(self, targets: Vec<SocketAddr>, slots: Arc<Semaphore>) {
        let accepting = self.sockets.iter().map(|socket| accept(socket, &targets, &slots));
        join_all(accepting).await;
    }
}

async fn accept(socket: &TcpListener, targets: &[SocketAddr], slots: &Arc<Semaphore>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                // The next ones wait in the kernel's queue meanwhile.
                let Ok(slot) = slots.clone().acquire_owned().await else { return };
                let targets = targets.to_vec();
                connections.spawn(async move {
                    forward(stream, &targets).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to a service cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Forwards both directions until both have ended; each may end before the other.
async fn forward(mut inbound: TcpStream, targets: &[SocketAddr]) {
    let mut outbound = match connect(targets).await {
        Ok(outbound) => outbound,
        Err(error) => {
            tracing::debug!(?targets, %error, "a service does not take a connection");
            // A reset, which a client does not take for an empty answer.
            let _ = inbound.set_zero_linger();
            return;
        }
    };
    for stream in [&inbound, &outbound] {
        let _ = stream.set_nodelay(true);
    }
    if let Err(error) = tokio::io::copy_bidirectional(&mut inbound, &mut outbound).await {
        tracing::debug!(?targets, %error, "a connection to a service broke");
        for stream in [&inbound, &outbound] {
            let _ = stream.set_zero_linger();
        }
    }
}

async fn connect(targets: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for target in targets {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(target)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = error,
            Err(_) => failed = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failed)
}

/// The port at each of these addresses.
pub fn targets(addresses: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    addresses.iter().map(|address| SocketAddr::new(*address, port)).collect()
}
