//! Which images a build was made from, as the names of its steps tell: `[2/3] FROM registry/base:1@sha256:...`.

use proto::builder::v1::BaseImage;
use std::collections::BTreeMap;

/// Each once, by reference.
pub(super) fn bases<'a>(steps: impl Iterator<Item = &'a str>) -> Vec<BaseImage> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for base in steps.filter_map(base) {
        let (reference, digest) = base.split_once('@').unwrap_or((base, ""));
        let known = found.entry(reference.to_owned()).or_default();
        if known.is_empty() {
            digest.clone_into(known);
        }
    }
    let image = |(reference, digest)| BaseImage { reference, digest };
    found.into_iter().map(image).collect()
}

fn base(step: &str) -> Option<&str> {
    let instruction = match step.split_once("] ") {
        Some((_, instruction)) if step.starts_with('[') => instruction,
        _ => step,
    };
    let base = instruction.strip_prefix("FROM ")?.split_whitespace().next()?;
    (base != "scratch").then_some(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers E12
    #[test]
    fn every_image_that_a_stage_was_made_from_is_told_once() {
        let digest = format!("sha256:{}", "5".repeat(64));
        let steps = [
            "[internal] load metadata for docker.io/library/debian:12".to_owned(),
            format!("[base 1/2] FROM docker.io/library/debian:12@{digest}"),
            "[base 2/2] RUN echo FROM nothing".to_owned(),
            format!("[linux/amd64 stage-1 1/3] FROM 127.0.0.1:7071/tools/base:1@{digest}"),
            format!("FROM 127.0.0.1:7071/tools/base:1@{digest}"),
            "[stage-2 1/1] FROM docker.io/library/local:latest".to_owned(),
        ];
        let image = |reference: &str, digest: &str| BaseImage {
            reference: reference.to_owned(),
            digest: digest.to_owned(),
        };
        let told = [
            image("127.0.0.1:7071/tools/base:1", &digest),
            image("docker.io/library/debian:12", &digest),
            image("docker.io/library/local:latest", ""),
        ];
        assert_eq!(bases(steps.iter().map(String::as_str)), told);
    }
}
