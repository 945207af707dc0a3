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
    let slot = SLOTS.acquire().await.map_err(io::Error::other)?;
    let host = host.to_owned();
    let lookup = tokio::task::spawn_blocking(move || {
        // Held by the thread: a request that is given up leaves it at work.
        let _slot = slot;
        (host.as_str(), 0).to_socket_addrs()
    });
    lookup.await?
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
    use super::*;

    #[tokio::test]
    async fn a_name_is_looked_up_and_gives_its_slot_back() {
        // More than there are slots.
        for _ in 0..=LOOKUPS {
            let found: Vec<_> = lookup("localhost").await.unwrap().collect();
            assert!(found.iter().all(|address| address.ip().is_loopback()) && !found.is_empty());
        }
    }
}
