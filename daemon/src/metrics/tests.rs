//! The page as a scraper reads it, and what is made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

mod expressions;

fn fresh() -> &'static Metrics {
    Box::leak(Box::new(Metrics::new()))
}

/// Names of the metrics, with their kinds.
fn families(text: &str) -> BTreeMap<&str, &str> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split_once(' ')).collect()
}

#[test]
fn a_call_is_counted_once_it_is_over() {
    let metrics = fresh();
    let call = metrics.begin(Call::RunScriptStep);
    assert!(metrics.text().contains("\nhookd_calls_in_progress 1\n"));
    call.ended(Outcome::ProgramFailed, None);
    drop(metrics.begin(Call::RunScriptStep));
    let text = metrics.text();
    for line in [
        "hookd_calls_in_progress 0",
        r#"hookd_calls_total{call="run_script_step",outcome="program_failed"} 1"#,
        r#"hookd_calls_total{call="run_script_step",outcome="hookd_failed"} 1"#,
        r#"hookd_calls_total{call="prepare_job",outcome="succeeded"} 0"#,
        r#"hookd_call_duration_seconds_count{call="run_script_step"} 2"#,
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line} is not in:\n{text}");
    }
}

#[test]
fn a_request_without_an_answer_is_counted_too() {
    let metrics = fresh();
    let uri = "/api/v1/namespaces/ns/pods/x".parse().unwrap();
    metrics.ask(&Method::GET, &uri).answered(StatusCode::NOT_FOUND);
    drop(metrics.ask(&Method::GET, &uri));
    metrics.ask_registry().answered(StatusCode::PARTIAL_CONTENT);
    let text = metrics.text();
    for line in [
        r#"hookd_kubernetes_requests_total{verb="get",code="404"} 1"#,
        r#"hookd_kubernetes_requests_total{verb="get",code="none"} 1"#,
        r#"hookd_kubernetes_requests_total{verb="list",code="200"} 0"#,
        r#"hookd_registry_requests_total{code="2xx"} 1"#,
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line} is not in:\n{text}");
    }
    assert!(!text.contains(r#"verb="list",code="404""#));
}

#[test]
fn buckets_count_all_that_is_not_above_their_bound() {
    let metrics = fresh();
    for millis in [100, 101, 8_000_000] {
        metrics.took_until(Phase::Run, Duration::from_millis(millis), Duration::ZERO);
    }
    let text = metrics.text();
    for (bound, number) in [("0.1", 1), ("0.3", 2), ("1", 2), ("7200", 2), ("+Inf", 3)] {
        let name = "hookd_phase_duration_seconds_bucket";
        let line = format!("{name}{{phase=\"run\",le=\"{bound}\"}} {number}");
        assert!(text.contains(&format!("\n{line}\n")), "{line} is not in:\n{text}");
    }
    for line in ["sum{phase=\"run\"} 8000.201", "count{phase=\"run\"} 3", "count{phase=\"pull\"} 0"]
    {
        assert!(
            text.contains(&format!("\nhookd_phase_duration_seconds_{line}\n")),
            "{line}: {text}"
        );
    }
}

#[test]
fn a_page_has_few_series_and_names_as_prometheus_asks() {
    let text = fresh().text();
    let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert!((150..350).contains(&samples.len()), "{} series", samples.len());
    let distinct: BTreeSet<_> = samples.iter().filter_map(|line| line.rsplit_once(' ')).collect();
    assert_eq!(distinct.len(), samples.len());
    for (name, kind) in families(&text) {
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        assert!(name.starts_with("hookd_") || name.starts_with("process_"), "{name}");
        assert_eq!(kind == "histogram", name.ends_with("duration_seconds"), "{name}");
    }
}

#[test]
fn every_metric_and_every_label_is_documented() {
    let docs = include_str!("../../../docs/monitoring.md");
    let text = fresh().text();
    for name in families(&text).keys() {
        assert!(docs.contains(&format!("`{name}`")), "docs/monitoring.md does not name {name}");
    }
    let rows = docs.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let rows = rows.map(|(name, _)| name).filter(|name| name.contains("hookd_"));
    for name in rows.filter(|name| !name.contains(' ')) {
        assert!(families(&text).contains_key(name), "{name} is documented and does not exist");
    }
    let values = |of: &mut dyn Iterator<Item = &'static str>| of.collect::<Vec<_>>();
    for value in [
        values(&mut Call::ALL.iter().map(|one| one.value())),
        values(&mut Outcome::ALL.iter().map(|one| one.value())),
        values(&mut Phase::ALL.iter().map(|one| one.value())),
        values(&mut Build::ALL.iter().map(|one| one.value())),
        values(&mut Connection::ALL.iter().map(|one| one.value())),
    ]
    .concat()
    {
        assert!(docs.contains(&format!("`{value}`")), "docs/monitoring.md does not name {value}");
    }
}

async fn asked(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn only_a_get_of_the_page_is_answered_with_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(server::accept(listener));
    let page = asked(port, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(page.contains("content-type: text/plain; version=0.0.4"), "{page}");
    assert!(page.contains("\nhookd_build_info{version=\""), "{page}");
    for (request, status) in [
        ("GET / HTTP/1.1\r\nhost: x\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n", "405"),
        ("nothing at all\r\n\r\n", "400"),
    ] {
        let answer = asked(port, request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
    }
    let long = format!("GET /metrics HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(64 << 10));
    let answer = asked_until_closed(port, &long).await;
    assert!(!answer.contains("hookd_"), "{answer}");
    serving.abort();
}

/// As [`asked`], of a server that may close while it is still written to.
async fn asked_until_closed(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(start_paused = true)]
async fn those_who_say_nothing_make_room_for_those_who_ask() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(server::accept(listener));
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    }
    let page = asked(port, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    serving.abort();
}

/// What a test logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn lines(&self) -> Vec<String> {
        let bytes = self.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_is_taken_is_tried_again_and_told_once() {
    let (log, taken) = (Log::default(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let (writer, address) = (log.clone(), taken.local_addr().unwrap());
    let logs = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
    let _logged = tracing::subscriber::set_default(logs.finish());
    let mut listening = std::pin::pin!(server::listening(address));
    let waited = tokio::time::timeout(Duration::from_secs(600), &mut listening).await;
    assert!(waited.is_err(), "{waited:?}");
    let said = log.lines();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains(&format!("metrics cannot be served at {address}")), "{said:?}");
    drop(taken);
    let listener = tokio::time::timeout(Duration::from_secs(61), listening).await.unwrap();
    assert_eq!(listener.local_addr().unwrap(), address);
    let said = log.lines();
    assert!(said.len() == 2 && said[1].contains("after all"), "{said:?}");
}
