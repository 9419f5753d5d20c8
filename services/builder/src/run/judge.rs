//! What a Dockerfile asks for is judged before an engine sees it, by a reader that reads as that engine does.

use super::{Attempt, artifact_prefix};
use crate::{
    arguments::{self, SYNTAX},
    docker::EngineError,
};
use access::{Caller, Denied, Right};
use dockerfile::{Base, parse, parse_without_heredocs, platform_arguments, syntax_directives};
use proto::editor::v1::BuildSpec;
use std::{collections::BTreeMap, net::IpAddr};

/// Since then engines read heredocs themselves.
const HEREDOCS_SINCE: u32 = 23;

/// Why no engine sees it.
pub(super) enum Unfit {
    /// One sentence for the one who asked for the build.
    Refused(String),
    Engine(EngineError),
    /// Nobody knows who may see what by now.
    Rights(Denied),
}

/// What an engine may have.
pub(super) struct Judged {
    pub(super) dockerfile: String,
    pub(super) arguments: BTreeMap<String, String>,
}

impl Attempt<'_> {
    pub(super) async fn judge(
        &self,
        text: &str,
        spec: &BuildSpec,
        pins: &BTreeMap<String, String>,
    ) -> Result<Judged, Unfit> {
        let settings = &self.world.config.builder;
        let mut arguments = spec.build_args.clone();
        arguments.extend(self.job.row.options.build_args.clone());
        arguments::check(&arguments, settings).map_err(|wrong| Unfit::Refused(wrong.to_string()))?;
        let mut text = text.to_owned();
        if settings.syntax_own {
            arguments.remove(SYNTAX);
            text = read_by_the_engine(&text, &settings.syntax_allowed);
        }

        let fetches_frontend = arguments.contains_key(SYNTAX) || !syntax_directives(&text).is_empty();
        let read = if fetches_frontend || self.has_heredocs() {
            parse(&text)
        } else {
            parse_without_heredocs(&text)
        };
        if let Some(error) = read.errors.first() {
            // Of a text with errors nothing is sure.
            return Err(Unfit::Refused(format!(
                "Dockerfile line {}: {}",
                error.line, error.message
            )));
        }
        let platform = match spec.platforms.first() {
            Some(platform) => platform.clone(),
            None => self.job.engine.platform().await.map_err(Unfit::Engine)?,
        };
        let mut values = platform_arguments(&platform);
        values.extend(arguments.clone());
        if let Some(forbidden) = read.forbidden(&values, &settings.syntax_allowed).first() {
            return Err(Unfit::Refused(format!("Dockerfile {forbidden}")));
        }
        let bases = read.bases(&values);
        for base in &bases {
            self.may_use(base).await?;
        }
        Ok(Judged {
            dockerfile: pinned(&text, &bases, pins),
            arguments,
        })
    }

    fn has_heredocs(&self) -> bool {
        let major = self.job.engine_version.split('.').next().unwrap_or_default();
        // One that tells no number is one of today.
        major.parse::<u32>().map_or(true, |major| major >= HEREDOCS_SINCE)
    }

    /// What lies in the cluster's own registry is somebody's: who may not see it is told what is told of nothing.
    async fn may_use(&self, base: &Base) -> Result<(), Unfit> {
        let line = base.line;
        let Some(reference) = &base.reference else {
            let written = &base.written;
            return Err(Unfit::Refused(format!(
                "Dockerfile line {line}: `{written}` is no reference of an image"
            )));
        };
        let absent =
            |reference: &str| Unfit::Refused(format!("Dockerfile line {line}: {reference}: {}", Denied::NoSuchImage));
        if reference.to_ascii_lowercase().contains(artifact_prefix()) {
            // What builds leave in the engine until it is published.
            return Err(absent(reference));
        }
        let internal = self.world.access.internal_registry();
        let Some(rest) = within(reference, internal) else {
            return Ok(());
        };
        let caller = Caller {
            user: self.job.row.requester.clone(),
            admin: false,
        };
        let name = rest.split_once('@').map_or(rest, |(name, _)| name);
        match self
            .world
            .access
            .image(&caller, &format!("{internal}/{name}"), Right::Read)
            .await
        {
            Ok(_) => Ok(()),
            Err(Denied::NoSuchImage) => Err(absent(reference)),
            Err(denied) => Err(Unfit::Rights(denied)),
        }
    }
}

/// The rest of a reference to the cluster's own registry, by whichever name of this machine.
fn within<'a>(reference: &'a str, internal: &str) -> Option<&'a str> {
    let (host, rest) = reference.split_once('/')?;
    let port = |host: &str| host.rsplit_once(':').map(|(_, port)| port.to_owned());
    let is_alias = port(host).is_some() && port(host) == port(internal) && is_this_machine(host);
    (host.eq_ignore_ascii_case(internal) || is_alias).then_some(rest)
}

/// Resolvers read numbers in more ways than one.
fn is_this_machine(host: &str) -> bool {
    let name = host
        .rsplit_once(':')
        .map_or(host, |(name, _)| name)
        .to_ascii_lowercase();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(address) => address.is_loopback() || address.is_unspecified(),
        Err(_) => {
            name == "localhost"
                || name.ends_with(".localhost")
                || name.split('.').all(|part| {
                    let hex = part.strip_prefix("0x");
                    hex.is_some_and(|hex| hex.chars().all(|c| c.is_ascii_hexdigit()))
                        || (!part.is_empty() && part.chars().all(|c| c.is_ascii_digit()))
                })
        }
    }
}

