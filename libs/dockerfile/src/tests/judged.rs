//! What a build would use, and what it may not.

use super::sound;
use crate::{Use, platform_arguments};
use std::collections::BTreeMap;

fn arguments(given: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut arguments = platform_arguments("linux/arm64");
    arguments.extend(
        given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    arguments
}

#[test]
fn every_image_that_a_build_takes_from_is_told() {
    let text = "ARG REGISTRY=example.org
ARG NAME=${REGISTRY}/base TAG
FROM --platform=$TARGETPLATFORM $NAME:${TAG:-1} AS First
RUN --mount=type=bind,from=tools:2,target=/t --mount=type=cache,target=/c x
RUN --mount=\"type=bind,from=First,target=/t\" x
FROM first AS second
COPY --from=FIRST /a /b
COPY --from=0 /a /b
COPY --from=other:3 /a /b
ONBUILD COPY --from=later:4 /a /b
FROM scratch
RUN --mount=from=1,target=/t x
FROM deep-$TARGETARCH
FROM ${NOTHING}
FROM a\\\u{e0}b
";
    let dockerfile = crate::parse(text);
    let told = |given: &[(&str, &str)]| {
        let bases = dockerfile.bases(&arguments(given)).into_iter();
        bases
            .map(|base| (base.line, base.stage, base.used, base.reference))
            .collect::<Vec<_>>()
    };
    let some = |text: &str| Some(text.to_owned());
    let rest = vec![
        (4, 0, Use::MountFrom, some("tools:2")),
        (9, 1, Use::CopyFrom, some("other:3")),
        (10, 1, Use::CopyFrom, some("later:4")),
        (12, 2, Use::MountFrom, some("1")),
        (13, 3, Use::From, some("deep-arm64")),
        (14, 4, Use::From, None),
        (15, 5, Use::From, None),
    ];
    let first = |base: &str| (3, 0, Use::From, some(base));
    assert_eq!(told(&[]), [vec![first("example.org/base:1")], rest.clone()].concat());
    let given = [("REGISTRY", "other.org"), ("TAG", "9"), ("NOT_DECLARED", "x")];
    assert_eq!(told(&given), [vec![first("other.org/base:9")], rest.clone()].concat());
    assert_eq!(told(&[("NAME", "secret")])[0], first("secret:1"));
    assert_eq!(
        dockerfile.bases(&arguments(&[]))[0].platform.as_deref(),
        Some("linux/arm64")
    );
}

#[test]
fn what_no_build_may_do_is_told_with_its_line() {
    for (text, line, rule) in [
        ("FROM a\nRUN --network=host x\n", 2, "HostNetwork"),
        ("FROM a\nRUN \\\n --network=host x\n", 3, "HostNetwork"),
        ("FROM a\nRUN --network=\"host\" x\n", 2, "HostNetwork"),
        ("FROM a\nONBUILD RUN --network=host x\n", 2, "HostNetwork"),
        ("FROM a\nRUN --security=insecure x\n", 2, "InsecureSecurity"),
        ("FROM a\nRUN --device=nvidia.com/gpu x\n", 2, "HostDevice"),
        (
            "FROM a\nRUN --mount=type=bind,source=/var/run/docker.sock,target=/s x\n",
            2,
            "HostMount",
        ),
        ("FROM a\nRUN --mount=src=/proc,target=/s x\n", 2, "HostMount"),
        ("# syntax=evil/x\nFROM a\n", 1, "SyntaxFrontend"),
        ("# check=skip=all\n# syntax=evil/x\nFROM a\n", 2, "SyntaxFrontend"),
        ("FROM a\nWORKDIR /proc/self/fd/8\n", 2, "HostDirectory"),
        ("FROM a\nWORKDIR /a/../proc\n", 2, "HostDirectory"),
        ("FROM a\nWORKDIR /\nWORKDIR proc//self\n", 3, "HostDirectory"),
        ("FROM a\nENV P=/proc\nWORKDIR ${P}/self/fd/8\n", 3, "HostDirectory"),
        ("FROM a\nARG P\nWORKDIR $P\n", 3, "HostDirectory"),
        ("FROM a AS b\nWORKDIR /dev\nFROM b\nWORKDIR fd\n", 4, "HostDirectory"),
        ("FROM a\nONBUILD WORKDIR /dev/fd/8\n", 2, "HostDirectory"),
    ] {
        let forbidden = sound(text).forbidden(&arguments(&[("P", "/proc/self")]), &["docker/dockerfile"]);
        let told: Vec<_> = forbidden
            .iter()
            .map(|forbidden| (forbidden.line, forbidden.rule))
            .collect();
        assert_eq!(told, [(line, rule)], "{text:?}");
    }
    let text = "FROM a\nRUN --network=host x\n";
    let told = sound(text).forbidden(&arguments(&[]), &[""; 0])[0].to_string();
    assert_eq!(
        told,
        "line 2: --network=host is not allowed: a build has a network of its own, and default is what a download needs"
    );
}

#[test]
fn what_only_looks_forbidden_is_not() {
    for text in [
        "# syntax=docker/dockerfile:1\nFROM a\n",
        "FROM a\nRUN --network=none --security=sandbox curl --network=host\n",
        "FROM a\nRUN x --network=host\n",
        "FROM a\nRUN --mount=type=bind,source=/run,from=b,target=/r x\n",
        "FROM a\nRUN --mount=type=bind,source=app,target=/a --mount=type=cache,target=/var/run/x x\n",
        "FROM a\nWORKDIR /process\nWORKDIR /home/proc\nWORKDIR ../../x\n",
        "FROM a\nARG P=/app\nENV P=/app\nWORKDIR $P\n",
        "FROM a\nRUN <<EOF\nRUN --network=host\nEOF\n",
    ] {
        let forbidden = sound(text).forbidden(&arguments(&[("P", "/proc/self")]), &["docker/dockerfile"]);
        assert_eq!(forbidden, [], "{text:?}");
    }
}
