//! A client that saves and builds, whatever dies under it, and keeps a journal of what it was told.

use ids::Ulid;
use proto::{
    builder::v1::{BuildOptions, StartBuildRequest},
    catalog::v1::CreateImageRequest,
    editor::v1::{BuildSpec, ContextKind, SaveSpecRequest},
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tests::{User, reason};
use tokio::time::sleep;
use tonic::{Code, Status};

const IMAGES: usize = 3;
/// How long it waits before it repeats a call that got no answer.
const REPEAT: Duration = Duration::from_millis(50);
/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a client was told.
#[derive(Debug, Default)]
pub(super) struct Journal {
    images: Vec<String>,
    /// Saved revisions by image.
    pub(super) saves: BTreeMap<String, u32>,
    /// Builds with their images.
    pub(super) builds: Vec<(String, String)>,
}

/// Works until told to stop. A call without an answer is repeated with the same request id.
pub(super) async fn client(ada: User, workspace: String, over: Arc<AtomicBool>, seed: u64) -> anyhow::Result<Journal> {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut journal = Journal::default();
    for number in 0..IMAGES {
        let request = CreateImageRequest {
            request_id: Ulid::from(chance.random::<u128>()).to_string(),
            workspace: workspace.clone(),
            name: format!("vision/tool-{number}"),
            ..CreateImageRequest::default()
        };
        let created = insist(|| async { Ok(ada.images().create_image(request.clone()).await?.into_inner()) }).await?;
        ada.saw(created.position);
        journal.images.push(created.id);
    }
    let mut count = 0_u32;
    while !over.load(Ordering::SeqCst) {
        let image = &journal.images[chance.random_range(0..IMAGES)];
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
                let build = started.build.unwrap_or_default().id;
                journal.builds.push((image.clone(), build));
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
        let answer = tokio::time::timeout(PATIENCE, call()).await;
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