/// With allowed frontends made comments behind the other directives: among them a comment would end them. Instructions stay
/// on their lines.
fn read_by_the_engine(text: &str, allowed: &[String]) -> String {
    let asked = syntax_directives(text);
    let is_allowed = |number: usize| {
        let mut here = asked.iter().filter(|syntax| syntax.line as usize == number);
        here.next().is_some_and(|syntax| syntax.is_allowed(allowed))
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let is_directive = |line: &&str| line.starts_with('#') && line.contains('=');
    let top = text.split_inclusive('\n').take_while(is_directive).zip(1..);
    let (moved, kept): (Vec<_>, Vec<_>) = top.partition(|(_, number)| is_allowed(*number));
    let rest = text.split_inclusive('\n').skip(moved.len() + kept.len());
    let moved = moved.iter().map(|(line, _)| {
        let said = line.trim_start_matches('#').replace('=', " ");
        format!("# left to the engine:{said}")
    });
    let kept = kept.iter().map(|(line, _)| (*line).to_owned());
    kept.chain(moved).chain(rest.map(str::to_owned)).collect()
}

/// With digests behind references that were something else before, or may be by now.
fn pinned(text: &str, bases: &[Base], pins: &BTreeMap<String, String>) -> String {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    for base in bases {
        let Some(digest) = base
            .reference
            .as_ref()
            .and_then(|reference| pins.get(&normal(reference)))
        else {
            continue;
        };
        let reference = base.reference.clone().unwrap_or_default();
        let line = lines.get_mut((base.line as usize).saturating_sub(1));
        // An instruction may go over several lines; what is not found there stays as it is, and is told afterwards.
        if let Some(line) = line.filter(|line| line.contains(&base.written) && !reference.contains('@')) {
            *line = line.replacen(&base.written, &format!("{reference}@{digest}"), 1);
        }
    }
    lines.concat()
}

/// Engines name what they resolved in more ways than one: always with its registry, and not always with its tag.
pub(super) fn normal(reference: &str) -> String {
    let (host, path) = match reference.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest.to_owned()),
        Some(_) => ("docker.io", reference.to_owned()),
        None => ("docker.io", format!("library/{reference}")),
    };
    let tag = if path.rsplit('/').next().is_some_and(|name| name.contains(':')) {
        ""
    } else {
        ":latest"
    };
    format!("{host}/{path}{tag}")
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers R8
    #[test]
    fn the_own_registry_is_known_by_every_name_of_this_machine() {
        let within = |reference: &str| within(reference, "127.0.0.1:7071").map(str::to_owned);
        for host in [
            "127.0.0.1:7071",
            "localhost:7071",
            "LOCALHOST:7071",
            "a.localhost:7071",
            "127.1:7071",
            "2130706433:7071",
            "0x7f.1:7071",
            "0.0.0.0:7071",
            "[::1]:7071",
            "[::ffff:127.0.0.1]:7071",
        ] {
            let reference = format!("{host}/team/tool:1@sha256:00");
            assert_eq!(within(&reference).as_deref(), Some("team/tool:1@sha256:00"), "{host}");
        }
        for other in [
            "127.0.0.1:5000/x",
            "registry.example:7071/x",
            "debian:12",
            "library/debian",
            "10.0.0.1:7071/x",
        ] {
            assert_eq!(within(other), None, "{other}");
        }
    }

    // covers R25
    #[test]
    fn an_allowed_frontend_is_left_to_the_engine_and_other_directives_stay() {
        let allowed = ["docker/dockerfile".to_owned()];
        let text = "# Syntax = docker/dockerfile:1\n# escape=`\nFROM scratch\n# syntax=later\n";
        let own = read_by_the_engine(text, &allowed);
        assert_eq!(
            own,
            "# escape=`\n# left to the engine: Syntax   docker/dockerfile:1\nFROM scratch\n# syntax=later\n"
        );
        assert!(syntax_directives(&own).is_empty());
        assert_eq!(dockerfile::parse(&own).escape, '`');
        let evil = "# syntax=evil/x\nFROM scratch\n";
        assert_eq!(read_by_the_engine(evil, &allowed), evil);
    }

    // covers E12
    #[test]
    fn bases_are_pinned_where_they_stand() {
        let text = "ARG TAG=12\nFROM debian:${TAG} AS base\nCOPY --from=busybox /bin/sh /sh\nFROM base\nFROM a.example/x@sha256:1\n";
        let bases = parse(text).bases(&BTreeMap::new());
        let pins = [
            ("docker.io/library/debian:12", "sha256:d"),
            ("docker.io/library/busybox:latest", "sha256:b"),
        ];
        let pins = pins
            .map(|(reference, digest)| (reference.to_owned(), digest.to_owned()))
            .into();
        assert_eq!(
            pinned(text, &bases, &pins),
            "ARG TAG=12\nFROM debian:12@sha256:d AS base\nCOPY --from=busybox@sha256:b /bin/sh /sh\nFROM base\n\
             FROM a.example/x@sha256:1\n"
        );
    }
}
