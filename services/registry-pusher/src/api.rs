//! RegistryService: what tags there are, what they stand for, and another try for a push that failed.

use crate::{
    domain::{Command, Repository},
    policy::ARTIFACT_KEPT,
    registry::{Image, Registry, RegistryError},
    view::{self, Published},
};
use access::{Located, Right, is_tag};
use eventlog::{StreamId, View, Writer};
use ids::BuildId;
use proto::registry::v1::{
    InspectImageRequest, InspectImageResponse, Layer, ListTagsRequest, ListTagsResponse, ResolveReferenceRequest,
    ResolveReferenceResponse, RetryPushRequest, RetryPushResponse, Tag, registry_service_server::RegistryService,
};
use service::{Call, Failure, World, invalid, page, status, timestamp};
use tonic::{Code, Request, Response, Status};

pub(crate) struct Api {
    pub(crate) world: World,
    pub(crate) view: View,
    pub(crate) writer: Writer,
    pub(crate) registry: Registry,
}

impl Api {
    async fn admit<T>(&self, request: Request<T>) -> Result<(Call, T), Failure> {
        let call = self.world.admit(request.metadata(), &self.view).await?;
        Ok((call, request.into_inner()))
    }

    /// `host/path`, as engines and nodes reach it.
    fn repository(&self, path: &str) -> String {
        format!("{}/{path}", self.world.config.registry.host)
    }

    async fn list_tags(&self, request: Request<ListTagsRequest>) -> Result<ListTagsResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let located = self
            .world
            .access
            .image(&call.caller, &request.image, Right::Read)
            .await?;
        let limit = page(request.page_size)?;
        let rows = view::tag_page(&self.view, located.image, &request.page_token, limit).await?;
        let is_full = i64::try_from(rows.len()).is_ok_and(|length| length == limit);
        let next_page_token = rows
            .last()
            .filter(|_| is_full)
            .map(|row| row.tag.clone())
            .unwrap_or_default();
        let repository = self.repository(&located.name.path);
        let tags = rows.into_iter().map(|row| Tag {
            reference: format!("{repository}:{}", row.tag),
            platforms: Some(row.platform())
                .filter(|platform| !platform.is_empty())
                .into_iter()
                .collect(),
            name: row.tag,
            digest: row.digest,
            size_bytes: row.size.unwrap_or_default(),
            actor: row.actor,
            time: timestamp(row.time_ms),
            version: row.position.cast_unsigned(),
            immutable: false,
        });
        Ok(ListTagsResponse {
            tags: tags.collect(),
            next_page_token,
        })
    }

    /// Finds an image, and what a tag or a digest of it stands for. Either may also stand at the image's name.
    async fn published(&self, call: &Call, image: &str, reference: &str) -> Result<(Located, Published), Failure> {
        let (image, attached) = split(image);
        let reference = if reference.is_empty() { attached } else { reference };
        let located = self.world.access.image(&call.caller, image, Right::Read).await?;
        let wanted = if reference.is_empty() {
            &located.name.primary_tag
        } else {
            reference
        };
        if !is_tag(wanted) && !is_digest(wanted) {
            let message = format!("`{wanted}` is neither a tag nor a digest (sha256: and 64 digits)");
            return Err(invalid("reference", message).into());
        }
        let Some(published) = view::resolve(&self.view, located.image, wanted).await? else {
            let sentence = if reference.is_empty() {
                format!("nothing is published under `{}` yet, build it first", located.name)
            } else {
                format!("`{wanted}` is not published under `{}`", located.name.path)
            };
            return Err(status(Code::FailedPrecondition, "NOT_PUBLISHED", sentence).into());
        };
        Ok((located, published))
    }

    async fn resolve(&self, request: Request<ResolveReferenceRequest>) -> Result<ResolveReferenceResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let (_, published) = self.published(&call, &request.image, &request.reference).await?;
        Ok(ResolveReferenceResponse {
            reference: format!("{}@{}", self.repository(&published.path), published.digest),
            platform: published.platform(),
            digest: published.digest,
        })
    }

    async fn inspect(&self, request: Request<InspectImageRequest>) -> Result<InspectImageResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let (_, published) = self.published(&call, &request.image, &request.reference).await?;
        let image = self
            .registry
            .inspect(&published.path, &published.digest)
            .await
            .map_err(unreadable)?;
        Ok(described(image, &self.repository(&published.path)))
    }

    async fn retry(&self, request: Request<RetryPushRequest>) -> Result<RetryPushResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let located = self
            .world
            .access
            .image(&call.caller, &request.image, Right::Owner)
            .await?;
        let command = call.request(&self.world, &request.request_id)?;
        let build: Option<BuildId> = match request.build.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|error| invalid("build", error))?),
        };
        // Builds of the image are another service's to start, and what this view knows of them may be late.
        let builds = StreamId::new("builds", located.image);
        let started = self.world.log.version(&builds).await?;
        self.world.reach(&self.view, started).await?;
        let Some(assembled) = view::assembled(&self.view, located.image, build).await? else {
            let sentence = "no build of this image got as far as a push";
            return Err(status(Code::FailedPrecondition, "NOTHING_TO_RETRY", sentence).into());
        };
        let age_ms = self.world.clock.now_ms() - assembled.ended_ms;
        // A request that took effect is answered before that is judged, so it is judged by the domain.
        let is_newest = view::is_newest(&self.view, located.image, assembled.build).await?;
        let reopen = Command::Reopen {
            opened: assembled.opened(),
            is_newest,
            artifact_kept: u128::try_from(age_ms).unwrap_or_default() < ARTIFACT_KEPT.as_millis(),
        };
        let done = self
            .writer
            .execute::<Repository>(&command, &located.image, reopen)
            .await?;
        Ok(RetryPushResponse {
            position: done.position.0,
        })
    }
}

