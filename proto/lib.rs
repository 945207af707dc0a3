//! The gRPC APIs of hookd and of stepd, its agent in job pods: messages, clients and servers,
//! generated from `proto/`.
//!
//! The `.proto` files carry the documentation; this crate compiles them, and has in [`transport`]
//! what both ends of a connection must agree on. The messages that mirror the runner's JSON
//! ([`v1::ContainerSpec`]) also implement [`serde::Deserialize`] for it.

mod bounded;
pub mod transport;

pub use bounded::MOST_FIELDS;

/// Version 1 of hookd's API.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v1 {
    tonic::include_proto!("hookd.v1");

    /// The encoded `FileDescriptorSet` of `hookd.v1`, for server reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}

/// stepd, the agent in job pods.
pub mod stepd {
    /// Version 1 of its API.
    #[allow(missing_docs, unreachable_pub, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("stepd.v1");
    }
}

/// The part of OpenTelemetry's protocol (`opentelemetry.proto`) that brings spans to a collector.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod otlp {
    pub mod collector {
        pub mod trace {
            pub mod v1 {
                tonic::include_proto!("opentelemetry.proto.collector.trace.v1");
            }
        }
    }
    pub mod common {
        pub mod v1 {
            tonic::include_proto!("opentelemetry.proto.common.v1");
        }
    }
    pub mod resource {
        pub mod v1 {
            tonic::include_proto!("opentelemetry.proto.resource.v1");
        }
    }
    pub mod trace {
        pub mod v1 {
            tonic::include_proto!("opentelemetry.proto.trace.v1");
        }
    }
}

/// Reads `null` as the type's default: the runner writes absent values as `null`.
fn null_as_default<'de, D, T>(input: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + serde::Deserialize<'de>,
{
    <Option<T> as serde::Deserialize>::deserialize(input).map(Option::unwrap_or_default)
}
