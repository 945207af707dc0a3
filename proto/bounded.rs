//! The codec of `hookd.v1`: protobuf, with a limit to the number of fields of a message.
//!
//! A field of two bytes on the wire is a string of some fifty in memory, and an entry of a map is
//! twice that. So a limit to the bytes of a message is none to what it takes; the fields are counted
//! before anything is made of them.

use prost::Message;
use prost::bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// Strings, bytes, messages and entries of maps that a message may have: arguments, variables and
/// mounts of a step. A receiver reports more of them as `RESOURCE_EXHAUSTED`.
pub const MOST_FIELDS: usize = 32 << 10;
/// Levels of messages in which fields repeat: a call, its start, a container.
const LEVELS: usize = 3;

/// Encodes and decodes the messages of a call.
#[derive(Debug)]
pub(crate) struct BoundedCodec<T, U>(ProstCodec<T, U>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(ProstCodec::new())
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        self.0.encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(self.0.decoder())
    }
}

/// Decodes messages of [`MOST_FIELDS`] fields at most.
#[derive(Debug)]
pub(crate) struct BoundedDecoder<U>(ProstDecoder<U>);

impl<U: Message + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // One piece has the whole message.
        let mut left = MOST_FIELDS;
        if count(buffer.chunk(), LEVELS, &mut left).is_none() {
            let message = format!("the message has more than {MOST_FIELDS} fields");
            return Err(Status::resource_exhausted(message));
        }
        self.0.decode(buffer)
    }
}

/// Takes the fields in `bytes` from `left`; none: there are more. What is malformed is passed over:
/// the decoder reports it.
fn count(mut bytes: &[u8], levels: usize, left: &mut usize) -> Option<()> {
    while let Ok((_, wire)) = decode_key(&mut bytes) {
        let size = match wire {
            WireType::Varint => decode_varint(&mut bytes).map(|_| 0),
            WireType::SixtyFourBit => Ok(8),
            WireType::ThirtyTwoBit => Ok(4),
            // No message has groups; what is in one counts as if it stood beside it.
            WireType::StartGroup | WireType::EndGroup => Ok(0),
            WireType::LengthDelimited => decode_varint(&mut bytes),
        };
        let size = size.ok().and_then(|size| usize::try_from(size).ok());
        let Some((field, rest)) = size.and_then(|size| bytes.split_at_checked(size)) else { break };
        if wire == WireType::LengthDelimited {
            *left = left.checked_sub(1)?;
            if levels > 1 {
                count(field, levels - 1, left)?;
            }
        }
        bytes = rest;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;

    fn fields(container: v1::ContainerSpec) -> Option<usize> {
        let start = v1::RunContainerStepStart { container: Some(container), ..Default::default() };
        let message = Some(v1::run_container_step_request::Message::Start(start));
        let bytes = v1::RunContainerStepRequest { message }.encode_to_vec();
        let mut left = MOST_FIELDS;
        count(&bytes, LEVELS, &mut left).map(|()| MOST_FIELDS - left)
    }

    #[test]
    fn what_takes_memory_is_counted_however_short_it_is() {
        let spec = v1::ContainerSpec::default;
        assert_eq!(fields(spec()), Some(2));
        let mounts = vec![v1::Mount { source_volume_path: "/a".into(), ..Default::default() }; 7];
        assert_eq!(fields(v1::ContainerSpec { system_mount_volumes: mounts, ..spec() }), Some(9));
        let variables = (0..5).map(|name| (name.to_string(), "x".repeat(1 << 20))).collect();
        assert_eq!(
            fields(v1::ContainerSpec { environment_variables: variables, ..spec() }),
            Some(7)
        );
        // Their bytes would be fields, were they a message.
        let text = v1::ContainerSpec { image: "\n\0".repeat(MOST_FIELDS), ..spec() };
        assert_eq!(fields(text), Some(3));
        let arguments = |number| vec![String::new(); number];
        let most = v1::ContainerSpec { entry_point_args: arguments(MOST_FIELDS - 2), ..spec() };
        assert_eq!(fields(most), Some(MOST_FIELDS));
        let more = v1::ContainerSpec { entry_point_args: arguments(MOST_FIELDS - 1), ..spec() };
        assert_eq!(fields(more), None);
    }

    #[test]
    fn a_group_hides_no_fields() {
        // An unknown group, opened and closed, before the fields of a container.
        let container = [&b"\x7b\x7c"[..], &b"\x1a\0".repeat(MOST_FIELDS)].concat();
        let mut left = MOST_FIELDS;
        assert_eq!(count(&container, 1, &mut left), Some(()));
        assert_eq!(left, 0);
        assert_eq!(count(b"\x1a\0", 1, &mut left), None);
    }
}
