//! The log, on standard error: a line an event, as text or as JSON.
//!
//! Messages and fields may have what a job has chosen: neither format lets it begin a line of its own, or
//! speak to a terminal.

use std::fmt::{self, Write};
use std::io;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::{MakeExt, RecordFields};
use tracing_subscriber::filter::Directive;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{
    FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter, layer as to_writer,
};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::metrics::TRACE_TARGET;
use crate::traces;

/// What is logged. kube reports each failed connection as an error, also while hookd waits for the API server.
pub const DEFAULT: &str = "info,kube_client=off";
/// The setting; the supervisor and the other roles read it as the daemon does.
const FORMAT: &str = "HOOKD_LOG_FORMAT";

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

/// Begins to log, with the settings in the environment; `default` stands for HOOKD_LOG. With `traces` spans
/// are made of calls, too.
pub fn start(default: &str, traces: bool) {
    let filter = EnvFilter::try_from_env("HOOKD_LOG").unwrap_or_else(|_| default.into());
    let set = std::env::var(FORMAT).unwrap_or_default();
    let format = format(&set);
    let subscriber = subscriber(format.unwrap_or(Format::Text), filter, io::stderr, traces);
    // There is one already in no role of hookd.
    let _ = tracing::subscriber::set_global_default(subscriber);
    if format.is_none() {
        tracing::warn!("{FORMAT} is {set:?}, neither text nor json: the log is text");
    }
}

fn format(set: &str) -> Option<Format> {
    match set.trim().to_ascii_lowercase().as_str() {
        "" | "text" => Some(Format::Text),
        "json" => Some(Format::Json),
        _ => None,
    }
}

fn subscriber(
    format: Format,
    filter: EnvFilter,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
    traces: bool,
) -> Box<dyn Subscriber + Send + Sync> {
    // The events for traces are never lines of the log.
    let filter = match format!("{TRACE_TARGET}=off").parse::<Directive>() {
        Ok(none) => filter.add_directive(none),
        Err(_) => filter,
    };
    if traces {
        let lines = lines(format, writer).with_filter(filter);
        return Box::new(Registry::default().with(lines).with(traces::layer()));
    }
    Box::new(Registry::default().with(filter).with(lines(format, writer)))
}

/// Writes lines.
fn lines<S: Subscriber + for<'a> LookupSpan<'a>>(
    format: Format,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
) -> Box<dyn Layer<S> + Send + Sync> {
    let lines = to_writer().with_writer(writer).with_ansi(false);
    match format {
        Format::Text => Box::new(lines.fmt_fields(debug_fn(text).delimited(" "))),
        Format::Json => Box::new(lines.fmt_fields(Json).event_format(Json)),
    }
}

/// A field of a line of text.
fn text(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    if field.name() != "message" {
        write!(writer, "{}=", field.name())?;
    }
    write!(Escaped(writer), "{value:?}")
}

/// True for what ends a line, speaks to a terminal or turns the direction of a text.
pub fn is_hidden(letter: char) -> bool {
    let turns = matches!(letter, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}');
    letter.is_control() || turns || matches!(letter, '\u{2066}'..='\u{2069}')
}

/// Escapes what is hidden: in a value that shows itself plainly, as a path does, and in every message.
struct Escaped<'w, 'writer>(&'w mut Writer<'writer>);

impl Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(is_hidden) {
            match part.chars().next_back().filter(|last| is_hidden(*last)) {
                None => self.0.write_str(part)?,
                Some(last) => {
                    self.0.write_str(&part[..part.len() - last.len_utf8()])?;
                    write!(self.0, "{}", last.escape_default())?;
                }
            }
        }
        Ok(())
    }
}

/// A line is an object: `timestamp`, `level`, `target`, `message`, what is known of the call, and in
/// `fields` what belongs to the line alone.
#[derive(Clone, Copy, Debug)]
struct Json;

