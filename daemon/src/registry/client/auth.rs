//! What a registry asks for: a password, or a token for it.
//! <https://distribution.github.io/distribution/spec/auth/token/>

use std::time::Duration;

use http_auth::{ChallengeRef, parse_challenges};
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use serde::Deserialize;
use tokio::time::Instant;

/// Life of a token whose service does not say how long it lives, as the specification has it.
const DEFAULT_LIFE: u64 = 60;
/// A token is not used for longer than this, whatever its service says.
const MAX_LIFE: u64 = 3600;
/// Domains beneath which anyone has a host of their own.
const SHARED_DOMAINS: &[&str] = &[
    "amazonaws.com",
    "appspot.com",
    "azurecr.io",
    "azurewebsites.net",
    "cloudapp.azure.com",
    "cloudfront.net",
    "duckdns.org",
    "fly.dev",
    "github.io",
    "herokuapp.com",
    "jfrog.io",
    "ngrok.app",
    "ngrok.io",
    "nip.io",
    "ocir.io",
    "pkg.dev",
    "run.app",
    "scw.cloud",
    "sslip.io",
    "svc.cluster.local",
    "windows.net",
    "workers.dev",
];

/// How the requests of a session show who they are.
#[derive(Clone, Debug)]
pub(super) enum Authorization {
    /// Not asked for, or no credentials.
    Anonymous,
    /// User and password themselves.
    Basic(HeaderValue),
    /// A token, until it is too old.
    Bearer {
        /// `Bearer <token>`.
        header: HeaderValue,
        /// From then on it is renewed before a body that cannot be sent twice.
        stale: Instant,
        /// From then on it is not used.
        expired: Instant,
    },
}

impl Authorization {
    /// The value of the request header.
    pub(super) fn header(&self) -> Option<&HeaderValue> {
        match self {
            Self::Bearer { header, expired, .. } => (Instant::now() < *expired).then_some(header),
            Self::Basic(header) => Some(header),
            Self::Anonymous => None,
        }
    }

    /// True if it is good for a request whose body cannot be sent twice.
    pub(super) fn is_fresh(&self) -> bool {
        !matches!(self, Self::Bearer { stale, .. } if *stale <= Instant::now())
    }
}

/// What the registry wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password.
    Basic,
    /// A token of the service at this address.
    Bearer { realm: String, service: Option<String> },
}

impl Challenge {
    /// The best of those in an answer's headers: a token rather than the password.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter();
        let values = values.filter_map(|value| value.to_str().ok());
        let offers: Vec<_> = values.filter_map(|value| parse_challenges(value).ok()).collect();
        let is = |scheme: &'static str| {
            move |offer: &&ChallengeRef<'_>| offer.scheme.eq_ignore_ascii_case(scheme)
        };
        let all = || offers.iter().flatten();
        if let Some(bearer) = all().find(is("bearer")) {
            return Some(Self::Bearer {
                realm: parameter(bearer, "realm")?,
                service: parameter(bearer, "service"),
            });
        }
        all().find(is("basic")).map(|_| Self::Basic)
    }
}

fn parameter(challenge: &ChallengeRef<'_>, name: &str) -> Option<String> {
    let mut all = challenge.params.iter();
    all.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_unescaped())
}

/// True if a registry's password may go to this token service: the registry's own host, or one
/// of the same parent domain (`auth.docker.io` of `registry-1.docker.io`), by HTTPS; by HTTP only to the
/// host of a registry that itself speaks plain HTTP, to which the password goes in plain text anyway.
pub(super) fn is_trusted_realm(registry: &Url, realm: &Url) -> bool {
    let (Some(own), Some(host)) = (registry.host_str(), realm.host_str()) else { return false };
    let anonymous = realm.username().is_empty() && realm.password().is_none();
    let same = host == own;
    match realm.scheme() {
        "https" => anonymous && (same || are_kin(own, host)),
        "http" => anonymous && same && registry.scheme() == "http",
        _ => false,
    }
}

/// `registry.example.com` with `auth.example.com` or `example.com`; never by a domain that many share.
fn are_kin(registry: &str, host: &str) -> bool {
    let Some((_, parent)) = registry.split_once('.') else { return false };
    let is_name = |host: &str| {
        // The last label of an address is a number.
        let last = host.rsplit('.').next().unwrap_or_default();
        !last.is_empty() && !last.starts_with(|first: char| first.is_ascii_digit())
    };
    let beneath = host.strip_suffix(parent).is_some_and(|rest| {
        rest.is_empty()
            || rest.strip_suffix('.').is_some_and(|name| !name.is_empty() && !name.contains('.'))
    });
    is_name(registry) && is_name(host) && !is_shared(parent) && beneath
}

