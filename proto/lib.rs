//! The gRPC API of hookd: messages, client and server, generated from `proto/hookd/v1`.
//!
//! The `.proto` files carry the documentation; this crate only compiles them. The messages that
//! mirror the runner's JSON ([`v1::ContainerSpec`]) also implement [`serde::Deserialize`] for it.

/// Version 1 of the API.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v1 {
    tonic::include_proto!("hookd.v1");

    /// The encoded `FileDescriptorSet` of `hookd.v1`, for server reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}

/// Reads `null` as the type's default: the runner writes absent values as `null`.
fn null_as_default<'de, D, T>(input: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + serde::Deserialize<'de>,
{
    <Option<T> as serde::Deserialize>::deserialize(input).map(Option::unwrap_or_default)
}
