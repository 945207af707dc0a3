//! All tags of a repository, page by page.

use std::collections::BTreeSet;

use reqwest::header::{HeaderMap, LINK};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use super::refused;
use crate::registry::client::{RegistryError, Request, Session, read_bounded};

/// Tags that a registry is asked for at one time.
const TAGS_AT_ONCE: usize = 1000;
/// Bytes of such an answer: registries before distribution 3 answer with all.
const MAX_TAG_LIST: usize = 16 << 20;
/// Tags that a repository may have.
const MAX_TAGS: usize = 100_000;
/// Pages of them: some registries have no more than 50 tags on one.
const MAX_PAGES: usize = MAX_TAGS / 50;

#[derive(Deserialize)]
struct TagList {
    tags: Option<Vec<String>>,
}

/// All tags of the repository, each once; none: the registry does not have the repository. Names that no
/// tag can have are left out.
///
/// # Errors
/// See [`RegistryError`]; [`RegistryError::TooManyTags`] for more than are looked at. A part of the tags is
/// never returned.
pub async fn list(session: &Session) -> Result<Option<BTreeSet<String>>, RegistryError> {
    let host = || session.host().to_owned();
    let invalid = |what| RegistryError::Invalid { host: host(), what };
    let mut all = BTreeSet::new();
    let mut query = format!("n={TAGS_AT_ONCE}");
    for page in 0..MAX_PAGES {
        let request = Request::new(Method::GET, format!("tags/list?{query}"));
        let answer = session.send(request).await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND if page == 0 => return Ok(None),
            status => return Err(refused(session, status)),
        }
        let next = next_query(answer.url(), answer.headers());
        let next = next.map_err(|UnusableLink| invalid("link to further tags"))?;
        let body = read_bounded(session.host(), answer, "tag list", MAX_TAG_LIST).await?;
        let list: TagList = serde_json::from_slice(&body).map_err(|_| invalid("tag list"))?;
        let before = all.len();
        let (tags, others): (Vec<_>, Vec<_>) =
            list.tags.unwrap_or_default().into_iter().partition(|name| is_tag(name));
        all.extend(tags);
        if all.len() > MAX_TAGS {
            break;
        }
        let Some(next) = next else { return Ok(Some(all)) };
        if all.len() == before && others.is_empty() {
            return Err(invalid("page of tags: the pages before have them all"));
        }
        query = next;
    }
    Err(RegistryError::TooManyTags { host: host(), tags: MAX_TAGS, pages: MAX_PAGES })
}

/// A link that leads to no page of tags.
#[derive(Debug, PartialEq, Eq)]
struct UnusableLink;

/// The query of the next page, if there is one, as the answer of this URL has it. No more is taken from the
/// link, so that it leads nowhere else: behind a proxy it may have another scheme, and that of Artifactory
/// and Nexus another path than the one that was asked for.
fn next_query(url: &Url, headers: &HeaderMap) -> Result<Option<String>, UnusableLink> {
    for value in headers.get_all(LINK) {
        let mut rest = value.to_str().map_err(|_| UnusableLink)?;
        if !rest.contains('<') {
            return Err(UnusableLink);
        }
        while let Some((_, link)) = rest.split_once('<') {
            let (target, more) = link.split_once('>').ok_or(UnusableLink)?;
            let parameters = more.split('<').next().unwrap_or_default();
            if is_next(parameters) {
                return query_of(url, target).map(Some);
            }
            rest = more;
        }
    }
    Ok(None)
}

/// One that does not say what it is leads to the next page, too.
fn is_next(parameters: &str) -> bool {
    let mut parameters = parameters.split([';', ',']).filter_map(|one| one.trim().split_once('='));
    let relation = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("rel"));
    relation.is_none_or(|(_, value)| value.trim().trim_matches('"').eq_ignore_ascii_case("next"))
}

fn query_of(url: &Url, target: &str) -> Result<String, UnusableLink> {
    let target = url.join(target).map_err(|_| UnusableLink)?;
    let is_page = target.host() == url.host() && target.path().ends_with("/tags/list");
    let query = target.query().filter(|query| is_page && !query.is_empty());
    query.map(str::to_owned).ok_or(UnusableLink)
}

