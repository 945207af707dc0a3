//! A TCP proxy before the API server: what a network, a load balancer or a middlebox may do to
//! connections that it does not understand.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::traffic::{Counts, Traffic};

/// The address of the node's bridge: pods reach it, and the API server's certificate names it.
pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
/// Port of the API server.
const API_SERVER: u16 = 6443;
/// Bytes that are passed on at a time.
pub(crate) const CHUNK_SIZE: usize = 16 << 10;

/// A proxy that runs until the end of the process.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Its port on [`NODE`].
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    injection: watch::Sender<Injection>,
    upstream: Mutex<SocketAddr>,
    counts: Counts,
}

/// What is done to connections; they are numbered from 1 on.
#[derive(Clone, Debug, Default)]
struct Injection {
    /// Nothing is passed on.
    stalled: bool,
    /// Connections up to this number pass nothing on, and neither end hears of it.
    silent_to: u64,
    /// Connections up to this number are reset.
    reset_to: u64,
    /// Those up to this number lose the direction to the server.
    half_closed_to: u64,
    /// Later ones are reset after so many bytes each, in turn.
    reset_after: Vec<u64>,
    /// Bytes a second, of each direction of each connection.
    rate: Option<u64>,
}

/// The threads' runtime for all that stands before the API server.
pub(crate) fn runtime() -> &'static Handle {
    static RUNTIME: OnceLock<Handle> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        handle
    })
}

impl Proxy {
    pub(crate) fn start() -> Self {
        let listener = std::net::TcpListener::bind((NODE, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let shared = Arc::new(Shared {
            injection: watch::Sender::default(),
            upstream: Mutex::new((NODE, API_SERVER).into()),
            counts: Counts::default(),
        });
        let accepting = shared.clone();
        runtime().spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, accepting.clone()));
            }
        });
        Self { port, shared }
    }

    pub(crate) fn traffic(&self) -> Traffic {
        self.shared.counts.read()
    }

    /// From now on nothing is passed on, until [`Proxy::clear`].
    pub(crate) fn stall(&self) {
        self.change(|injection, _| injection.stalled = true);
    }

    /// So many bytes a second from now on, until [`Proxy::clear`].
    pub(crate) fn throttle(&self, rate: u64) {
        self.change(|injection, _| {
            injection.stalled = false;
            injection.rate = Some(rate);
        });
    }

    /// Passes on again what waits, as fast as it goes.
    pub(crate) fn clear(&self) {
        self.change(|injection, _| {
            injection.stalled = false;
            injection.rate = None;
        });
    }

    /// Resets the connections that are there, and the next ones after so many bytes each.
    pub(crate) fn reset(&self, after: Vec<u64>) {
        self.change(|injection, newest| {
            injection.reset_to = newest;
            injection.reset_after = after;
        });
    }

    /// The connections that are there pass nothing on any more.
    pub(crate) fn half_open(&self) {
        self.change(|injection, newest| injection.silent_to = newest);
    }

    /// The connections that are there lose the direction to the server.
    pub(crate) fn half_close(&self) {
        self.change(|injection, newest| injection.half_closed_to = newest);
    }

    /// Leads new connections to another port of the node, and resets the others.
    pub(crate) fn redirect_to(&self, port: u16) {
        *self.shared.upstream.lock().unwrap() = (NODE, port).into();
        self.reset(Vec::new());
    }

    /// Injects nothing any more, and leads to the API server again.
    pub(crate) fn stop_injection(&self) {
        self.clear();
        self.change(|injection, _| injection.reset_after.clear());
        let server = (NODE, API_SERVER).into();
        if std::mem::replace(&mut *self.shared.upstream.lock().unwrap(), server) != server {
            self.reset(Vec::new());
        }
    }

    fn change(&self, change: impl FnOnce(&mut Injection, u64)) {
        let newest = self.shared.counts.connections.load(Relaxed);
        self.shared.injection.send_modify(|injection| change(injection, newest));
    }
}

async fn serve(mut client: TcpStream, shared: Arc<Shared>) {
    let counts = &shared.counts;
    let number = counts.connections.fetch_add(1, Relaxed) + 1;
    counts.open.fetch_add(1, Relaxed);
    let upstream = *shared.upstream.lock().unwrap();
    if let Ok(mut server) = TcpStream::connect(upstream).await {
        if pass(&mut client, &mut server, number, &shared).await == Ended::Reset {
            counts.reset.fetch_add(1, Relaxed);
            let _ = client.set_zero_linger();
        }
    } else {
        // As a host without the server does.
        let _ = client.set_zero_linger();
    }
    counts.open.fetch_sub(1, Relaxed);
}

#[derive(PartialEq)]
enum Ended {
    Closed,
    Reset,
}

/// Passes bytes on both ways until the connection ends or is to be reset.
async fn pass(
    client: &mut TcpStream,
    server: &mut TcpStream,
    number: u64,
    shared: &Shared,
) -> Ended {
    let mut injection = shared.injection.subscribe();
    let mut left = None;
    shared.injection.send_if_modified(|injection| {
        left = (!injection.reset_after.is_empty()).then(|| injection.reset_after.remove(0));
        false
    });
    let left = AtomicU64::new(left.unwrap_or(u64::MAX));
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let up = async {
        let mut closing = shared.injection.subscribe();
        let half_closed = closing.wait_for(|injection| injection.half_closed_to >= number);
        tokio::select! {
            ended = copy(&mut from_client, &mut to_server, (number, shared), &left) => {
                if ended == Ended::Reset { return Ended::Reset }
            }
            _ = half_closed => { shared.counts.half_closed.fetch_add(1, Relaxed); }
        }
        let _ = to_server.shutdown().await;
        Ended::Closed
    };
    let down = async {
        let ended = copy(&mut from_server, &mut to_client, (number, shared), &left).await;
        let _ = to_client.shutdown().await;
        ended
    };
    let both = async {
        tokio::pin!(up, down);
        tokio::select! {
            ended = &mut up => if ended == Ended::Reset { ended } else { down.await },
            ended = &mut down => if ended == Ended::Reset { ended } else { up.await },
        }
    };
    tokio::select! {
        ended = both => ended,
        _ = injection.wait_for(|injection| injection.reset_to >= number) => Ended::Reset,
    }
}

async fn copy(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    (number, shared): (u64, &Shared),
    left: &AtomicU64,
) -> Ended {
    let mut injection = shared.injection.subscribe();
    let mut chunk = vec![0; CHUNK_SIZE];
    loop {
        let length = match from.read(&mut chunk).await {
            Ok(length) if length > 0 => length,
            _ => return Ended::Closed,
        };
        let now = injection.borrow_and_update().clone();
        if now.stalled || now.silent_to >= number {
            shared.counts.withheld.fetch_add(length as u64, Relaxed);
        }
        let rate = injection
            .wait_for(|injection| !injection.stalled)
            .await
            .map(|injection| injection.rate);
        let Ok(rate) = rate else { return Ended::Closed };
        if injection.borrow().silent_to >= number {
            continue;
        }
        if let Some(rate) = rate {
            shared.counts.slow_down(length as u64, rate).await;
        }
        let allowed = left.load(Relaxed);
        let length = usize::try_from(allowed).map_or(length, |allowed| allowed.min(length));
        if to.write_all(&chunk[..length]).await.is_err() {
            return Ended::Closed;
        }
        shared.counts.bytes.fetch_add(length as u64, Relaxed);
        left.store(allowed - length as u64, Relaxed);
        if left.load(Relaxed) == 0 {
            return Ended::Reset;
        }
    }
}
