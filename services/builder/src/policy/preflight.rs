//! What an engine must be for builds of people who don't trust each other, and which limits it is given.
//!
//! BuildKit has no limits per build: what it is asked for it ignores. So they are those of the cgroup of all builds, where
//! that is on this machine and ours to change.

use crate::docker::Facts;
use anyhow::bail;
use service::BuilderSettings;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What is said as long as `builder.untrusted_builds` is off.
pub(super) const TRUST: &str = "everybody who may build here is trusted with this machine: builds run as root on one engine, \
                                and nothing but that engine stands between them and it (builder.untrusted_builds)";

const CGROUPS: &str = "/sys/fs/cgroup";
/// Where the engine puts all steps of all builds.
const GROUP: &str = "docker/buildkit";

/// Part of the engine, the first safe version of each line that was mended, and what is wrong with those before. What does
/// not tell its version is not judged: BuildKit, mostly, which comes with the engine.
const FLOORS: [(&str, &[Version], &str); 3] = [
    ("engine", &[[24, 0, 9], [25, 0, 2]], "CVE-2024-24557"),
    ("runc", &[[1, 1, 12]], "CVE-2024-21626"),
    ("buildkit", &[[0, 28, 1]], "CVE-2026-33747"),
];

type Version = [u64; 3];

/// Refuses an engine that is known to let builds out.
pub(super) fn judge(facts: &Facts) -> anyhow::Result<()> {
    for (name, floors, flaw) in FLOORS {
        let of_part = |(part, version): &(String, String)| {
            let is_it = part.eq_ignore_ascii_case(name);
            is_it.then(|| version.clone())
        };
        let told = facts.components.iter().find_map(of_part);
        let Some(told) = told.or_else(|| (name == "engine").then(|| facts.version.clone())) else {
            continue;
        };
        let version = parse(&told);
        let is_safe = |floor: &Version| version >= *floor && version[..2] == floor[..2];
        let newest = floors.iter().max().copied().unwrap_or_default();
        if version < newest && !floors.iter().any(is_safe) {
            let [major, minor, patch] = newest;
            bail!(
                "{name} {told} is below {major}.{minor}.{patch} ({flaw}); set builder.untrusted_builds = false or upgrade"
            );
        }
    }
    Ok(())
}