#[tonic::async_trait]
impl RegistryService for Api {
    async fn list_tags(&self, request: Request<ListTagsRequest>) -> Result<Response<ListTagsResponse>, Status> {
        self.list_tags(request).await.map(Response::new).map_err(Status::from)
    }

    async fn inspect_image(
        &self,
        request: Request<InspectImageRequest>,
    ) -> Result<Response<InspectImageResponse>, Status> {
        self.inspect(request).await.map(Response::new).map_err(Status::from)
    }

    async fn resolve_reference(
        &self,
        request: Request<ResolveReferenceRequest>,
    ) -> Result<Response<ResolveReferenceResponse>, Status> {
        self.resolve(request).await.map(Response::new).map_err(Status::from)
    }

    async fn retry_push(&self, request: Request<RetryPushRequest>) -> Result<Response<RetryPushResponse>, Status> {
        self.retry(request).await.map(Response::new).map_err(Status::from)
    }
}

/// `name[:tag][@digest]` as the name and what is attached to it: the digest counts if there are both.
fn split(image: &str) -> (&str, &str) {
    let (named, digest) = image.split_once('@').unwrap_or((image, ""));
    let last = named.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match named[last..].split_once(':') {
        Some((_, tag)) => (&named[..named.len() - tag.len() - 1], tag),
        None => (named, ""),
    };
    (name, if digest.is_empty() { tag } else { digest })
}

fn is_digest(text: &str) -> bool {
    let hex = |text: &str| text.len() == 64 && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    text.strip_prefix("sha256:").is_some_and(hex)
}

fn described(image: Image, repository: &str) -> InspectImageResponse {
    let run = image.config.config.unwrap_or_default();
    let layer = |layer: crate::registry::Descriptor| Layer {
        digest: layer.digest,
        size_bytes: layer.size,
        media_type: layer.media_type,
    };
    InspectImageResponse {
        reference: format!("{repository}@{}", image.digest),
        digest: image.digest,
        os: image.config.os,
        architecture: image.config.architecture,
        created: image.config.created.and_then(|time| time.parse().ok()),
        entrypoint: run.entrypoint.unwrap_or_default(),
        cmd: run.cmd.unwrap_or_default(),
        env: run.env.unwrap_or_default(),
        working_dir: run.working_dir.unwrap_or_default(),
        user: run.user.unwrap_or_default(),
        exposed_ports: run.exposed_ports.unwrap_or_default().into_keys().collect(),
        labels: run.labels.unwrap_or_default(),
        layers: image.layers.into_iter().map(layer).collect(),
        size_bytes: image.size_bytes,
    }
}

fn unreadable(error: RegistryError) -> Failure {
    match error {
        RegistryError::Absent(_) => {
            let sentence = "the registry no longer has this content, build the image again";
            status(Code::DataLoss, "CONTENT_GONE", sentence).into()
        }
        error => {
            tracing::warn!(error = &error as &dyn std::error::Error, "an image can't be inspected");
            let sentence = "the registry can't be read at the moment, try again";
            status(Code::Unavailable, "REGISTRY_UNAVAILABLE", sentence).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers R60
    #[test]
    fn a_tag_or_a_digest_may_stand_at_the_name() {
        assert_eq!(split("team/tool"), ("team/tool", ""));
        assert_eq!(split("team/tool:v1"), ("team/tool", "v1"));
        assert_eq!(split("host:5000/team/tool"), ("host:5000/team/tool", ""));
        assert_eq!(split("host:5000/team/tool:v1"), ("host:5000/team/tool", "v1"));
        assert_eq!(split("team/tool:v1@sha256:00"), ("team/tool", "sha256:00"));
        assert_eq!(
            split("img_00000000000000000000000007"),
            ("img_00000000000000000000000007", "")
        );
    }
}