/// Members of an object, each with a comma before it.
#[derive(Default)]
struct Members {
    text: String,
    message: Option<String>,
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl Members {
    fn add(&mut self, field: &Field, json: impl fmt::Display) {
        // To a String it cannot fail.
        let _ = write!(self.text, ",{}:{json}", quoted(field.name()));
    }
}

impl Visit for Members {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = Some(text);
        } else {
            self.add(field, quoted(&text));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, quoted(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }
}

impl<'writer> FormatFields<'writer> for Json {
    fn format_fields<R: RecordFields>(
        &self,
        mut writer: Writer<'writer>,
        fields: R,
    ) -> fmt::Result {
        let mut members = Members::default();
        fields.record(&mut members);
        writer.write_str(&members.text)
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> FormatEvent<S, Json> for Json {
    fn format_event(
        &self,
        context: &FmtContext<'_, S, Json>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut members = Members::default();
        event.record(&mut members);
        writer.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut writer)?;
        let metadata = event.metadata();
        let (level, target) = (metadata.level(), quoted(metadata.target()));
        let message = quoted(&members.message.unwrap_or_default());
        write!(writer, "\",\"level\":\"{level}\",\"target\":{target},\"message\":{message}")?;
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(fields) = span.extensions().get::<FormattedFields<Self>>() {
                writer.write_str(&fields.fields)?;
            }
        }
        if let Some(fields) = members.text.strip_prefix(',') {
            write!(writer, ",\"fields\":{{{fields}}}")?;
        }
        writeln!(writer, "}}")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    const HOSTILE: &str = "a\"b\\ \n{\"level\":\"ERROR\"}\r\u{1b}[31m\u{0}\u{7f}";

    /// What is logged meanwhile.
    fn logged(format: Format, work: impl FnOnce()) -> String {
        logged_with(format, "info", false, work)
    }

    fn logged_with(format: Format, filter: &str, traces: bool, work: impl FnOnce()) -> String {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::new(SharedWriter(bytes.clone()));
        let subscriber = subscriber(format, filter.into(), writer, traces);
        tracing::subscriber::with_default(subscriber, work);
        let bytes = bytes.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    struct SharedWriter(Arc<Mutex<Vec<u8>>>);

    impl io::Write for &SharedWriter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log_hostile() {
        let nothing = None::<&str>;
        let span = tracing::error_span!("call", step = "s1", github.job = HOSTILE, x = nothing);
        span.in_scope(|| {
            tracing::warn!(job = HOSTILE, number = 7, is = true, path = %HOSTILE, "it failed");
        });
    }

    #[test]
    fn a_line_of_json_has_the_call_and_its_own_fields() {
        let text = logged(Format::Json, log_hostile);
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        let stamp: jiff::Timestamp = line["timestamp"].as_str().unwrap().parse().unwrap();
        assert!(stamp > jiff::Timestamp::UNIX_EPOCH);
        let fields = serde_json::json!({"job": HOSTILE, "number": 7, "is": true, "path": HOSTILE});
        for (name, value) in [
            ("level", "WARN".into()),
            ("target", "hookd::logs::tests".into()),
            ("message", "it failed".into()),
            ("step", "s1".into()),
            ("github.job", HOSTILE.into()),
            ("fields", fields),
        ] {
            assert_eq!(line[name], value, "{name} in {text}");
        }
        assert_eq!(line.as_object().unwrap().len(), 7, "{text}");
    }

    #[test]
    fn a_message_that_a_job_has_chosen_stays_one_line_of_json() {
        let text = logged(Format::Json, || tracing::warn!("{HOSTILE}"));
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["message"], &line["level"]), (&HOSTILE.into(), &"WARN".into()));
        assert_eq!(text.matches('\n').count(), 1);
    }

    #[test]
    fn a_value_of_the_call_does_not_break_a_line_of_text() {
        let text = logged(Format::Text, log_hostile);
        assert_eq!(text.matches(['\n', '\r', '\u{1b}']).count(), 1, "{text:?}");
        assert!(text.contains("WARN call{step=\"s1\" github.job="), "{text}");
        let own = "it failed job=\"a\\\"b\\\\ \\n{\\\"level\\\"";
        assert!(text.contains(own) && text.contains(" number=7 is=true path=a\"b"), "{text}");
    }

    #[test]
    fn a_message_that_a_job_has_chosen_stays_one_line_of_text() {
        let text = logged(Format::Text, || tracing::warn!("{HOSTILE}\u{9b}2\u{2028}\u{202e}"));
        assert_eq!(text.matches(is_hidden).count(), 1, "{text:?}");
        let end = "\"ERROR\"}\\r\\u{1b}[31m\\u{0}\\u{7f}\\u{9b}2\\u{2028}\\u{202e}\n";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn what_is_told_for_traces_is_in_no_log() {
        use crate::metrics::{Build, Phase, metrics};
        for (traces, format) in [(false, Format::Text), (true, Format::Text), (true, Format::Json)]
        {
            let all = logged_with(format, "trace,hookd_trace=trace", traces, || {
                tracing::error_span!("call", step = "s1").in_scope(|| {
                    tracing::trace_span!(target: TRACE_TARGET, "image").in_scope(|| {
                        metrics().took_until(
                            Phase::Build,
                            std::time::Duration::ZERO,
                            std::time::Duration::ZERO,
                        );
                        metrics().built(Build::Built);
                        tracing::debug!("built");
                    });
                });
            });
            assert_eq!(all.matches('\n').count(), 1, "{all}");
            assert!(all.contains("built") && all.contains("s1") && !all.contains("image"), "{all}");
            let none = logged_with(format, "off", traces, || tracing::error!("x"));
            assert_eq!(none, "");
        }
    }

    #[test]
    fn the_format_is_text_unless_it_is_json() {
        assert_eq!(
            [format(""), format("text"), format(" JSON ")],
            [Some(Format::Text), Some(Format::Text), Some(Format::Json)]
        );
        assert_eq!(format("yaml"), None);
    }
}
