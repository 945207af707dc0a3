//! Values of settings: what is not one is an error with its form.

use std::net::SocketAddr;
use std::time::Duration;

use http::Uri;

use crate::config::TlsSecret;

/// A port, or nothing.
pub(super) fn port(text: &str) -> Result<String, String> {
    match text.trim().parse::<u16>() {
        Ok(1..) => Ok(text.trim().to_owned()),
        _ if text.trim().is_empty() => Ok(String::new()),
        _ => Err("not a port number".to_owned()),
    }
}

/// An IP address with a port, or nothing.
pub(super) fn address(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() > 0 => Ok(text.to_owned()),
        _ if text.is_empty() => Ok(String::new()),
        _ => Err("not an IP address with a port such as 0.0.0.0:9464".to_owned()),
    }
}

/// The address of an OTLP collector, or nothing.
pub(super) fn endpoint(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_valid = || {
        let uri: Uri = text.parse().ok()?;
        let authority = uri.authority()?;
        let has_host = !authority.host().is_empty() && !authority.as_str().contains('@');
        let has_port = authority.port_u16().is_some_and(|port| port > 0);
        let is_bare = uri.path() == "/" && uri.query().is_none() && !text.contains('#');
        (uri.scheme_str() == Some("http") && has_host && has_port && is_bare).then_some(())
    };
    if text.is_empty() || is_valid().is_some() {
        return Ok(text.to_owned());
    }
    let form = "http://otel-collector.monitoring:4317";
    Err(format!("not the address of a collector with its port such as {form} (there is no TLS)"))
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

/// As [`seconds`], or 0.
pub(super) fn seconds_or_none(text: &str) -> Result<Duration, String> {
    match text.trim() {
        "0" => Ok(Duration::ZERO),
        text => seconds(text).map_err(|error| format!("{error}, or 0")),
    }
}

/// A whole number of bytes above zero.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    match text.trim().parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err("not a whole number of bytes above 0".to_owned()),
    }
}

/// A whole number, or nothing, which is 0.
pub fn count(text: &str) -> Result<usize, String> {
    match text.trim() {
        "" => Ok(0),
        text => text.parse().map_err(|_| "not a whole number from 0 on".to_owned()),
    }
}

/// A Kubernetes quantity above zero.
pub(super) fn quantity(text: &str) -> Result<String, String> {
    match crate::config::quantity::quantity(text) {
        Some(amount) if amount > 0.0 => Ok(text.trim().to_owned()),
        _ => Err("not an amount above 0 such as 500m, 2 or 4Gi".to_owned()),
    }
}

/// "host=secret", or nothing.
pub(super) fn tls_secret(text: &str) -> Result<TlsSecret, String> {
    let text = text.trim();
    let (host, secret) = text.split_once('=').unwrap_or_default();
    let (host, secret) = (host.trim(), secret.trim());
    let of_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    let of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_host = host == "*" || (!host.is_empty() && host.bytes().all(of_host));
    let is_name = secret.split('.').all(|label| !label.is_empty() && label.bytes().all(of_name));
    if !(text.is_empty() || is_host && is_name) {
        return Err(
            "not a host and a Secret's name, such as r.example:5000=registry-tls".to_owned()
        );
    }
    let host = if host == "docker.io" { "index.docker.io" } else { host };
    Ok(TlsSecret { host: host.to_owned(), secret: secret.to_owned() })
}

/// A path within a registry, or nothing.
pub(super) fn repository(text: &str) -> Result<String, String> {
    let text = text.trim();
    let path = text.strip_prefix("{path}/").unwrap_or(text);
    let of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_name = |name: &str| {
        name.bytes().all(|byte| of_name(byte) || b"._-".contains(&byte))
            && name.bytes().next().is_some_and(of_name)
            && name.bytes().last().is_some_and(of_name)
    };
    if text.is_empty() || path.split('/').all(is_name) {
        return Ok(text.to_owned());
    }
    Err("not a repository such as {path}/hookd-build, in lower case".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_an_ip_address_and_a_port() {
        for text in ["0.0.0.0:9464", "[::]:9464", " 127.0.0.1:1 ", ""] {
            assert_eq!(address(text).as_deref(), Ok(text.trim()), "{text}");
        }
        for text in ["9464", ":9464", "localhost:9464", "0.0.0.0", "0.0.0.0:0", "1.2.3.4:70000"] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_collector_has_a_host_and_a_port_and_nothing_else() {
        for text in ["http://c.monitoring:4317", " http://[::1]:1/ ", "http://10.0.0.1:4317", ""] {
            assert_eq!(endpoint(text).as_deref(), Ok(text.trim()), "{text}");
        }
        for text in [
            "c:4317",
            "http://c",
            "http://:4317",
            "https://c:4317",
            "grpc://c:4317",
            "http://c:0",
            "http://c:4317/v1/traces",
            "http://c:4317?x=y",
            "http://c:4317/#x",
            "http://u:p@c:4317",
            "http://c:99999",
            "http://c d:4317",
            "4317",
            "http://",
        ] {
            assert!(endpoint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn certificates_are_named_by_host_and_secret() {
        let parsed = |text| tls_secret(text).map(|entry| (entry.host, entry.secret));
        let pair = |host: &str, secret: &str| Ok((host.to_owned(), secret.to_owned()));
        assert_eq!(parsed(" r.example:5000=registry-tls "), pair("r.example:5000", "registry-tls"));
        assert_eq!(parsed("docker.io=a.b"), pair("index.docker.io", "a.b"));
        assert_eq!(parsed("[fd00::1]:5000=x"), pair("[fd00::1]:5000", "x"));
        assert_eq!(parsed("*=proxy-ca"), pair("*", "proxy-ca"));
        assert_eq!(parsed(""), pair("", ""));
        for text in ["r", "r=", "=s", "r/path=s", "r=../s", "r=S", "r=a..b", "*.example=s"] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_repository_is_a_path_that_registries_accept() {
        for text in ["", "{path}/hookd-build", "a/b_c/d.e", " x "] {
            assert_eq!(repository(text).as_deref(), Ok(text.trim()), "{text}");
        }
        for text in ["{path}", "a/{path}/b", "/a", "a/", "A", "a//b", "a:1", "a/..", "-a"] {
            assert!(repository(text).is_err(), "{text}");
        }
    }
}
