//! What becomes of each image, from its tags alone.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::registry::built_tags::{self, BuiltTag, Kind};

/// An image is deleted so long after its end: a job that found it just before may run for 5 days, and pull
/// it again.
const GRACE_PERIOD: SignedDuration = SignedDuration::from_hours(5 * 24);
/// A cached layer so long after its end: builds do not take as long, and clocks differ.
const LAYER_GRACE_PERIOD: SignedDuration = SignedDuration::from_hours(24);

/// What becomes of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is deleted: neither builds nor jobs have used it since.
    Unused { since: Timestamp },
    /// Builds are not to find it any more, for so many newer ones of its Dockerfile.
    Replaced { newer: usize },
    /// It stays: builds find it until then.
    Found,
    /// It stays: it is no image, but a note that hookd reads until then.
    Noted,
    /// It stays: no build finds it, and a job that did may run it.
    MayRun,
    /// It stays: a tag of it is not hookd's.
    Foreign,
}

/// The digests of images with their tags, and what becomes of them. Of each Dockerfile the `keep_last`
/// newest stay; 0: all.
pub(super) fn judge(
    images: &BTreeMap<String, Vec<String>>,
    keep_last: usize,
    now: Timestamp,
) -> BTreeMap<&str, Verdict> {
    let used: BTreeMap<_, _> =
        images.iter().map(|(digest, tags)| (digest.as_str(), Use::of(tags))).collect();
    let newer = newer(&used, now);
    let verdict = |digest: &str, used: &Option<Use<'_>>| match used {
        None => Verdict::Foreign,
        Some(used) if used.end < now - used.grace => Verdict::Unused { since: used.end },
        Some(used) if used.end <= now => Verdict::MayRun,
        Some(used) => match newer.get(digest) {
            Some(&newer) if keep_last > 0 && newer >= keep_last => Verdict::Replaced { newer },
            _ if used.is_note => Verdict::Noted,
            _ if used.is_found => Verdict::Found,
            _ => Verdict::MayRun,
        },
    };
    used.iter().map(|(digest, used)| (*digest, verdict(digest, used))).collect()
}

/// True for a tag that may keep the image that it names: it is not hookd's, or not over.
pub(super) fn may_keep(tag: &str, now: Timestamp) -> bool {
    built_tags::read(tag).is_none_or(|tag| tag.end >= now - grace(tag.kind == Kind::Layer))
}

fn grace(is_layer: bool) -> SignedDuration {
    if is_layer { LAYER_GRACE_PERIOD } else { GRACE_PERIOD }
}

/// Who uses an image, as its tags say it.
struct Use<'a> {
    /// No build needs it from then on.
    end: Timestamp,
    /// From then on until it is deleted.
    grace: SignedDuration,
    is_found: bool,
    is_note: bool,
    /// The Dockerfiles that it was built of, and the end by which their images are ordered.
    built: Vec<(&'a str, Timestamp)>,
}

impl<'a> Use<'a> {
    /// None: a tag is not hookd's.
    fn of(tags: &'a [String]) -> Option<Self> {
        let tags: Option<Vec<BuiltTag<'_>>> =
            tags.iter().map(|tag| built_tags::read(tag)).collect();
        let tags = tags?;
        let is = |kind: Kind<'_>| tags.iter().any(|tag| tag.kind == kind);
        let is_layer = is(Kind::Layer);
        let is_note = tags.iter().all(|tag| tag.kind == Kind::Note);
        let is_found = is_layer || is(Kind::Key) || is(Kind::Note);
        // Found again after it was replaced: it is used as any other.
        let is_old = is(Kind::Old) && !is_found;
        let ends = tags.iter().filter(|tag| (tag.kind == Kind::Old) == is_old).map(|tag| tag.end);
        let end = ends.max()?;
        let built = tags.iter().filter_map(|tag| match tag.kind {
            Kind::Step { dockerfile } => Some((dockerfile, tag.end)),
            Kind::Key | Kind::Layer | Kind::Note | Kind::Old => None,
        });
        Some(Self { end, grace: grace(is_layer), is_found, is_note, built: built.collect() })
    }
}

