//! Facts about attachments, against an API server at the other end of a pipe.

use tokio::io::DuplexStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;

const SUCCESS: &str = r#"{"kind":"Status","status":"Success"}"#;
const FAILURE: &str = r#"{"kind":"Status","status":"Failure","message":"container not running"}"#;

/// What the other end does once it has read so many messages.
#[derive(Clone, Copy, Debug)]
enum Then {
    Say(&'static str),
    Close,
    Vanish,
    Nothing,
}

type Socket = WebSocketStream<DuplexStream>;

async fn pair() -> (Socket, Socket) {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let client = WebSocketStream::from_raw_socket(ours, Role::Client, None).await;
    (client, WebSocketStream::from_raw_socket(theirs, Role::Server, None).await)
}

/// Sends three chunks to an end that reads `count` messages and then does `then`. Returns what it read,
/// and whether the delivery counts as confirmed.
async fn delivered(count: usize, then: Then) -> (Vec<u8>, Result<(), Undelivered>) {
    let (client, mut server) = pair().await;
    let (chunks, input) = mpsc::channel(8);
    for chunk in [&b"one"[..], b"two", b"three"] {
        chunks.send(chunk.to_vec()).await.unwrap();
    }
    drop(chunks);
    let other_end = tokio::spawn(async move {
        server.send(Message::binary(vec![ERROR])).await.unwrap();
        let mut read = Vec::new();
        for _ in 0..count {
            let message = server.next().await.unwrap().unwrap().into_data();
            if message.first() == Some(&STDIN) {
                read.extend_from_slice(&message[1..]);
            }
        }
        match then {
            Then::Say(status) => {
                let message = [&[ERROR], status.as_bytes()].concat();
                server.send(Message::binary(message)).await.unwrap();
            }
            Then::Close => server.close(None).await.unwrap(),
            Then::Vanish => return (read, None),
            Then::Nothing => {}
        }
        (read, Some(server))
    });
    let (sender, receiver) = client.split();
    let outcome = deliver(sender, receiver, input).await;
    let (read, _open) = other_end.await.unwrap();
    (read, outcome)
}

#[tokio::test(start_paused = true)]
async fn only_a_success_after_the_end_of_the_input_confirms_it() {
    // Three chunks and the end of standard input.
    let (read, outcome) = delivered(4, Then::Say(SUCCESS)).await;
    assert_eq!(read, b"onetwothree");
    outcome.unwrap();
    for then in [Then::Say(FAILURE), Then::Say("no JSON"), Then::Close, Then::Vanish, Then::Nothing]
    {
        let (_, outcome) = delivered(4, then).await;
        let error = outcome.expect_err("it was not confirmed");
        let expected = match then {
            Then::Say(FAILURE) => {
                matches!(&error, Undelivered::Failed(why) if why == "container not running")
            }
            Then::Say(_) => matches!(&error, Undelivered::Failed(why) if why == "no JSON"),
            Then::Close => matches!(error, Undelivered::Closed),
            Then::Nothing => matches!(error, Undelivered::Unconfirmed),
            Then::Vanish => matches!(error, Undelivered::Connection(_)),
        };
        assert!(expected, "{then:?}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attachment_that_ends_before_its_input_is_not_confirmed() {
    for then in [Then::Say(SUCCESS), Then::Say(FAILURE), Then::Close, Then::Vanish] {
        let (client, mut server) = pair().await;
        let (chunks, input) = mpsc::channel(8);
        let other_end = tokio::spawn(async move {
            server.next().await.unwrap().unwrap();
            match then {
                Then::Say(status) => {
                    let message = [&[ERROR], status.as_bytes()].concat();
                    server.send(Message::binary(message)).await.unwrap();
                }
                Then::Close => server.close(None).await.unwrap(),
                _ => return None,
            }
            Some(server)
        });
        chunks.send(b"one".to_vec()).await.unwrap();
        let (sender, receiver) = client.split();
        // More is to come: the sender of chunks stays.
        let outcome = deliver(sender, receiver, input).await;
        drop(chunks);
        assert!(outcome.is_err(), "{then:?}");
        other_end.await.unwrap();
    }
}

#[tokio::test]
async fn an_empty_message_of_the_error_channel_is_not_the_end() {
    let status = [&[ERROR], SUCCESS.as_bytes()].concat();
    let messages = [Message::binary(vec![ERROR]), Message::binary(status)];
    let mut messages = futures::stream::iter(messages.map(Ok));
    assert!(end_of(&mut messages).await.is_ok());
    assert!(messages.next().await.is_none(), "the end came before the Status");
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_no_end() {
    let mut messages = futures::stream::iter([Ok(Message::binary(vec![ERROR]))]);
    let end = end_of(&mut messages).await;
    assert!(matches!(end, Err(Undelivered::Connection(WsError::ConnectionClosed))));
}

#[tokio::test(start_paused = true)]
async fn an_attachment_that_may_have_begun_is_not_begun_again() {
    let answers = [(500, true), (503, true), (429, true), (502, false), (504, false), (404, false)];
    for (code, again) in answers {
        let status = Status::failure("", "x").with_code(code).boxed();
        assert_eq!(never_began(&kube::Error::Api(status)), again, "{code}");
    }
    // The request went out, and its answer did not come: it stood for 417 bytes of a half-open
    // connection, and a second attachment found the standard input closed and was answered "Success".
    let lost = [
        kube::Error::Service("no answer within 15 s".into()),
        kube::Error::Service(Box::new(tower::timeout::error::Elapsed::new())),
        kube::Error::Service(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()),
    ];
    for error in lost {
        assert!(!never_began(&error), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_takes_no_connection_is_asked_again() {
    let connector = hyper_util::client::legacy::connect::HttpConnector::new();
    let executor = hyper_util::rt::TokioExecutor::new();
    let client = hyper_util::client::legacy::Client::builder(executor)
        .build::<_, http_body_util::Full<bytes::Bytes>>(connector);
    let refused = client.get("http://127.0.0.1:1/".parse().unwrap()).await.unwrap_err();
    assert!(never_began(&kube::Error::Service(refused.into())));
}
