//! Layers whose connection breaks.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::upstream::{Registry, ask, reply};
use super::{BUSYBOX, settings, started};
use crate::registry::digest::digest_of;

/// More than one piece.
fn layer() -> Vec<u8> {
    (0..300_000u32).flat_map(u32::to_le_bytes).collect()
}

/// A server of one layer, each of whose answers ends after so many bytes; what it was asked for.
async fn breaking(after: usize, parts: bool) -> (String, std::sync::Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = std::sync::Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let length = connection.read(&mut head).await.unwrap_or_default();
            let head = String::from_utf8_lossy(&head[..length]).to_ascii_lowercase();
            count.fetch_add(1, Ordering::SeqCst);
            let all = layer();
            let begin = head.split_once("range: bytes=").filter(|_| parts);
            let begin = begin
                .map_or(0, |(_, rest)| rest.split_once('-').unwrap().0.parse::<usize>().unwrap());
            let rest = &all[begin..];
            let (status, range) = match begin {
                0 => ("200 OK", String::new()),
                _ => {
                    let (last, size) = (all.len() - 1, all.len());
                    (
                        "206 Partial Content",
                        format!("content-range: bytes {begin}-{last}/{size}\r\n"),
                    )
                }
            };
            let head =
                format!("HTTP/1.1 {status}\r\n{range}content-length: {}\r\n\r\n", rest.len());
            let _ = connection.write_all(head.as_bytes()).await;
            // Of an answer without parts each is longer than the last.
            let more = if parts { after } else { after * count.load(Ordering::SeqCst) };
            let _ = connection.write_all(&rest[..more.min(rest.len())]).await;
            let _ = connection.shutdown().await;
        }
    });
    (address, asked)
}

/// An endpoint whose busybox:1 has that layer, at another registry.
async fn endpoint(blobs: String) -> String {
    let manifest = format!(r#"{{"layers":[{{"digest":"{}"}}]}}"#, digest_of(&layer()));
    let registry = Registry::of(move |_, seen| match seen.target.contains("/blobs/") {
        true => (307, vec![("location", format!("http://{blobs}/layer"))], "".into()),
        false => reply(200, manifest.clone()),
    });
    let endpoint = started(settings("r.invalid", &[&registry.await.address]), &[]).await;
    assert_eq!(ask(&endpoint, &format!("GET {BUSYBOX}/manifests/1"), b"").await.status, 200);
    endpoint
}

#[tokio::test]
async fn a_layer_goes_on_where_its_connection_broke() {
    for (after, parts, times) in [(500_000, true, 3), (700_000, false, 2)] {
        let (address, asked) = breaking(after, parts).await;
        let endpoint = endpoint(address).await;
        let got =
            ask(&endpoint, &format!("GET {BUSYBOX}/blobs/{}", digest_of(&layer())), b"").await;
        assert_eq!((got.status, got.body.len()), (200, 1_200_000));
        assert!(got.body == layer());
        assert_eq!(asked.load(Ordering::SeqCst), times);
    }
}

#[tokio::test]
async fn other_bytes_are_never_served_whole_as_a_layer() {
    let mut other = layer();
    let last = other.len() - 1;
    other[last] ^= 1;
    let expected = other.len();
    let registry = Registry::of(move |_, _| reply(200, other.clone())).await;
    let endpoint = endpoint(registry.address).await;
    let got = ask(&endpoint, &format!("GET {BUSYBOX}/blobs/{}", digest_of(&layer())), b"").await;
    assert_eq!(got.status, 200);
    assert!(got.body.len() < expected, "{} of {expected}", got.body.len());
}

#[tokio::test]
async fn a_layer_whose_rest_is_gone_breaks_off() {
    let count = AtomicUsize::new(0);
    let (address, asked) = breaking(500_000, true).await;
    let manifest = format!(r#"{{"layers":[{{"digest":"{}"}}]}}"#, digest_of(&layer()));
    let registry = Registry::of(move |_, seen| match seen.target.contains("/blobs/") {
        true if count.fetch_add(1, Ordering::SeqCst) > 0 => reply(404, ""),
        true => (307, vec![("location", format!("http://{address}/layer"))], "".into()),
        false => reply(200, manifest.clone()),
    });
    let registry = registry.await;
    let endpoint = started(settings("r.invalid", &[&registry.address]), &[]).await;
    assert_eq!(ask(&endpoint, &format!("GET {BUSYBOX}/manifests/1"), b"").await.status, 200);
    let got = ask(&endpoint, &format!("GET {BUSYBOX}/blobs/{}", digest_of(&layer())), b"").await;
    assert!(got.status == 200 && got.body.len() < 500_000, "{}", got.body.len());
    assert_eq!((asked.load(Ordering::SeqCst), registry.lines().len()), (1, 3));
}
