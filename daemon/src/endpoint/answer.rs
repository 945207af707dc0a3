//! Answers of the endpoint: errors in the form of the distribution API.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde::{Deserialize, Serialize};

/// What the endpoint sends.
pub(super) type Body = reqwest::Body;

/// Characters of a registry's own message that are passed on.
const MAX_MESSAGE_CHARS: usize = 500;

/// Why a request is not answered with what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// As the distribution API names it.
    pub(super) code: String,
    pub(super) message: String,
}

#[derive(Serialize, Deserialize)]
struct Errors {
    errors: Vec<OneError>,
}

#[derive(Serialize, Deserialize)]
struct OneError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detail: Option<serde_json::Value>,
}

/// Kaniko's client repeats requests with these statuses and ignores the message of the answer.
const FORGOTTEN: [u16; 7] = [408, 499, 500, 502, 503, 504, 522];
/// Stands for them: a status of the server's side that the client does not know.
const UNAVAILABLE: u16 = 530;
/// ENOSPC, as the distribution registry has it in the detail of an error.
const NO_SPACE: i64 = 28;

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into() }
    }

    /// The build may not do this.
    pub(super) fn denied(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "DENIED", message)
    }

    /// The request is none of the API.
    pub(super) fn malformed(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "UNSUPPORTED", message)
    }

    pub(super) fn method(method: &Method) -> Self {
        let message = format!("a build may not use {method} here");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message)
    }

    pub(super) fn unknown_path(path: &str) -> Self {
        Self::denied(format!(
            "{path} is not part of this build: it may push its own image, and pull the images that \
             its Dockerfile names"
        ))
    }

    pub(super) fn unknown_upload() -> Self {
        Self::new(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "this build has no such upload")
    }

    /// The registry cannot be reached, or what it answers cannot be used.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(UNAVAILABLE).unwrap_or(StatusCode::BAD_GATEWAY);
        Self::new(status, "UNAVAILABLE", message)
    }

    /// With the message of a registry that answered with an error; `missing` is the code if it has
    /// none and answers 404.
    pub(super) fn of_registry(
        registry: &str,
        status: StatusCode,
        body: &[u8],
        missing: &str,
    ) -> Self {
        let first = serde_json::from_slice::<Errors>(body)
            .ok()
            .and_then(|errors| errors.errors.into_iter().next());
        let (code, text) = match first {
            Some(error) => (error.code, with_detail(error.message, error.detail)),
            None => (String::new(), String::from_utf8_lossy(body).into_owned()),
        };
        let known = match status.as_u16() {
            401 => "UNAUTHORIZED",
            403 => "DENIED",
            404 => missing,
            405 => "UNSUPPORTED",
            429 => "TOOMANYREQUESTS",
            _ => "UNKNOWN",
        };
        let is_code = |code: &String| {
            !code.is_empty()
                && code.len() < 64
                && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        };
        let code = Some(code).filter(is_code).unwrap_or_else(|| known.to_owned());
        let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let text: String = text.chars().filter(|one| !one.is_control()).collect();
        let text: String = text.chars().take(MAX_MESSAGE_CHARS).collect();
        let message = format!("{text} (registry {registry} answers {status})");
        let forgotten = FORGOTTEN.contains(&status.as_u16());
        let shown = if forgotten { Self::unavailable("").status } else { status };
        Self::new(shown, &code, message.trim_start())
    }

    /// Another place than the one that is to be asked next did not have it either.
    pub(super) fn after(mut self, earlier: Option<Self>) -> Self {
        if let Some(earlier) = earlier {
            self.message = format!("{}; {}", earlier.message, self.message);
        }
        self
    }

    /// The answer.
    pub(super) fn response(self) -> Response<Body> {
        let error = OneError { code: self.code, message: self.message, detail: None };
        let json = serde_json::to_vec(&Errors { errors: vec![error] }).unwrap_or_default();
        let mut response = whole(self.status, Bytes::from(json));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }
}

/// A registry whose storage fails says why in the detail alone.
fn with_detail(message: String, detail: Option<serde_json::Value>) -> String {
    use serde_json::Value;
    let error = detail.as_ref().and_then(|detail| detail.pointer("/Enclosed/Err"));
    if error.and_then(Value::as_i64) == Some(NO_SPACE) {
        return format!("{message}: no space left on device");
    }
    match detail {
        Some(Value::String(detail)) => format!("{message}: {detail}"),
        Some(Value::Object(fields)) if !fields.is_empty() => {
            format!("{message}: {}", Value::Object(fields))
        }
        _ => message,
    }
}

/// An answer that is in memory.
pub(super) fn whole(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::wrap(Full::new(body).map_err(|never| match never {})));
    *response.status_mut() = status;
    let version = HeaderValue::from_static("registry/2.0");
    response.headers_mut().insert("docker-distribution-api-version", version);
    response
}

/// An answer with these headers of the registry's, as far as clients read them.
pub(super) fn with_headers(response: &mut Response<Body>, headers: &HeaderMap) {
    for name in ["content-type", "content-length", "content-range", "accept-ranges", "range"] {
        if let Some(value) = headers.get(name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
}
