//! The tunnel to the agent, full in both directions.

use std::time::{Duration, Instant};

use hookd::cluster::{client, tunnel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::RunnerPod;

/// How long both directions are kept full.
const TIME: Duration = Duration::from_secs(60);
/// A direction that stands still for so long does so for ever.
const STILL: Duration = Duration::from_secs(15);

/// A block that no other place of the stream has.
fn block(number: u64) -> Vec<u8> {
    number.to_be_bytes().repeat(4096)
}

#[test]
fn a_tunnel_that_is_full_both_ways_for_a_minute_stands_still_nowhere() {
    let runner = RunnerPod::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let blocks = runtime.block_on(async {
        let (client, _) = client::connect().await.unwrap();
        let echo = tunnel::open(&client, &runner.namespace, ("runner", "runner"), &["cat"]);
        let (mut reader, mut writer) = tokio::io::split(echo.await.unwrap());
        let began = Instant::now();
        let (wanted, told) = tokio::sync::watch::channel(u64::MAX);
        let read = async {
            let mut number = 0;
            while number < *told.borrow() {
                let mut found = block(0);
                let read = tokio::time::timeout(STILL, reader.read_exact(&mut found));
                read.await.expect("the way from the program stands still").unwrap();
                assert!(found == block(number), "block {number} is another one");
                number += 1;
            }
            number
        };
        let write = async {
            let mut number = 0;
            while began.elapsed() < TIME {
                let full = block(number);
                let written = tokio::time::timeout(STILL, writer.write_all(&full));
                written.await.expect("the way to the program stands still").unwrap();
                number += 1;
            }
            // One more, for a reader that waits already.
            wanted.send_replace(number + 1);
            writer.write_all(&block(number)).await.unwrap();
        };
        tokio::join!(write, read).1
    });
    assert!(blocks > 1000, "{blocks} blocks of 32 KiB in a minute");
}