/// Of `20.10.24+dfsg1` the first three numbers.
fn parse(text: &str) -> Version {
    let mut parts = text
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

/// Limits what can be limited, and tells what the engine is and what is enforced.
pub(super) fn enforce(facts: &Facts, settings: &BuilderSettings) -> String {
    let Facts {
        version,
        cgroup_version,
        cgroup_driver,
        store,
        ..
    } = facts;
    let limits = limits(Path::new(CGROUPS), facts, settings);
    let sized = if settings.cache_bytes_max > 0 && !facts.bounds_cache {
        "; its build cache can be bounded by age (builder.cache_hours_max), and not by size"
    } else {
        ""
    };
    format!(
        "engine {version}, cgroup v{cgroup_version} ({cgroup_driver}), store {store}; each build may take {} minutes, be silent \
         for {} and print {} bytes; {limits}{sized}",
        settings.build_minutes_max, settings.idle_minutes_max, settings.log_bytes_max
    )
}

fn limits(cgroups: &Path, facts: &Facts, settings: &BuilderSettings) -> String {
    let wanted = [
        ("memory", "bytes of memory", settings.memory_bytes_max),
        ("pids", "processes", settings.pids_max),
    ];
    if wanted.iter().all(|(.., max)| *max == 0) {
        return "memory and processes are not limited (builder.memory_bytes_max, builder.pids_max)".to_owned();
    }
    let mut said = Vec::new();
    for (controller, what, max) in wanted.into_iter().filter(|(.., max)| *max > 0) {
        said.push(match limit(cgroups, facts, controller, max) {
            Ok(()) => format!("all builds together may have {max} {what} (cgroup /{GROUP})"),
            Err(why) => format!("{what} can't be limited: {why}"),
        });
    }
    said.join("; ")
}

fn limit(cgroups: &Path, facts: &Facts, controller: &str, max: u64) -> Result<(), String> {
    if facts.root.is_none() {
        return Err("the engine is on another machine".to_owned());
    }
    if facts.cgroup_driver != "cgroupfs" {
        return Err(format!(
            "the engine's cgroup driver is {}, and only with cgroupfs have its builds a cgroup of their own",
            facts.cgroup_driver
        ));
    }
    let (group, file) = match (facts.cgroup_version.as_str(), controller) {
        ("2", _) => (cgroups.join(GROUP), format!("{controller}.max")),
        (_, "memory") => (cgroups.join("memory").join(GROUP), "memory.limit_in_bytes".to_owned()),
        _ => (cgroups.join(controller).join(GROUP), format!("{controller}.max")),
    };
    let file = group.join(file);
    let written = group_for(&group, cgroups, facts, controller).and_then(|()| fs::write(&file, max.to_string()));
    written.map_err(|error| format!("{} can't be written: {error}", file.display()))
}

/// The engine makes it with the first build; until then it is not there.
fn group_for(group: &Path, cgroups: &Path, facts: &Facts, controller: &str) -> io::Result<()> {
    fs::create_dir_all(group)?;
    if facts.cgroup_version == "2" {
        // Each level hands its controllers down.
        let above = group.ancestors().skip(1).take_while(|above| above.starts_with(cgroups));
        let mut above: Vec<PathBuf> = above.map(|above| above.join("cgroup.subtree_control")).collect();
        above.reverse();
        for level in above {
            fs::write(level, format!("+{controller}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use service::Config;

    fn facts(version: &str, components: &[(&str, &str)]) -> Facts {
        let owned = |(name, version): &(&str, &str)| ((*name).to_owned(), (*version).to_owned());
        Facts {
            version: version.to_owned(),
            components: components.iter().map(owned).collect(),
            cgroup_driver: "cgroupfs".to_owned(),
            root: Some("/".into()),
            ..Facts::default()
        }
    }

    fn judged(version: &str, runc: &str) -> Option<String> {
        let facts = facts(version, &[("Engine", version), ("runc", runc)]);
        judge(&facts).err().map(|error| error.to_string())
    }

    #[test]
    fn untrusted_builds_need_an_engine_without_known_holes() {
        for (version, runc) in [
            ("25.0.2", "1.1.12"),
            ("24.0.9", "1.1.12"),
            ("28.5.2+dfsg4", "1.3.3+ds1"),
            ("29.0.0-rc.1", "1.4.0-rc.3"),
        ] {
            assert_eq!(judged(version, runc), None);
        }
        for version in ["20.10.24+dfsg1", "24.0.8", "25.0.1", "", "dev"] {
            assert_eq!(
                judged(version, "1.3.3").unwrap(),
                format!(
                    "engine {version} is below 25.0.2 (CVE-2024-24557); set builder.untrusted_builds = false or upgrade"
                )
            );
        }
        let old = judged("28.5.2", "1.1.5+ds1").unwrap();
        assert!(
            old.starts_with("runc 1.1.5+ds1 is below 1.1.12 (CVE-2024-21626); "),
            "{old}"
        );
        let listed = facts("28.5.2", &[("BuildKit", "v0.12.5")]);
        assert!(judge(&listed).is_err());
    }

    fn limited(folder: &Path, facts: &Facts) -> String {
        let config = Config::defaults().unwrap();
        let config = config.with("builder.memory_bytes_max", 1000).unwrap();
        let config = config.with("builder.pids_max", 512).unwrap();
        limits(folder, facts, &config.builder)
    }

    #[test]
    fn limits_are_those_of_the_cgroup_of_all_builds() {
        let said = "all builds together may have 1000 bytes of memory (cgroup /docker/buildkit); all builds together may \
                    have 512 processes (cgroup /docker/buildkit)";
        for (version, memory, pids) in [
            (
                "1",
                "memory/docker/buildkit/memory.limit_in_bytes",
                "pids/docker/buildkit/pids.max",
            ),
            ("2", "docker/buildkit/memory.max", "docker/buildkit/pids.max"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let facts = Facts {
                cgroup_version: version.to_owned(),
                ..facts("28.5.2", &[])
            };
            assert_eq!(limited(folder.path(), &facts), said);
            let read = |file: &str| fs::read_to_string(folder.path().join(file)).unwrap();
            assert_eq!((read(memory), read(pids)), ("1000".to_owned(), "512".to_owned()));
        }
    }

    #[test]
    fn what_can_not_be_limited_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::defaults().unwrap();
        let nothing = limits(folder.path(), &facts("28.5.2", &[]), &config.builder);
        assert!(nothing.contains("not limited"), "{nothing}");

        let systemd = Facts {
            cgroup_driver: "systemd".to_owned(),
            ..facts("28.5.2", &[])
        };
        let away = Facts {
            root: None,
            ..facts("28.5.2", &[])
        };
        // A file where the folder should be.
        fs::write(folder.path().join("memory"), "").unwrap();
        for (facts, why) in [
            (
                systemd,
                "processes can't be limited: the engine's cgroup driver is systemd",
            ),
            (away, "processes can't be limited: the engine is on another machine"),
            (facts("28.5.2", &[]), "bytes of memory can't be limited: "),
        ] {
            let said = limited(folder.path(), &facts);
            assert!(said.contains(why), "{said}");
        }
    }
}