/// True for what OCI's distribution specification takes for a tag.
pub fn is_tag(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=128).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::client::fake::{FakeRegistry, Reply};
    use crate::registry::client::{Access, ClientOptions, RegistryClient};

    const PATH: &str = "/v2/hookd/build/tags/list?";

    /// What is listed where the first page has this link (`HOST` stands for the registry) and tags, and the
    /// page of this query the others; and how many requests it took.
    async fn listed(
        link: &str,
        query: &str,
        pages: [&[&str]; 2],
    ) -> (Result<Option<BTreeSet<String>>, RegistryError>, usize) {
        let [first, second] = pages.map(|tags| serde_json::json!({ "tags": tags }).to_string());
        let (link, path) = (link.to_owned(), format!("{PATH}{query}"));
        let registry = FakeRegistry::start(move |host, arrived| match &arrived.path {
            one if *one == format!("{PATH}n=1000") => {
                Reply::ok(first.clone()).with(format!("link: {}", link.replace("HOST", host)))
            }
            one if *one == path => Reply::ok(second.clone()),
            _ => Reply::new(404, ""),
        });
        let listed = list(&session(&registry)).await;
        (listed, registry.arrived().len())
    }

    fn session(registry: &FakeRegistry) -> Session {
        let options =
            ClientOptions { insecure: vec![registry.host.clone()], ..ClientOptions::default() };
        let client = RegistryClient::new(&options).unwrap();
        client.session(&registry.host, "hookd/build", None, Access::Delete).unwrap()
    }

    #[tokio::test]
    async fn the_link_of_each_registry_leads_to_the_next_page() {
        for (link, query) in [
            // distribution, Harbor, GitLab, GitHub
            ("</v2/hookd/build/tags/list?last=b&n=1000>; rel=\"next\"", "last=b&n=1000"),
            // Quay
            (
                "</v2/hookd/build/tags/list?next_page=gAA_wc-Q%3D&n=50>; rel=\"next\"",
                "next_page=gAA_wc-Q%3D&n=50",
            ),
            // ECR
            (
                "<http://HOST/v2/hookd/build/tags/list?last=a%2Bb%2F%3D%3D>; rel=\"next\"",
                "last=a%2Bb%2F%3D%3D",
            ),
            // Artifactory: without the part of the path that names its repository
            ("</v2/build/tags/list?last=b&n=1000>; rel=\"next\"", "last=b&n=1000"),
            // Nexus, behind a proxy, too
            (
                "<https://HOST/repository/r/v2/hookd/build/tags/list?n=9&last=b>; rel=\"next\"",
                "n=9&last=b",
            ),
            ("<?last=x,y>;REL=next", "last=x,y"),
            ("<list?last=b>", "last=b"),
            ("</v2/a>; rel=\"first\", <list?last=b>; title=\"a\"; rel=\"next\"", "last=b"),
        ] {
            let (all, _) = listed(link, query, [&["b", "a"], &["c", "a"]]).await;
            let all = all.unwrap_or_else(|error| panic!("{link}: {error}")).unwrap();
            assert_eq!(Vec::from_iter(all), ["a", "b", "c"], "{link}");
        }
    }

    #[tokio::test]
    async fn a_link_to_no_page_of_tags_is_an_error() {
        for link in [
            "<http://other.example/v2/hookd/build/tags/list?last=b>; rel=\"next\"",
            "</v2/hookd/build/manifests/b?last=b>; rel=\"next\"",
            "</v2/hookd/build/tags/list>; rel=\"next\"",
            "</v2/hookd/build/tags/list?last=b; rel=\"next\"",
            "/v2/hookd/build/tags/list?last=b",
        ] {
            let (error, requests) = listed(link, "last=b", [&["a", "b"], &["c"]]).await;
            let error = error.unwrap_err();
            assert!(error.to_string().ends_with("an invalid link to further tags"), "{error}");
            assert_eq!(requests, 1, "{link}");
        }
    }

    #[test]
    fn a_tag_has_plain_letters_and_a_begin_that_is_no_dot() {
        let longest = "a".repeat(128);
        for tag in ["1", "_", "v1.2-a_B", "a..", &longest] {
            assert!(is_tag(tag), "{tag}");
        }
        for other in ["", ".", "..", ".a", "-x", "a/b", "a:b", "a b", "é", &format!("{longest}a")]
        {
            assert!(!is_tag(other), "{other}");
        }
    }

    #[tokio::test]
    async fn a_page_of_other_names_is_passed_over() {
        let pages: [&[&str]; 2] = [&["a/b", "", "..", "-x"], &["c"]];
        let (all, _) = listed("<list?last=b>", "last=b", pages).await;
        assert_eq!(Vec::from_iter(all.unwrap().unwrap()), ["c"]);
    }

    #[tokio::test]
    async fn a_link_to_the_same_page_is_an_error() {
        let (error, requests) = listed("<list?n=1000>; rel=next", "-", [&["a"], &[]]).await;
        let error = error.unwrap_err();
        assert!(matches!(error, RegistryError::Invalid { .. }), "{error}");
        assert_eq!(requests, 2);
    }

    #[tokio::test]
    async fn a_page_that_is_not_there_is_an_error() {
        let (error, _) = listed("<list?last=a>; rel=next", "-", [&["a"], &[]]).await;
        let error = error.unwrap_err();
        let status = matches!(error, RegistryError::Refused { status: StatusCode::NOT_FOUND, .. });
        assert!(status, "{error}");
        let none = FakeRegistry::start(|_, _| Reply::new(404, ""));
        assert_eq!(list(&session(&none)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn more_tags_than_are_looked_at_are_an_error() {
        let tags: Vec<_> = (0..=MAX_TAGS).map(|number| number.to_string()).collect();
        let body = serde_json::json!({ "tags": tags }).to_string();
        let registry = FakeRegistry::start(move |_, _| Reply::ok(body.clone()));
        let error = list(&session(&registry)).await.unwrap_err();
        assert!(matches!(error, RegistryError::TooManyTags { .. }), "{error}");
    }
}
