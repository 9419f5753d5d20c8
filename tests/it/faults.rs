//! Twenty times kill -9 at a random moment, under a client that keeps a journal of what it was told.

mod disk;
mod full_log;

use ids::Ulid;
use proto::{
    builder::v1::{BuildOptions, StartBuildRequest},
    catalog::v1::{BuildOutcome, CreateImageRequest},
    editor::v1::{BuildSpec, ContextKind, ListRevisionsRequest, SaveSpecRequest},
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tests::{Platform, SERVICES, Shape, User, dump, reason};
use tokio::time::sleep;
use tonic::{Code, Status};

const ROUNDS: usize = 20;
/// How long a round lives before it is killed, at most.
const LIFE: Duration = Duration::from_millis(1_200);
/// How long a client waits before it repeats a call that got no answer.
const REPEAT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn engine_nothing_acknowledged_is_lost_or_doubled_in_one_process() {
    killed_again_and_again(Shape::One).await.unwrap();
}

#[tokio::test]
async fn engine_nothing_acknowledged_is_lost_or_doubled_in_five() {
    killed_again_and_again(Shape::Many).await.unwrap();
}

/// What a client was told.
#[derive(Debug, Default)]
struct Journal {
    /// Saved revisions by image.
    saves: BTreeMap<String, u32>,
    /// Builds with their images.
    builds: Vec<(String, String)>,
}

// covers E2, E4, E6, E18
async fn killed_again_and_again(shape: Shape) -> anyhow::Result<()> {
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    let mut platform = Platform::start(shape).await?;
    let ada = platform.user("ada")?;
    let workspace = ada.workspace("vision").await?;

    let over = Arc::new(AtomicBool::new(false));
    let client = client(ada.clone(), workspace, over.clone(), chance.random());
    let killing = async {
        for _ in 0..ROUNDS {
            sleep(LIFE.mul_f64(chance.random())).await;
            kill_one(&mut platform, &mut chance).await?;
        }
        over.store(true, Ordering::SeqCst);
        anyhow::Ok(())
    };
    let (journal, ()) = tokio::try_join!(client, killing)?;
    assert!(
        !journal.builds.is_empty(),
        "nothing was acknowledged, so nothing was shown"
    );

    for (image, build) in &journal.builds {
        let ended = ada.until(image, build, |_| false).await?;
        let told = matches!(ended.outcome(), BuildOutcome::Succeeded)
            || (matches!(ended.outcome(), BuildOutcome::Lost) && !ended.cause.is_empty());
        assert!(
            told,
            "the build {build} ended as {:?}: {}",
            ended.outcome(),
            ended.cause
        );
    }
    for (image, saves) in &journal.saves {
        let all = ListRevisionsRequest {
            image: image.clone(),
            page_size: 1_000,
            ..ListRevisionsRequest::default()
        };
        let revisions = ada.editor().list_revisions(all).await?.into_inner().revisions;
        assert_eq!(
            revisions.len(),
            *saves as usize,
            "acknowledged saves of {image} and its revisions"
        );
        let acknowledged = journal.builds.iter().filter(|(of, _)| of == image).count();
        assert_eq!(ada.journal(image).await?.len(), acknowledged, "a build was doubled");
    }
    leaves_nothing(&mut platform).await
}

/// One of the processes, and in the separate shape also the server that holds the log.
async fn kill_one(platform: &mut Platform, chance: &mut StdRng) -> anyhow::Result<()> {
    match SERVICES.get(chance.random_range(0..=SERVICES.len())) {
        Some((service, _)) => platform.kill(service),
        None => match platform.nats() {
            Some(nats) => nats.restart().await?,
            None => platform.kill("cooper"),
        },
    }
    platform.go_on().await
}

/// Saves and builds until told to stop. A call without an answer is repeated with the same request id.
async fn client(ada: User, workspace: String, over: Arc<AtomicBool>, seed: u64) -> anyhow::Result<Journal> {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut journal = Journal::default();
    let mut images = Vec::new();
    for number in 0..3 {
        let request = CreateImageRequest {
            request_id: Ulid::from(chance.random::<u128>()).to_string(),
            workspace: workspace.clone(),
            name: format!("vision/tool-{number}"),
            ..CreateImageRequest::default()
        };
        let created = insist(|| async { Ok(ada.images().create_image(request.clone()).await?.into_inner()) }).await?;
        ada.saw(created.position);
        images.push(created.id);
    }
    let mut count = 0_u32;
    while !over.load(Ordering::SeqCst) {
        let image = &images[chance.random_range(0..images.len())];
        count += 1;
        let spec = BuildSpec {
            context_kind: ContextKind::LocalFolder.into(),
            dockerfile: format!("FROM scratch\nCOPY Dockerfile /{count}\n# {image}\n"),
            ..BuildSpec::default()
        };
        let save = SaveSpecRequest {
            request_id: Ulid::from(chance.random::<u128>()).to_string(),
            image: image.clone(),
            spec: Some(spec),
            ..SaveSpecRequest::default()
        };
        let saved = insist(|| async { Ok(ada.editor().save_spec(save.clone()).await?.into_inner()) }).await?;
        ada.saw(saved.position);
        *journal.saves.entry(image.clone()).or_default() += 1;

        let start = StartBuildRequest {
            request_id: Ulid::from(chance.random::<u128>()).to_string(),
            image: image.clone(),
            options: Some(BuildOptions::default()),
            ..StartBuildRequest::default()
        };
        match insist(|| async { Ok(ada.builds().start_build(start.clone()).await?.into_inner()) }).await {
            Ok(started) => {
                ada.saw(started.position);
                journal
                    .builds
                    .push((image.clone(), started.build.unwrap_or_default().id));
            }
            Err(refused) if reason(&refused) == "BUILD_RUNNING" => (),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(journal)
}

/// Repeats a call until it has an answer.
async fn insist<T, F: Future<Output = Result<T, Status>>>(call: impl Fn() -> F) -> Result<T, Status> {
    loop {
        let answer = tokio::time::timeout(Duration::from_secs(10), call()).await;
        match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(status))
                if !matches!(
                    status.code(),
                    Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled
                ) =>
            {
                return Err(status);
            }
            Ok(Err(_)) | Err(_) => sleep(REPEAT).await,
        }
    }
}

/// The views equal a rebuild, and no temporary folder is left.
async fn leaves_nothing(platform: &mut Platform) -> anyhow::Result<()> {
    let folders = platform.data_folders();
    let mut before = dumps(platform, &folders).await?;
    loop {
        platform.go_on().await?;
        let after = dumps(platform, &folders).await?;
        if after == before {
            break;
        }
        before = after;
    }
    for folder in &folders {
        assert_eq!(
            fs::read_dir(folder.join("work")).map_or(0, Iterator::count),
            0,
            "temporary folders are left"
        );
        fs::remove_dir_all(folder.join("views"))?;
    }
    platform.go_on().await?;
    let rebuilt = dumps(platform, &folders).await?;
    assert_eq!(rebuilt, before, "a rebuilt view differs from the live one");
    Ok(())
}

async fn dumps(platform: &mut Platform, folders: &[std::path::PathBuf]) -> anyhow::Result<Vec<String>> {
    platform.stop()?;
    let mut dumps = Vec::new();
    for folder in folders {
        let views: &Path = &folder.join("views");
        dumps.push(dump(views).await?);
    }
    Ok(dumps)
}