/// A public suffix, as far as it can be known without a list of all: a single label, a country's
/// second level (`co.uk`), or a domain whose hosts have many owners, and what is beneath it.
fn is_shared(domain: &str) -> bool {
    let labels: Vec<_> = domain.split('.').collect();
    let is_second_level = matches!(labels[..], [second, country] if country.len() == 2
        && (second.len() <= 3 || ["gouv", "govt"].contains(&second)));
    let listed = SHARED_DOMAINS.iter().any(|shared| {
        domain.strip_suffix(shared).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    });
    labels.len() < 2 || is_second_level || listed
}

/// A token service's answer.
#[derive(Deserialize)]
pub(super) struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl TokenAnswer {
    /// The token, if there is one that a header can hold.
    pub(super) fn authorization(self) -> Option<Authorization> {
        let token = self.token.or(self.access_token).filter(|token| !token.is_empty())?;
        let mut header = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
        header.set_sensitive(true);
        let life = Duration::from_secs(self.expires_in.unwrap_or(DEFAULT_LIFE).clamp(1, MAX_LIFE));
        let now = Instant::now();
        Some(Authorization::Bearer { header, stale: now + life / 2, expired: now + life })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        Challenge::of(&headers)
    }

    #[test]
    fn a_token_is_preferred_in_every_form_of_the_header() {
        let bearer = |realm: &str, service: Option<&str>| {
            let service = service.map(str::to_owned);
            Some(Challenge::Bearer { realm: realm.to_owned(), service })
        };
        for (values, expected) in [
            (
                &[r#"Bearer realm="https://a/t",service="s",scope="x,y""#][..],
                bearer("https://a/t", Some("s")),
            ),
            (&[r#"bearer Realm="https://a/t?x=1,2""#], bearer("https://a/t?x=1,2", None)),
            (&[r#"Basic realm="x", Bearer realm="https://a/t""#], bearer("https://a/t", None)),
            (&[r#"Basic realm="x""#, r#"Bearer realm="https://a/t""#], bearer("https://a/t", None)),
            (&[r#"Bearer realm="a\"b""#], bearer(r#"a"b"#, None)),
            (&["Basic realm=x"], Some(Challenge::Basic)),
            (&["BASIC"], Some(Challenge::Basic)),
            (&["Negotiate"], None),
            (&[r#"Bearer service="s""#], None),
            (&["\"\"\","], None),
            (&[], None),
        ] {
            assert_eq!(challenge(values), expected, "{values:?}");
        }
    }

    #[test]
    fn a_password_goes_to_the_registrys_own_realm_only() {
        for (registry, realm, trusted) in [
            ("https://registry-1.docker.io", "https://auth.docker.io/token", true),
            ("https://ghcr.io", "https://ghcr.io/token", true),
            ("https://h.example.com", "https://h.example.com:5001/token", true),
            ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth", true),
            ("https://registry.example.com:5000", "https://auth.example.com/t", true),
            ("https://registry.example.co.uk", "https://auth.example.co.uk/t", true),
            ("http://r.svc:5000", "http://r.svc:5001/t", true),
            // Plain text.
            ("https://ghcr.io", "http://ghcr.io/token", false),
            ("https://r.example.com", "http://r.example.com/t", false),
            ("http://r.svc:5000", "http://auth.svc/t", false),
            // Others' hosts.
            ("https://ghcr.io", "https://evil.io/token", false),
            ("https://ghcr.io", "https://ghcr.io.evil.com/token", false),
            ("https://ghcr.io", "https://evilghcr.io/token", false),
            ("https://registry.example.com", "https://evilexample.com/t", false),
            ("https://registry.example.com", "https://example.com.evil.io/t", false),
            ("https://registry.example.com", "https://a.b.example.com/t", false),
            ("https://registry.co.uk", "https://evil.co.uk/t", false),
            ("https://me.azurecr.io", "https://evil.azurecr.io/t", false),
            (
                "https://1.dkr.ecr.eu-west-1.amazonaws.com",
                "https://2.dkr.ecr.eu-west-1.amazonaws.com/t",
                false,
            ),
            ("https://me.jfrog.io", "https://jfrog.io/t", false),
            ("https://auth.docker.io", "https://registry-1.docker.io/t", true),
            ("https://10.0.0.1", "https://20.0.0.1/t", false),
            ("https://[fd00::1]:5000", "https://[fd00::2]/t", false),
            ("https://r.example.com", "https://u:p@r.example.com/t", false),
            ("https://r.example.com", "ftp://r.example.com/t", false),
        ] {
            let trust = is_trusted_realm(&registry.parse().unwrap(), &realm.parse().unwrap());
            assert_eq!(trust, trusted, "{registry} {realm}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_at_half_its_life_and_unused_after_it() {
        let answer = |json| serde_json::from_str::<TokenAnswer>(json).unwrap().authorization();
        let token = answer(r#"{"access_token":"t","expires_in":10}"#).unwrap();
        assert!(token.is_fresh() && token.header().is_some());
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(!token.is_fresh() && token.header().is_some());
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(token.header().is_none());
        assert!(answer(r#"{"token":"a\nb"}"#).is_none());
        assert!(answer("{}").is_none());
    }
}
