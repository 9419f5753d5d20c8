//! How long a right that was revoked is still good for something, in any service.

use crate::{
    Bench,
    figures::{Line, Samples},
    platform::{Client, Platform, at_least},
};
use anyhow::ensure;
use futures::future::try_join_all;
use proto::{
    builder::v1::ListBuildsRequest,
    catalog::v1::{GetImageRequest, GrantRequest, Grantee, RevokeRequest, Right, grantee::Kind},
    editor::v1::GetSpecRequest,
    registry::v1::ListTagsRequest,
};
use std::time::{Duration, Instant};
use tonic::{Code, Status};

const TIMES: usize = 100;
const GOAL: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy)]
enum Service {
    Catalog,
    Editor,
    Builder,
    Registry,
}

pub(crate) async fn revoked(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let data = tempfile::tempdir()?;
    let platform = Platform::start(&bench.programs, data.path()).await?;
    let mut ada = platform.client().await?;
    let bob = platform.client_with(&platform.token("bob", false)?).await?;
    let workspace = ada.workspace().await?;
    let (image, mut position) = ada.image(&workspace, "bench/shared").await?;
    let grantee = Grantee {
        kind: Some(Kind::User("bob".to_owned())),
    };
    let mut lasted = Vec::new();
    for _ in 0..bench.samples(TIMES) {
        let grant = GrantRequest {
            image: image.clone(),
            grantee: Some(grantee.clone()),
            right: Right::Read.into(),
            ..GrantRequest::default()
        };
        position = ada
            .access
            .grant(at_least(grant, position)?)
            .await?
            .into_inner()
            .position;
        let mut sees = bob.clone();
        let seen = GetImageRequest { image: image.clone() };
        sees.images.get_image(at_least(seen, position)?).await?;

        let revoke = RevokeRequest {
            image: image.clone(),
            grantee: Some(grantee.clone()),
            ..RevokeRequest::default()
        };
        position = ada
            .access
            .revoke(at_least(revoke, position)?)
            .await?
            .into_inner()
            .position;
        let began = Instant::now();
        let each = [Service::Catalog, Service::Editor, Service::Builder, Service::Registry];
        let each = each.map(|service| until_refused(bob.clone(), service, &image, began));
        lasted.extend(try_join_all(each).await?.into_iter().max());
    }
    platform.stop()?;
    let lasted = Samples::new(lasted);
    Ok(vec![Line {
        what: "right revoked -> refused by every service, p99".to_owned(),
        goal: format!("<= {} ms", GOAL.as_millis()),
        figure: format!("{:.1} ms (p50 {:.1} ms)", lasted.percentile(99), lasted.median()),
        passed: lasted.percentile(99) <= GOAL.as_secs_f64() * 1_000.0,
        samples: lasted.count(),
        details: lasted.details(),
    }])
}

/// Asks again and again, by nothing newer than what the service knows by itself.
async fn until_refused(mut bob: Client, service: Service, image: &str, began: Instant) -> anyhow::Result<Duration> {
    loop {
        match ask(&mut bob, service, image).await {
            Ok(()) => ensure!(began.elapsed() < PATIENCE, "a right that was revoked is still good"),
            Err(status) if status.code() == Code::NotFound => return Ok(began.elapsed()),
            Err(status) => return Err(status.into()),
        }
    }
}

async fn ask(bob: &mut Client, service: Service, image: &str) -> Result<(), Status> {
    let image = image.to_owned();
    match service {
        Service::Catalog => bob.images.get_image(GetImageRequest { image }).await.map(drop),
        Service::Editor => {
            let request = GetSpecRequest { image, revision: None };
            bob.editor.get_spec(request).await.map(drop)
        }
        Service::Builder => {
            let request = ListBuildsRequest {
                image,
                ..<_>::default()
            };
            bob.builds.list_builds(request).await.map(drop)
        }
        Service::Registry => {
            let request = ListTagsRequest {
                image,
                ..<_>::default()
            };
            bob.registry.list_tags(request).await.map(drop)
        }
    }
}
