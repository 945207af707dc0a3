//! Lists and numbers of a configuration, read without making more of them than an image can need: a
//! document of 1 MiB can hold 300,000 words.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Words of one list, or ports.
const MOST: usize = 4096;

/// What is read, as errors name it.
fn expected(formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(formatter, "a list of at most {MOST} entries")
}

struct Words;

impl<'de> Visitor<'de> for Words {
    type Value = Option<Vec<String>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        expected(formatter)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut words = Vec::new();
        while let Some(word) = list.next_element()? {
            if words.len() == MOST {
                return Err(A::Error::invalid_length(MOST + 1, &self));
            }
            words.push(word);
        }
        Ok(Some(words))
    }
}

/// A list of words; null is none.
pub(super) fn words<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
    from.deserialize_any(Words)
}

struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = Vec<String>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        expected(formatter)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut keys = Vec::new();
        while let Some((key, IgnoredAny)) = object.next_entry()? {
            if keys.len() == MOST {
                return Err(A::Error::invalid_length(MOST + 1, &self));
            }
            keys.push(key);
        }
        Ok(keys)
    }
}

/// The keys of an object; null is an empty one.
pub(super) fn keys<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    from.deserialize_any(Keys)
}

struct Number<N>(PhantomData<N>);

impl<N: TryFrom<i64> + Default> Number<N> {
    /// The largest that fits; 0 for one below it.
    fn of(number: i64) -> N {
        let fits = [number, i64::from(u32::MAX)].into_iter();
        let fits = fits.map(N::try_from).find_map(Result::ok);
        fits.filter(|_| number > 0).unwrap_or_default()
    }
}

impl<'de, N: TryFrom<i64> + Default> Visitor<'de> for Number<N> {
    type Value = N;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number")
    }

    fn visit_i64<E>(self, number: i64) -> Result<N, E> {
        Ok(Self::of(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<N, E> {
        Ok(Self::of(i64::try_from(number).unwrap_or(i64::MAX)))
    }

    fn visit_f64<E>(self, number: f64) -> Result<N, E> {
        // `as` stops at the ends of the range.
        Ok(Self::of(number as i64))
    }

    fn visit_unit<E>(self) -> Result<N, E> {
        Ok(N::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<N, E> {
        Ok(N::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<N, E> {
        Ok(N::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<N, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(N::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<N, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(N::default())
    }
}

/// A number that an image has written: no more than 32 or 63 bits, and 0 if it is none.
pub(super) fn number<'de, D: Deserializer<'de>, N: TryFrom<i64> + Default>(
    from: D,
) -> Result<N, D::Error> {
    from.deserialize_any(Number(PhantomData))
}
