//! Values of settings: what is not one is an error with its form.

use std::time::Duration;

/// A port, or nothing.
pub(super) fn port(text: &str) -> Result<String, String> {
    match text.trim().parse::<u16>() {
        Ok(1..) => Ok(text.trim().to_owned()),
        _ if text.trim().is_empty() => Ok(String::new()),
        _ => Err("not a port number".to_owned()),
    }
}

/// True or false; set to nothing: false.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "" | "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("neither true nor false".to_owned()),
    }
}

/// A whole number of seconds above zero, of a century at most: a deadline of more cannot be counted.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    const MOST: u64 = 100 * 365 * 24 * 3600;
    match text.trim().parse() {
        Ok(number @ 1..=MOST) => Ok(Duration::from_secs(number)),
        _ => Err(format!("not a whole number of seconds from 1 to {MOST}")),
    }
}

/// A whole number of bytes above zero.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    match text.trim().parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err("not a whole number of bytes above 0".to_owned()),
    }
}

/// A Kubernetes quantity above zero.
pub(super) fn quantity(text: &str) -> Result<String, String> {
    match crate::config::quantity::quantity(text) {
        Some(amount) if amount > 0.0 => Ok(text.trim().to_owned()),
        _ => Err("not an amount above 0 such as 500m, 2 or 4Gi".to_owned()),
    }
}
