//! What must not be left once everything has ended: rows that a rebuild would not have, folders, processes, and
//! anything in the engine that nobody needs.

use super::story::{Stage, Stories};
use bollard::query_parameters::{ListContainersOptionsBuilder, ListImagesOptions};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::Duration,
};
use tests::{Platform, dump, engine};
use tokio::time::{interval, timeout};

/// Starts until nothing changes any more.
const STARTS_MAX: usize = 10;
const WITHIN: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(100);

/// The views equal a rebuild, and no temporary folder and no process is left. The platform does not run afterwards.
pub(super) async fn nothing_beside_the_log(platform: &mut Platform) -> anyhow::Result<()> {
    let folders = platform.data_folders();
    let mut before = dumps(platform, &folders).await?;
    let mut starts = 0;
    loop {
        platform.go_on().await?;
        let after = dumps(platform, &folders).await?;
        if after == before {
            break;
        }
        starts += 1;
        assert!(
            starts < STARTS_MAX,
            "each start does more: {}",
            differing(&before, &after)
        );
        before = after;
    }
    for folder in &folders {
        assert_eq!(entries(&folder.join("work")), 0, "temporary folders are left");
        fs::remove_dir_all(folder.join("views"))?;
    }
    platform.go_on().await?;
    assert!(!processes_of(&platform.data())?.is_empty(), "those that run are seen");
    let rebuilt = dumps(platform, &folders).await?;
    assert_eq!(rebuilt, before, "a rebuilt view differs from the live one");
    assert_eq!(processes_of(&platform.data())?, [""; 0], "processes are left");
    Ok(())
}

pub(super) fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

async fn dumps(platform: &mut Platform, folders: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    platform.stop()?;
    let mut dumps = Vec::new();
    for folder in folders {
        dumps.push(dump(&folder.join("views")).await?);
    }
    Ok(dumps)
}

/// Lines that only one of them has.
fn differing(before: &[String], after: &[String]) -> String {
    let lines = |dumps: &[String]| -> BTreeSet<String> {
        let lines = dumps.iter().flat_map(|dump| dump.lines());
        lines.map(str::to_owned).collect()
    };
    let (before, after) = (lines(before), lines(after));
    let lines: Vec<&str> = before.symmetric_difference(&after).map(String::as_str).collect();
    lines.join("\n")
}

/// What every process was started with, where that names a folder, be it in its arguments or in its settings.
fn processes_of(folder: &Path) -> anyhow::Result<Vec<String>> {
    let wanted = folder.as_os_str().as_bytes();
    let names = |told: &[u8]| told.windows(wanted.len()).any(|part| part == wanted);
    let mut found = Vec::new();
    for process in fs::read_dir("/proc")? {
        let process = process?.path();
        // It may end while it is looked at; and whoever else's it is, it is not ours.
        let read = |file: &str| fs::read(process.join(file)).unwrap_or_default();
        let arguments = read("cmdline");
        if names(&arguments) || names(&read("environ")) {
            found.push(String::from_utf8_lossy(&arguments).replace('\0', " "));
        }
    }
    Ok(found)
}

/// No container of what was built, no image of an attempt, and of what was pushed only what was also published: that
/// stays for a while, because somebody may be pulling it.
pub(super) async fn nothing_in_the_engine(platform: &mut Platform, stories: &Stories) -> anyhow::Result<()> {
    // A builder looks through the engine when it starts.
    platform.go_on().await?;
    let docker = engine().await?;
    let ulid = |id: &str| id.split('_').next_back().unwrap_or_default().to_lowercase();
    let artifacts: BTreeSet<String> = stories
        .values()
        .map(|story| format!("cooperage-artifact/{}:", ulid(&story.image)))
        .collect();
    let pushed: BTreeSet<String> = stories
        .iter()
        .filter(|(_, story)| story.stage == Stage::Published)
        .map(|(build, story)| format!("b-{}-{}", ulid(build), story.attempts))
        .collect();
    let host = format!("{}/", platform.registry_host());
    let is_ours = |text: &str| text.contains(&host) || artifacts.iter().any(|artifact| text.contains(artifact));
    let is_left = |reference: &String| {
        let tag = reference.rsplit(':').next().unwrap_or_default();
        is_ours(reference) && !pushed.contains(tag)
    };

    let mut left = Vec::new();
    let swept = async {
        let mut tick = interval(STEP);
        loop {
            tick.tick().await;
            let images = docker.list_images(None::<ListImagesOptions>).await?;
            left = images
                .into_iter()
                .flat_map(|image| image.repo_tags)
                .filter(is_left)
                .collect();
            if left.is_empty() {
                return anyhow::Ok(());
            }
        }
    };
    let swept = timeout(WITHIN, swept).await;
    assert!(swept.is_ok(), "images are left: {left:?}");
    let all = ListContainersOptionsBuilder::default().all(true).build();
    for container in docker.list_containers(Some(all)).await? {
        let told = serde_json::to_string(&container)?;
        assert!(!is_ours(&told), "a container is left: {told}");
    }
    platform.stop()
}