/// For each image that builds may need, how many newer ones there are of its Dockerfile; of several
/// Dockerfiles, the one with the fewest counts.
fn newer<'a>(
    used: &BTreeMap<&'a str, Option<Use<'a>>>,
    now: Timestamp,
) -> BTreeMap<&'a str, usize> {
    let mut by_dockerfile: BTreeMap<&str, BTreeMap<&str, Timestamp>> = BTreeMap::new();
    for (digest, used) in used {
        let Some(used) = used.as_ref().filter(|used| used.end > now) else { continue };
        for (dockerfile, built) in &used.built {
            let images = by_dockerfile.entry(dockerfile).or_default();
            let last = images.entry(digest).or_insert(*built);
            *last = (*last).max(*built);
        }
    }
    let mut newer: BTreeMap<&str, usize> = BTreeMap::new();
    for images in by_dockerfile.into_values() {
        let mut images: Vec<_> =
            images.into_iter().map(|(digest, built)| (built, digest)).collect();
        images.sort_unstable_by(|one, other| other.cmp(one));
        for (count, (_, digest)) in images.into_iter().enumerate() {
            let fewest = newer.entry(digest).or_insert(count);
            *fewest = (*fewest).min(count);
        }
    }
    newer
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;
    const DAY: i64 = 24 * 3600;

    /// Each image is named by what its tags are, `@` being a day from now.
    fn verdicts(images: &[(&str, &[(&str, i64)])], keep_last: usize) -> Vec<Verdict> {
        let tag = |(begin, days): &(&str, i64)| format!("{begin}_{}", NOW + days * DAY);
        let own = |(name, tags): &(&str, &[(&str, i64)])| {
            ((*name).to_owned(), tags.iter().map(tag).collect())
        };
        let all = images.iter().map(own).collect();
        let judged = judge(&all, keep_last, Timestamp::from_second(NOW).unwrap());
        images.iter().map(|(name, _)| judged[name]).collect()
    }

    fn since(days: i64) -> Verdict {
        Verdict::Unused { since: Timestamp::from_second(NOW + days * DAY).unwrap() }
    }

    #[test]
    fn an_image_goes_5_days_after_its_last_use() {
        let judged = verdicts(
            &[
                ("a", &[("key_1", 1), ("step_s_d", 1)]),
                ("b", &[("key_1", -6), ("step_s_d", -7)]),
                ("c", &[("key_1", -4), ("step_s_d", -7)]),
                // One image of two keys, of which one is used.
                ("d", &[("key_1", -6), ("key_2", 1)]),
                ("e", &[("step_s_d", 1)]),
                ("f", &[("key_1", -6), ("latest", 0)]),
                ("g", &[("note_1", 1)]),
                ("h", &[("note_1", -6)]),
            ],
            0,
        );
        use Verdict::{Foreign, Found, MayRun, Noted};
        assert_eq!(judged, [Found, since(-6), MayRun, Found, MayRun, Foreign, Noted, since(-6)]);
    }

    #[test]
    fn a_cached_layer_goes_a_day_after_its_last_use() {
        let judged = verdicts(
            &[("a", &[("layer_1", 1)]), ("b", &[("layer_1", -2)]), ("c", &[("layer_1", 0)])],
            1,
        );
        assert_eq!(judged, [Verdict::Found, since(-2), Verdict::MayRun]);
    }

    #[test]
    fn of_each_dockerfile_the_last_ones_stay() {
        let judged = verdicts(
            &[
                ("a", &[("key_1", 1), ("step_s_d", 1)]),
                ("b", &[("key_2", 1), ("step_s_d", 2)]),
                ("c", &[("key_3", 1), ("step_s_d", 3)]),
                // No build finds it: it takes no place.
                ("d", &[("key_4", -1), ("step_s_d", -1)]),
                // Of another Dockerfile, too.
                ("e", &[("key_5", 1), ("step_s_d", 0), ("step_t_other", 1)]),
            ],
            2,
        );
        use Verdict::{Found, MayRun, Replaced};
        assert_eq!(judged, [Replaced { newer: 2 }, Found, Found, MayRun, Found]);
        let two = |keep_last| {
            verdicts(&[("a", &[("step_s_d", 1)]), ("b", &[("step_s_d", 1)])], keep_last)
        };
        assert_eq!(two(1), [Replaced { newer: 1 }, MayRun]);
        assert_eq!(two(0), [MayRun, MayRun]);
    }

    #[test]
    fn a_replaced_image_goes_5_days_after_it_was() {
        let judged = verdicts(
            &[
                ("a", &[("old_a", -6), ("step_s_d", 1)]),
                ("b", &[("old_b", -4), ("step_s_d", 1)]),
                // It was built again, to the same bytes.
                ("c", &[("old_c", -6), ("step_s_d", 1), ("key_1", 1)]),
            ],
            0,
        );
        assert_eq!(judged, [since(-6), Verdict::MayRun, Verdict::Found]);
    }
}
