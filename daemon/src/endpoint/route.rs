//! Which request is one that the build may make: pure, from the request's head to a route.

use http::{Method, Uri, header, request::Parts};
use jiff::Timestamp;

use super::answer::Refusal;
use super::config::{AllowedImage, EndpointConfig};
use crate::registry::digest::is_digest;
use crate::registry::tags::is_tag;

/// A request that the build may make, if its content is right.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// Asks whether the endpoint speaks the API.
    Base,
    /// The push repository.
    Push(Push),
    /// The repository of cached layers, whose tags are those in the registry.
    Cache(Push),
    /// One of the repositories that images are pulled from.
    Pull { images: Vec<&'a AllowedImage>, item: Item },
}

/// A manifest or a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// By tag or digest.
    Manifest(String),
    /// By digest.
    Blob(String),
}

/// What may be done in the push repository.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Push {
    /// GET or HEAD.
    Read(Item),
    /// PUT of a manifest.
    Manifest(String),
    /// Opens an upload.
    Open,
    /// Bytes for an upload.
    Upload(u64),
    /// The end of an upload, with the blob's digest.
    Commit(u64, String),
    /// Gives an upload up.
    Cancel(u64),
}

/// The route of a request.
///
/// # Errors
/// What the build may not do.
pub(super) fn route<'a>(config: &'a EndpointConfig, head: &Parts) -> Result<Route<'a>, Refusal> {
    let path = path(config, head)?;
    if matches!(path, "/v2" | "/v2/") {
        return match head.method {
            Method::GET | Method::HEAD => Ok(Route::Base),
            _ => Err(Refusal::method(&head.method)),
        };
    }
    let rest = path.strip_prefix("/v2/").ok_or_else(|| Refusal::unknown_path(path))?;
    if let Some(rest) = rest.strip_prefix(&format!("{}/", config.push_path())) {
        let own = |tag: &str| (tag == config.tag).then(|| tag.to_owned());
        return push(head, rest, own).map(Route::Push);
    }
    let rest = match &config.key {
        None => rest,
        Some(key) => rest
            .strip_prefix(key.as_str())
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or_else(|| Refusal::unknown_path(path))?,
    };
    if let Some(cache) = &config.cache
        && let Some(rest) = rest.strip_prefix(&format!("{}/", config.keyed(&cache.path())))
    {
        let now = Timestamp::now();
        return push(head, rest, |name| cache.tag(name, now)).map(Route::Cache);
    }
    let served = |image: &&AllowedImage| {
        let rest = rest.strip_prefix(&image.path).and_then(|rest| rest.strip_prefix('/'));
        rest.is_some_and(|rest| item(rest).is_some())
    };
    let images: Vec<_> = config.images.iter().filter(served).collect();
    let Some(first) = images.first() else { return Err(Refusal::unknown_path(path)) };
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return Err(Refusal::method(&head.method));
    }
    // All of them have the same path: a longer one would leave no item.
    match item(&rest[first.path.len() + 1..]) {
        Some(item) => Ok(Route::Pull { images, item }),
        None => Err(Refusal::unknown_path(path)),
    }
}

/// The path, if it means one thing only and the request is for the endpoint.
fn path<'a>(config: &EndpointConfig, head: &'a Parts) -> Result<&'a str, Refusal> {
    let host = head.headers.get_all(header::HOST);
    let mut hosts = host.iter().map(|value| value.to_str().unwrap_or_default());
    let (first, second) = (hosts.next().unwrap_or_default(), hosts.next());
    let port = config.address.rsplit(':').next().unwrap_or_default();
    let is_own = first == config.address || first.strip_prefix("localhost:") == Some(port);
    if !is_own || second.is_some() || is_absolute(&head.uri) {
        return Err(Refusal::malformed("the request is for another host"));
    }
    let path = head.uri.path();
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':' | b'/');
    let odd = |part: &str| matches!(part, "." | "..");
    if !path.bytes().all(plain) || path.contains("//") || path.split('/').any(odd) {
        return Err(Refusal::malformed("the path holds what no name of a repository holds"));
    }
    Ok(path)
}

fn is_absolute(uri: &Uri) -> bool {
    uri.scheme().is_some() || uri.authority().is_some()
}

/// What is done in a repository that is pushed to; `tag` says which tag in the registry a name means, if the
/// build may use it.
fn push(head: &Parts, rest: &str, tag: impl Fn(&str) -> Option<String>) -> Result<Push, Refusal> {
    let unknown = || Refusal::unknown_path(rest);
    if let Some(upload) = rest.strip_prefix("blobs/uploads") {
        let id = upload.strip_prefix('/').unwrap_or_default();
        return match (&head.method, id) {
            // The query would ask for a mount from another repository.
            (&Method::POST, "") => Ok(Push::Open),
            (&Method::PATCH, id) => Ok(Push::Upload(number(id)?)),
            (&Method::PUT, id) => Ok(Push::Commit(number(id)?, digest_of(&head.uri)?)),
            (&Method::DELETE, id) => Ok(Push::Cancel(number(id)?)),
            (method, _) => Err(Refusal::method(method)),
        };
    }
    let item = match item(rest).ok_or_else(unknown)? {
        Item::Manifest(version) if !is_digest(&version) => {
            let denied = || Refusal::denied("this build may use its own tag only");
            Item::Manifest(tag(&version).ok_or_else(denied)?)
        }
        item => item,
    };
    match (&head.method, item) {
        (&Method::GET | &Method::HEAD, item) => Ok(Push::Read(item)),
        (&Method::PUT, Item::Manifest(version)) => Ok(Push::Manifest(version)),
        (method, _) => Err(Refusal::method(method)),
    }
}

fn item(rest: &str) -> Option<Item> {
    let (kind, name) = rest.split_once('/')?;
    match kind {
        "manifests" if is_tag(name) || is_digest(name) => Some(Item::Manifest(name.to_owned())),
        "blobs" if is_digest(name) => Some(Item::Blob(name.to_owned())),
        _ => None,
    }
}

fn number(id: &str) -> Result<u64, Refusal> {
    id.parse().map_err(|_| Refusal::unknown_upload())
}

/// The parameter `digest` of a query.
fn digest_of(uri: &Uri) -> Result<String, Refusal> {
    let query = uri.query().unwrap_or_default();
    let values = query.split('&').filter_map(|pair| pair.strip_prefix("digest="));
    let digests: Vec<_> = values.map(|value| value.replacen("%3A", ":", 1)).collect();
    match &digests[..] {
        [digest] if is_digest(digest) => Ok(digest.clone()),
        _ => Err(Refusal::malformed("the upload has no sha256 digest")),
    }
}
