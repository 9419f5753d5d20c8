//! The guided tour: the way of an image from its name to `docker run`, by the commands that people type, with what they
//! really answer.

mod step;

use super::{programs, words::Place};
use crate::{
    failure::{Exit, Failure},
    output::Output,
};
use anyhow::Context as _;
use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};
use step::Guide;

const WORKSPACE: &str = "tour";
const IMAGE: &str = "tour/hello";
/// Where a program that needs no other file says so, were it to need one.
const HEADER_BYTES: u64 = 4096;

/// The image is made FROM scratch, which has nothing to run, so that nothing here needs the internet: busybox is a
/// whole userland in one file.
const FIRST: &str = r#"FROM scratch
COPY busybox /bin/busybox
CMD ["/bin/busybox", "echo", "Hello!"]
"#;
const CHANGED: &str = r#"FROM scratch
COPY busybox /bin/busybox
CMD ["/bin/busybox", "echo", "Hello from Cooperage!"]
"#;
const BROKEN: &str = r#"FROM scratch
COPY busibox /bin/busybox
CMD ["/bin/busybox", "echo", "Hello from Cooperage!"]
"#;

/// Shows it all, or, on data where that was done, what it left.
pub(super) async fn run(output: &Output, place: &Place) -> Result<(), Failure> {
    let guide = Guide::new(output, place)?;
    let folder = place.data.join("tour");
    let done = folder.join("done");
    if done.exists() {
        output.line("\nThe tour was made on this data before. This is what there is:")?;
        return guide.cooper(&["image", "ls", "--all-workspaces"]).await;
    }
    let files = Files::write(&folder).map_err(super::ends(Exit::Unavailable))?;
    tour(output, &guide, &files).await?;
    fs::write(done, "")
        .with_context(|| folder.display().to_string())
        .map_err(super::ends(Exit::Unavailable))
}

async fn tour(output: &Output, guide: &Guide<'_>, files: &Files) -> Result<(), Failure> {
    let [context, changed, broken, mended] =
        [&files.context, &files.changed, &files.broken, &files.mended].map(|path| shown(path));
    let [context, changed, broken, mended] = [&context, &changed, &broken, &mended].map(String::as_str);

    guide.says("A workspace, and an image in it")?;
    if guide.asks(&["workspace", "show", WORKSPACE]).await?.is_some() {
        output.line(format!("The workspace {WORKSPACE} is there already."))?;
    } else {
        guide.cooper(&["workspace", "create", WORKSPACE]).await?;
    }
    if let Some(image) = guide.asks(&["image", "show", IMAGE]).await? {
        output.line(format!("The image {IMAGE} is there already."))?;
        if image["activeBuild"].as_str().is_some_and(|build| !build.is_empty()) {
            output.line("A build of a tour that was interrupted ends first.")?;
            let ways = [Exit::Done, Exit::Failed];
            guide.cooper_ends(&["image", "logs", "--follow", IMAGE], &ways).await?;
        }
    } else {
        guide
            .cooper(&["image", "create", IMAGE, "--workspace", WORKSPACE])
            .await?;
    }

    guide.says("Save its Dockerfile, with busybox attached: the program, in one file, that the image will run")?;
    guide.shows(&files.context.join("Dockerfile"), FIRST)?;
    guide
        .cooper(&["image", "save", IMAGE, "--context", context, "-m", "the first"])
        .await?;

    guide.says("Build it: the log as it comes, the push, and the reference by digest")?;
    guide.cooper(&["image", "build", IMAGE]).await?;

    guide.says("Its tile is green, and it has a tag")?;
    guide.cooper(&["image", "ls", "--workspace", WORKSPACE]).await?;
    guide.cooper(&["image", "show", IMAGE]).await?;
    guide.cooper(&["image", "tags", IMAGE]).await?;

    guide.says("Save a change: the tile turns orange")?;
    guide
        .cooper(&["image", "save", IMAGE, "-f", changed, "-m", "greet better"])
        .await?;
    guide.cooper(&["image", "diff", IMAGE]).await?;
    guide.cooper(&["image", "ls", "--workspace", WORKSPACE]).await?;

    guide.says("Break it, and build: the journal gets a red row, and the good image is still there")?;
    guide.shows(&files.broken, BROKEN)?;
    guide
        .cooper(&["image", "save", IMAGE, "-f", broken, "-m", "a slip"])
        .await?;
    guide.cooper_ends(&["image", "build", IMAGE], &[Exit::Failed]).await?;
    guide.cooper(&["image", "builds", IMAGE]).await?;
    guide.cooper(&["resolve", IMAGE]).await?;

    guide.says("Mend it, and build")?;
    guide
        .cooper(&["image", "save", IMAGE, "-f", mended, "-m", "mended"])
        .await?;
    guide.cooper(&["image", "build", IMAGE]).await?;
    guide.cooper(&["image", "ls", "--workspace", WORKSPACE]).await?;

    guide.says("Run it, by its digest")?;
    let reference = guide.cooper_answers(&["resolve", IMAGE]).await?;
    guide.docker(&["run", "--rm", &reference]).await
}

/// What the tour saves, in the data folder.
struct Files {
    context: PathBuf,
    changed: PathBuf,
    broken: PathBuf,
    mended: PathBuf,
}

impl Files {
    fn write(folder: &Path) -> anyhow::Result<Self> {
        let files = Self {
            context: folder.join("hello"),
            changed: folder.join("changed.Dockerfile"),
            broken: folder.join("broken.Dockerfile"),
            mended: folder.join("mended.Dockerfile"),
        };
        fs::create_dir_all(&files.context).with_context(|| folder.display().to_string())?;
        fs::copy(busybox()?, files.context.join("busybox"))?;
        fs::write(files.context.join("Dockerfile"), FIRST)?;
        fs::write(&files.changed, CHANGED)?;
        fs::write(&files.broken, BROKEN)?;
        fs::write(&files.mended, CHANGED)?;
        Ok(files)
    }
}

/// One that is linked statically: in an image made FROM scratch there is nothing else that it could need.
fn busybox() -> anyhow::Result<PathBuf> {
    let is_whole = |file: &PathBuf| {
        let mut header = Vec::new();
        let read = File::open(file).and_then(|file| file.take(HEADER_BYTES).read_to_end(&mut header));
        // The path of the loader, which a program that is not whole asks for.
        read.is_ok() && !header.windows(4).any(|part| part == b"/ld-")
    };
    let found = programs::in_path("busybox").filter(is_whole);
    found.context("the tour needs a static busybox: install it (Debian: busybox-static), or leave --tour away")
}

/// As short as a person would type it.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
