//! Values of flags, as docker reads them.

use std::time::Duration;

/// Kubernetes takes no larger user or group.
const LARGEST_ID: i64 = 2_147_483_647;

/// A switch's value, by the rules of Go's `ParseBool`.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// "512m", "1.5 GB" of docker in bytes; 0 means that docker sets no limit.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor: u64 = match &text[digits.len()..] {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        "p" | "pb" | "pib" => 1 << 50,
        _ => return None,
    };
    scaled(digits.trim_end(), factor)
}

/// "1.5" processors in thousandths, rounded up; 0 means that docker sets no limit.
pub(super) fn milli_cpus(text: &str) -> Option<u64> {
    let billionths = scaled(text.trim(), 1_000_000_000)?;
    Some(billionths.div_ceil(1_000_000))
}

/// A decimal times `unit`, exactly; none if it is none, is negative or exceeds 64 bits with a sign.
fn scaled(text: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let whole = u128::from(whole) * u128::from(unit);
    // Further digits count for nothing.
    let fraction = &fraction[..fraction.len().min(15)];
    let power = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let number: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let total = whole + number * u128::from(unit) / power;
    u64::try_from(total).ok().filter(|total| i64::try_from(*total).is_ok())
}

/// "1m30s" of docker (Go's durations); none for what Go refuses, and for what is negative.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut left = text.trim();
    left = left.strip_prefix('+').unwrap_or(left);
    if left == "0" {
        return Some(Duration::ZERO);
    }
    if left.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !left.is_empty() {
        let end = left.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, rest) = left.split_at(end);
        let end = rest.find(|letter: char| letter.is_ascii_digit() || letter == '.');
        let (unit, rest) = rest.split_at(end.unwrap_or(rest.len()));
        let nanoseconds = match unit {
            "ns" => 1,
            // Both letters that look like a mu.
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        total = total.checked_add(scaled(number, nanoseconds)?)?;
        left = rest;
    }
    i64::try_from(total).ok()?;
    Some(Duration::from_nanos(total))
}

/// A number of a user or group; `root` is the one name whose number is known without the image.
pub(super) fn id(text: &str) -> Option<i64> {
    if text == "root" {
        return Some(0);
    }
    text.parse().ok().filter(|id| (0..=LARGEST_ID).contains(id))
}

/// True for what is meant as a number, right or wrong.
pub(super) fn looks_numeric(text: &str) -> bool {
    text.strip_prefix(['-', '+']).unwrap_or(text).bytes().all(|byte| byte.is_ascii_digit())
}

/// Kubernetes has the names of capabilities without their prefix.
pub(super) fn capability(text: &str) -> Option<String> {
    let upper = text.trim().to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    let letter = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    (!name.is_empty() && name.len() <= 64 && name.bytes().all(letter)).then(|| name.to_owned())
}
