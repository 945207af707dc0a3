//! YAML as the runner reads it: scalars become text, mappings keep their order.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::Value;
use serde_saphyr::options::NonFiniteFloatPolicy;

/// What is wrong with a document, with its place.
pub type YamlError = Box<serde_saphyr::Error>;

/// Reads one document.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    let options = serde_saphyr::options! {
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        strict_booleans: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(Box::new)
}

/// A string, number, truth value or nothing, as the text that the runner makes of it.
#[derive(Default)]
pub(crate) struct Scalar(pub(crate) String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::of(Value::deserialize(from)?)
    }
}

impl Scalar {
    /// Of a field of a mapping; empty, if there is no such field.
    pub(crate) fn of_field<E: de::Error>(value: &Value, field: &str) -> Result<Self, E> {
        value.get(field).cloned().map_or_else(|| Ok(Self::default()), Self::of)
    }

    fn of<E: de::Error>(value: Value) -> Result<Self, E> {
        match value {
            Value::Null => Ok(Self::default()),
            Value::Bool(value) => Ok(Self(value.to_string())),
            Value::Number(value) => Ok(Self(value.to_string())),
            Value::String(value) => Ok(Self(value)),
            Value::Array(_) | Value::Object(_) => {
                Err(E::custom("expected a string, a number or a truth value"))
            }
        }
    }
}

/// A mapping in its own order.
pub(crate) struct Entries<T>(pub(crate) Vec<(String, T)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl Entries<Scalar> {
    /// With values that are text.
    pub(crate) fn texts(self) -> Vec<(String, String)> {
        self.0.into_iter().map(|(name, Scalar(text))| (name, text)).collect()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Mapping(PhantomData)).map(Self)
    }
}

struct Mapping<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Mapping<T> {
    type Value = Vec<(String, T)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a mapping")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut mapping: A) -> Result<Self::Value, A::Error> {
        let mut entries: Self::Value = Vec::new();
        while let Some((Scalar(name), value)) = mapping.next_entry()? {
            if entries.iter().any(|(known, _)| *known == name) {
                return Err(A::Error::custom(format!("the key {name} is there twice")));
            }
            entries.push((name, value));
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<(String, String)> {
        parse::<Entries<Scalar>>(text).unwrap().texts()
    }

    #[test]
    fn scalars_become_text_in_the_order_of_the_document() {
        let read =
            texts("z: 1\na: true\nm: ~\ne:\nyes: on\nf: 1.50\n8: '8'\no: 007\nu: 1_0\nn: .nan");
        let read: Vec<_> = read.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(
            read,
            [
                ("z", "1"),
                ("a", "true"),
                ("m", ""),
                ("e", ""),
                ("yes", "on"),
                ("f", "1.5"),
                ("8", "8"),
                ("o", "007"),
                ("u", "1_0"),
                ("n", ".nan"),
            ]
        );
    }

    #[test]
    fn what_is_no_scalar_or_is_there_twice_is_refused() {
        for text in ["a: [b]", "a: {b: c}", "a: 1\na: 2", "[a]", "a: b\n---\nc: d"] {
            assert!(parse::<Entries<Scalar>>(text).is_err(), "{text}");
        }
    }
}
