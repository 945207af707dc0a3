//! A call of BuildImage.

use std::fmt;

use serde_json::{Value, json};

use test_support::python::try_client;
use test_support::{RUNNER_ID, RunnerPod};

/// Reasons that say nothing of the Dockerfile.
const OF_THE_CLUSTER: [&str; 12] = [
    "",
    "API_UNREACHABLE",
    "CANCELLED",
    "DAEMON_CRASHED",
    "DEADLINE_EXCEEDED",
    "EVICTED",
    "INTERNAL",
    "OOM_KILLED",
    "OUTPUT_LOST",
    "POD_UNSCHEDULABLE",
    "REGISTRY_UNREACHABLE",
    "STEP_LOST",
];

/// An image that was built.
#[derive(Debug)]
pub(crate) struct Built {
    /// By digest, as the kubelet pulls it.
    pub(crate) reference: String,
    /// Kaniko's lines and, behind them, hookd's notes.
    pub(crate) log: String,
}

/// Why none was.
#[derive(Debug)]
pub(crate) struct Failure {
    /// As docs/errors.md has it; empty: not an answer of hookd.
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn is_of_the_dockerfile(&self) -> bool {
        !OF_THE_CLUSTER.contains(&self.reason.as_str())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.reason, self.message.trim())
    }
}

/// Builds the image of a Dockerfile.
pub(crate) fn image(runner: &RunnerPod, step: &str, dockerfile: &str) -> Result<Built, Failure> {
    let request = json!({"start": {"step_id": step, "dockerfile": dockerfile, "auto_ack": true}});
    let arguments = ["stream", "hookd.v1.HookService/BuildImage", &request.to_string()];
    match try_client(runner, (RUNNER_ID, RUNNER_ID), &arguments) {
        Ok(reply) => built(&reply),
        Err(message) => Err(Failure { reason: String::new(), message }),
    }
}

fn built(reply: &Value) -> Result<Built, Failure> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let events = reply["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(reference) = events.last().and_then(|last| last["result"]["reference"].as_str())
    else {
        let error = &reply["error"];
        let (code, message) = (text(&error["code"]), text(&error["message"]));
        let reason = text(&error["reason"]);
        return Err(Failure { reason, message: format!("{message} ({code})") });
    };
    let outputs = events.iter().filter_map(|event| event["event"]["output"]["data"].as_str());
    let bytes: Vec<_> = outputs.flat_map(decoded).collect();
    let mut log = String::from_utf8_lossy(&bytes).into_owned();
    for event in events {
        log = log + "\n" + event["event"]["progress"]["message"].as_str().unwrap_or_default();
    }
    Ok(Built { reference: reference.to_owned(), log })
}

/// Bytes of base64.
fn decoded(text: &str) -> Vec<u8> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for six in text.bytes().filter_map(value) {
        bits = (bits << 6 | u32::from(six)) & 0xFFFF;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xFF) as u8);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded_whatever_its_padding() {
        for (text, bytes) in [
            ("", "".as_bytes()),
            ("YQ==", b"a"),
            ("YWI=", b"ab"),
            ("YWJj", b"abc"),
            ("+/8=", &[0xFB, 0xFF]),
        ] {
            assert_eq!(decoded(text), bytes, "{text}");
        }
    }

    #[test]
    fn a_reply_has_the_image_and_a_log_with_hookds_notes() {
        let output = |data: &str| json!({"event": {"output": {"data": data}}});
        let reply = json!({"events": [
            output("b25lCnR3"),
            {"event": {"progress": {"message": "Dockerfile:1: warning: x"}}},
            output("bwo="),
            {"result": {"reference": "r@sha256:1", "digest": "sha256:1"}},
        ]});
        let Built { reference, log } = built(&reply).unwrap();
        assert_eq!(reference, "r@sha256:1");
        let lines: Vec<_> = log.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines, ["one", "two", "Dockerfile:1: warning: x"]);
        let error = json!({"error": {"code": "C", "message": "m", "reason": "BUILD_FAILED"}});
        assert_eq!(built(&error).unwrap_err().to_string(), "BUILD_FAILED: m (C)");
    }
}
