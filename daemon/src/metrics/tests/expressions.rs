//! What deploy/monitoring asks Prometheus for is there from the first scrape on.

use serde_json::Value;

use super::fresh;

const DASHBOARD: &str = include_str!("../../../../deploy/monitoring/dashboard.json");
const RULES: &str = include_str!("../../../../deploy/monitoring/rules.yaml");
const DOCS: &str = include_str!("../../../../docs/monitoring.md");

/// Labels that Prometheus adds to every series of a pod.
const OF_TARGETS: [&str; 5] = ["job", "namespace", "pod", "container", "instance"];

/// `name{label="value",other=~"a|b"}`
#[derive(Debug, PartialEq)]
struct Selector {
    name: String,
    /// Label, and the values of which it has one.
    matchers: Vec<(String, Vec<String>)>,
}

fn selectors(expression: &str) -> Vec<Selector> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let (mut found, mut rest) = (Vec::new(), expression);
    while let Some(start) = rest.find(is_name) {
        rest = &rest[start..];
        let end = rest.find(|letter| !is_name(letter)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = after;
        let mut matchers = Vec::new();
        if let Some(inner) = after.strip_prefix('{') {
            let (inner, after) = inner.split_once('}').unwrap();
            matchers = inner.split(',').map(matcher).collect();
            rest = after;
        }
        if name == "up" || name.starts_with("hookd_") || name.starts_with("process_") {
            found.push(Selector { name: name.to_owned(), matchers });
        }
    }
    found
}

fn matcher(text: &str) -> (String, Vec<String>) {
    let (label, value) = text.split_once('=').unwrap();
    assert!(!label.ends_with('!'), "{text} is not understood");
    let is_pattern = value.starts_with('~');
    let value = value.trim_start_matches('~').trim_matches('"');
    let values = if is_pattern { value.split('|').collect() } else { vec![value] };
    (label.to_owned(), values.into_iter().map(str::to_owned).collect())
}

/// A pattern of letters and dots.
fn fits(pattern: &str, value: &str) -> bool {
    pattern.len() == value.len()
        && pattern.chars().zip(value.chars()).all(|(one, other)| one == '.' || one == other)
}

/// True if the page has a series of the selector.
fn has(page: &str, selector: &Selector) -> bool {
    page.lines().filter(|line| !line.starts_with('#')).any(|line| {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let mut matchers = selector.matchers.iter();
        name == selector.name
            && matchers.all(|(label, patterns)| {
                let value = labels.split(&format!("{label}=\"")).nth(1);
                let value = value.and_then(|rest| rest.split('"').next());
                value.is_some_and(|value| patterns.iter().any(|pattern| fits(pattern, value)))
            })
    })
}

/// Of all panels and alerts.
fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let targets = targets.map(|target| target["expr"].as_str().unwrap().to_owned());
    let alerts = rules().into_iter().map(|rule| rule["expr"].as_str().unwrap().to_owned());
    targets.chain(alerts).collect()
}

fn rules() -> Vec<Value> {
    let rules: Value = serde_saphyr::from_str(RULES).unwrap();
    rules["spec"]["groups"][0]["rules"].as_array().unwrap().clone()
}

#[test]
fn every_panel_and_every_alert_finds_series_at_the_first_scrape() {
    let page = fresh().text();
    let all: Vec<_> = expressions().iter().flat_map(|text| selectors(text)).collect();
    assert!(all.len() > 30, "{} selectors", all.len());
    for mut selector in all {
        selector.matchers.retain(|(label, _)| !OF_TARGETS.contains(&label.as_str()));
        // Prometheus' own.
        let is_known = selector.name == "up" && selector.matchers.is_empty();
        assert!(is_known || has(&page, &selector), "{selector:?} finds nothing");
    }
}

#[test]
fn every_value_that_an_alert_looks_for_exists() {
    let values: Vec<_> =
        <crate::error::Reason as super::Label>::ALL.iter().map(ToString::to_string).collect();
    for selector in expressions().iter().flat_map(|text| selectors(text)) {
        for (_, reasons) in selector.matchers.into_iter().filter(|(label, _)| label == "reason") {
            for reason in reasons {
                assert!(values.contains(&reason), "{reason} is no reason");
            }
        }
    }
}

/// Prometheus 3 stores `le="120.0"` of what hookd writes as `le="120"`, and Prometheus 2 does not.
#[test]
fn no_expression_names_the_bound_of_a_bucket() {
    for expression in expressions() {
        let named = selectors(&expression).into_iter().flat_map(|one| one.matchers);
        assert!(named.into_iter().all(|(label, _)| label != "le"), "{expression}");
    }
}

#[test]
fn every_metric_is_on_the_dashboard() {
    let page = fresh().text();
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let dashboard = dashboard["panels"].to_string();
    for name in super::families(&page).keys() {
        assert!(dashboard.contains(name), "no panel shows {name}");
    }
}

#[test]
fn every_alert_has_a_runbook() {
    let rules = rules();
    assert_eq!(rules.len(), 10);
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        assert!(DOCS.contains(&format!("\n### {name}\n")), "docs/monitoring.md lacks {name}");
        let runbook = rule["annotations"]["runbook_url"].as_str().unwrap();
        assert!(runbook.ends_with(&format!("monitoring.md#{}", name.to_lowercase())), "{runbook}");
        assert!(["warning", "critical"].contains(&rule["labels"]["severity"].as_str().unwrap()));
    }
}

#[test]
fn selectors_are_found_in_expressions_and_series_by_them() {
    let found = selectors(r#"sum by (le) (rate(hookd_a_total{x="1",y=~"b|5.."}[5m])) / up > 0.1"#);
    let matchers = vec![
        ("x".to_owned(), vec!["1".to_owned()]),
        ("y".to_owned(), vec!["b".to_owned(), "5..".to_owned()]),
    ];
    let names: Vec<_> = found.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["hookd_a_total", "up"]);
    assert_eq!(found[0].matchers, matchers);
    assert!(has("hookd_a_total{x=\"1\",y=\"503\"} 0\n", &found[0]));
    assert!(!has("hookd_a_total{x=\"1\",y=\"403\"} 0\n", &found[0]));
    assert!(!has("hookd_a_total{y=\"503\"} 0\n", &found[0]));
}
