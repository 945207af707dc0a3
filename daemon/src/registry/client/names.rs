//! Names of hosts become addresses: a workflow chooses whose.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

/// Lookups at the same time. The system's resolver keeps a thread each, for as long as a name server is silent,
/// whether a request still waits for it or not.
const LOOKUPS: usize = 8;

static SLOTS: Semaphore = Semaphore::const_new(LOOKUPS);

/// The addresses of a host, without a port.
///
/// # Errors
/// What the system's resolver says.
pub(super) async fn lookup(host: &str) -> io::Result<impl Iterator<Item = SocketAddr> + use<>> {
    let host = host.to_owned();
    on_slot(&SLOTS, move || (host.as_str(), 0).to_socket_addrs()).await?
}

/// Runs `work` on a thread that holds a slot to its end: a request that is given up leaves it at work.
async fn on_slot<T: Send + 'static>(
    slots: &'static Semaphore,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let slot = slots.acquire().await.map_err(io::Error::other)?;
    let work = move || {
        let _slot = slot;
        work()
    };
    Ok(tokio::task::spawn_blocking(work).await?)
}

/// Resolves the names of registries.
#[derive(Debug)]
pub(super) struct BoundedResolver;

impl Resolve for BoundedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Addrs = Box::new(lookup(name.as_str()).await?);
            Ok(found)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_lookup_that_is_given_up_keeps_its_slot() {
        static ONE: Semaphore = Semaphore::const_new(1);
        let (answer, silent) = mpsc::channel::<()>();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let given_up = tokio::spawn(on_slot(&ONE, move || {
            let _ = begun.send(());
            let _ = silent.recv();
        }));
        has_begun.await.unwrap();
        given_up.abort();
        assert!(given_up.await.unwrap_err().is_cancelled());
        assert_eq!(ONE.available_permits(), 0);
        // The name server answers at last.
        drop(answer);
        on_slot(&ONE, || ()).await.unwrap();
    }

    #[tokio::test]
    async fn a_name_is_looked_up() {
        let found: Vec<_> = lookup("localhost").await.unwrap().collect();
        assert!(found.iter().all(|address| address.ip().is_loopback()) && !found.is_empty());
    }
}
