//! A strict reading of a manifest that is pushed. Registries written in Go take a key in any case, and of two
//! equal keys the last one; distribution 2.8.3 accepts some such documents and fails at each read of them.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use crate::registry::digest::is_digest;

const DOCUMENT: [&str; 8] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "subject",
    "annotations",
];
const DESCRIPTOR: [&str; 8] =
    ["mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform"];
const PLATFORM: [&str; 6] =
    ["architecture", "os", "os.version", "os.features", "variant", "features"];
/// What a manifest of an image says that it is, if it does.
const IMAGES: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
/// The same of an index.
const INDEXES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// Passes a manifest of an image or an index that each registry reads as the same thing.
///
/// # Errors
/// The bytes are something else; the message says what is wrong.
pub fn check(bytes: &[u8]) -> Result<(), serde_json::Error> {
    serde_json::from_slice(bytes).map(|Checked| ())
}

/// A document of that kind.
struct Checked;

/// What it names.
struct Descriptor;

/// What the image of an index is for.
struct Platform;

/// The digest of a descriptor.
struct Sha256;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(DocumentVisitor)
    }
}

impl<'de> Deserialize<'de> for Descriptor {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(DescriptorVisitor)
    }
}

impl<'de> Deserialize<'de> for Platform {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(PlatformVisitor)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if is_digest(&text) { Ok(Self) } else { Err(D::Error::custom("a digest is no sha256")) }
    }
}

struct DocumentVisitor;

impl<'de> Visitor<'de> for DocumentVisitor {
    type Value = Checked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a manifest or an index")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Checked, A::Error> {
        let (mut seen, mut version, mut media_type) = (Vec::new(), 0, None::<String>);
        while let Some(key) = next_key(&mut object, &DOCUMENT, &mut seen)? {
            match key {
                "schemaVersion" => version = object.next_value::<u64>()?,
                "mediaType" => media_type = Some(object.next_value()?),
                "config" | "subject" => {
                    object.next_value::<Descriptor>()?;
                }
                // Go writes null for a list without entries.
                "layers" => {
                    object.next_value::<Option<Vec<Descriptor>>>()?;
                }
                "manifests" => {
                    object.next_value::<Vec<Descriptor>>()?;
                }
                _ => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        let has = |key: &'static str| seen.contains(&key);
        let own = match (has("config"), has("layers"), has("manifests")) {
            (true, true, false) => IMAGES,
            (false, false, true) => INDEXES,
            _ => return Err(A::Error::custom("it is neither a manifest nor an index")),
        };
        if version != 2 {
            return Err(A::Error::custom("its schemaVersion is not 2"));
        }
        if media_type.is_some_and(|named| !own.contains(&named.as_str())) {
            return Err(A::Error::custom("its mediaType is not that of what it holds"));
        }
        Ok(Checked)
    }
}

struct DescriptorVisitor;

impl<'de> Visitor<'de> for DescriptorVisitor {
    type Value = Descriptor;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a descriptor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Descriptor, A::Error> {
        let mut seen = Vec::new();
        while let Some(key) = next_key(&mut object, &DESCRIPTOR, &mut seen)? {
            match key {
                "digest" => {
                    object.next_value::<Sha256>()?;
                }
                "platform" => {
                    object.next_value::<Option<Platform>>()?;
                }
                _ => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        match seen.contains(&"digest") {
            true => Ok(Descriptor),
            false => Err(A::Error::custom("a descriptor has no digest")),
        }
    }
}

struct PlatformVisitor;

impl<'de> Visitor<'de> for PlatformVisitor {
    type Value = Platform;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a platform")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Platform, A::Error> {
        let mut seen = Vec::new();
        while next_key(&mut object, &PLATFORM, &mut seen)?.is_some() {
            object.next_value::<IgnoredAny>()?;
        }
        Ok(Platform)
    }
}

/// The next key of an object: one of the `known`, in their case, and none that was `seen`.
fn next_key<'de, A: MapAccess<'de>>(
    object: &mut A,
    known: &[&'static str],
    seen: &mut Vec<&'static str>,
) -> Result<Option<&'static str>, A::Error> {
    let Some(key) = object.next_key::<String>()? else { return Ok(None) };
    let Some(key) = known.iter().copied().find(|known| *known == key) else {
        return Err(A::Error::custom(format_args!("it has a key {key:?}, which no manifest has")));
    };
    if seen.contains(&key) {
        return Err(A::Error::custom(format_args!("it has the key {key} twice")));
    }
    seen.push(key);
    Ok(Some(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::client::fake::descriptor;

    fn blob() -> String {
        descriptor("a/b", b"{}", "")
    }

    fn passes(manifest: &str) -> bool {
        check(manifest.as_bytes()).is_ok()
    }

    #[test]
    fn what_builders_push_passes() {
        let blob = blob();
        let layer = descriptor(
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            b"layer",
            r#","urls":["https://a.example/b"],"annotations":{"Key":"a","key":"b"}"#,
        );
        let platform = r#"{"architecture":"arm64","os":"linux","os.version":"1","variant":"v8"}"#;
        let entry = descriptor(IMAGES[0], b"image", &format!(r#","platform":{platform}"#));
        let [(oci, docker), (index, list)] = [IMAGES, INDEXES].map(|[one, other]| (one, other));
        for manifest in [
            // Kaniko, of images and of cached layers.
            format!(
                r#"{{"schemaVersion":2,"mediaType":"{docker}","config":{blob},"layers":[{layer}]}}"#
            ),
            format!(
                r#"{{"schemaVersion":2,"mediaType":"{docker}","config":{blob},"layers":null}}"#
            ),
            // BuildKit, with an image and an index.
            format!(
                r#"{{
                  "schemaVersion": 2,
                  "mediaType": "{oci}",
                  "config": {blob},
                  "layers": [{layer}, {blob}],
                  "annotations": {{"org.opencontainers.image.created": "now"}}
                }}"#
            ),
            format!(r#"{{"schemaVersion":2,"mediaType":"{index}","manifests":[{entry}]}}"#),
            format!(r#"{{"schemaVersion":2,"mediaType":"{list}","manifests":[{entry}]}}"#),
            // Without what OCI lets be left out, and with what it has beside.
            format!(r#"{{"schemaVersion":2,"config":{blob},"layers":[]}}"#),
            format!(
                r#"{{"schemaVersion":2,"artifactType":"a/b","config":{blob},"layers":[],"subject":{blob}}}"#
            ),
        ] {
            assert!(check(manifest.as_bytes()).is_ok(), "{manifest}");
        }
    }

    #[test]
    fn what_a_registry_fails_to_read_is_refused() {
        let blob = blob();
        let begin = format!(r#"{{"schemaVersion":2,"config":{blob},"layers":[]"#);
        assert!(passes(&format!("{begin}}}")));
        for more in [
            // It is accepted as an image, and read as an index.
            r#""manifests":5,"manifests":null"#,
            r#""Manifests":5,"manifests":null"#,
            r#""manifests":null"#,
            r#""Manifests":5"#,
            "\"manife\u{17f}ts\":5",
            r#""manife\u0073ts":[]"#,
            r#""signatures":[]"#,
            r#""schemaVersion":2"#,
            r#""layers":[]"#,
            r#""mediaType":"text/html""#,
            r#""mediaType":null"#,
            r#""subject":null"#,
            r#""mediaType":"application/vnd.oci.image.index.v1+json""#,
        ] {
            assert!(!passes(&format!("{begin},{more}}}")), "{more}");
        }
    }

    #[test]
    fn what_is_no_whole_manifest_is_refused() {
        let blob = blob();
        for manifest in [
            String::new(),
            "{}".to_owned(),
            "[2]".to_owned(),
            format!(r#"{{"schemaVersion":2,"config":{blob}}}"#),
            format!(r#"{{"schemaVersion":2,"layers":[{blob}]}}"#),
            format!(r#"{{"schemaVersion":1,"config":{blob},"layers":[]}}"#),
            format!(r#"{{"config":{blob},"layers":[]}}"#),
            r#"{"schemaVersion":2,"config":null,"layers":[]}"#.to_owned(),
            format!(r#"{{"schemaVersion":2,"config":{blob},"layers":[]}}{{}}"#),
            r#"{"schemaVersion":2,"manifests":null}"#.to_owned(),
            format!(r#"{{"schemaVersion":2,"manifests":{blob}}}"#),
        ] {
            assert!(!passes(&manifest), "{manifest}");
        }
    }

    #[test]
    fn a_descriptor_has_each_key_once_and_in_its_case() {
        let index = |entry: &str| format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#);
        assert!(passes(&index(&blob())));
        for more in [
            r#","Digest":"x""#,
            r#","size":1"#,
            r#","digest":"sha256:0""#,
            r#","platform":{"OS":"linux"}"#,
            r#","platform":{"os":"linux","os":5}"#,
            r#","platform":5"#,
        ] {
            assert!(!passes(&index(&descriptor("a/b", b"{}", more))), "{more}");
        }
        for entry in ["{}", "null", r#"{"digest":"sha256:0"}"#] {
            assert!(!passes(&index(entry)), "{entry}");
        }
    }
}
