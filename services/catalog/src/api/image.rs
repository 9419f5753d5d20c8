//! ImageService.

use super::read_token;
use crate::{
    domain::{Image, ImageCommand, Name as HeldName, NameCommand, NameKey},
    view::{self, Filter, NameState, Tile},
};
use access::{Caller, Denied, Located, Name, Right, Role};
use eventlog::{Position, Request as Command, View, Writer, step};
use futures::stream::BoxStream;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use ids::{ImageId, Ulid};
use proto::catalog::v1::{
    CheckNameRequest, CheckNameResponse, CreateImageRequest, CreateImageResponse, DeleteImageRequest,
    DeleteImageResponse, DescribeImageRequest, DescribeImageResponse, GetImageRequest, GetImageResponse, ImageName,
    ListImagesRequest, ListImagesResponse, RenameImageRequest, RenameImageResponse, WatchImagesRequest,
    WatchImagesResponse, image_service_server::ImageService,
};
use service::{Call, Failure, World, invalid, page, status};
use std::{num::NonZeroU32, sync::Arc};
use tonic::{Code, Request, Response, Status};

/// How many names a user may check at once, and then each second: enough to type, too few to list what there is.
const CHECKS: NonZeroU32 = NonZeroU32::new(50).unwrap();
const CHECKS_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).unwrap();
/// Users who are remembered as such that checked names, before those are forgotten who waited.
const CHECKERS: usize = 10_000;

pub(crate) struct ImageApi {
    pub(super) world: World,
    pub(super) view: View,
    pub(super) writer: Writer,
    pub(super) checks: Arc<DefaultKeyedRateLimiter<String>>,
}

impl ImageApi {
    pub(crate) fn new(world: &World, view: &View, writer: &Writer) -> Self {
        Self {
            world: world.clone(),
            view: view.clone(),
            writer: writer.clone(),
            checks: Arc::new(RateLimiter::keyed(
                Quota::per_second(CHECKS_PER_SECOND).allow_burst(CHECKS),
            )),
        }
    }

    async fn admit<T>(&self, request: Request<T>) -> Result<(Call, T), Failure> {
        let call = self.world.admit(request.metadata(), &self.view).await?;
        Ok((call, request.into_inner()))
    }

    /// A name that an image here may have. One in another registry is not pushed to yet.
    fn name(&self, text: &str) -> Result<Name, Failure> {
        let name = Name::parse(text, self.world.access.internal_registry()).map_err(|error| invalid("name", error))?;
        if name.is_internal() {
            return Ok(name);
        }
        let sentence = format!(
            "`{}` is another registry, images are pushed to the platform's own only: leave the registry out",
            name.registry
        );
        Err(status(Code::FailedPrecondition, "EXTERNAL_REGISTRY", sentence).into())
    }

    /// For a mutation. Deleted images count: the aggregate refuses, and a repeated deletion is told its position.
    async fn writable(&self, caller: &Caller, image: &str, needed: Right) -> Result<Located, Failure> {
        let located = self.world.access.any_image(caller, image).await?;
        if located.deleted && located.right < needed {
            return Err(Denied::NoSuchImage.into());
        }
        if !located.deleted {
            self.world.access.image(caller, image, needed).await?;
        }
        Ok(located)
    }

    async fn create(&self, request: Request<CreateImageRequest>) -> Result<CreateImageResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let command = call.request(&self.world, &request.request_id)?;
        let name = self.name(&request.name)?;
        let workspace = self.world.access.membership(&call.caller, &request.workspace).await?;
        let image: ImageId = if request.id.is_empty() {
            ImageId::from_ulid(Ulid::from_string(&command.id).map_err(|_| invalid("request_id", "expected a ULID"))?)
        } else {
            request.id.parse().map_err(|error| invalid("id", error))?
        };
        let take = NameCommand::Take {
            image,
            workspace,
            registry: name.registry.clone(),
            path: name.path.clone(),
        };
        let create = ImageCommand::Create {
            workspace,
            name: (&name).into(),
            description: request.description,
        };
        let key = NameKey::of(&name.repository());
        let (state, _) = view::name_state(&self.view, &key.to_string()).await?;
        let steps = [step::<HeldName>(&key, take), step::<Image>(&image, create)];
        let position = self.writer.execute_all(&command, steps).await?;
        Ok(CreateImageResponse {
            position: position.0,
            id: image.to_string(),
            inherits_content: state == NameState::Kept,
        })
    }

    async fn get(&self, request: Request<GetImageRequest>) -> Result<GetImageResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let located = self
            .world
            .access
            .image(&call.caller, &request.image, Right::Read)
            .await?;
        // Rights and tiles are two views, and one may be a moment ahead.
        let tile = view::tile(&self.view, &located.image.to_string()).await?;
        let tile = tile.ok_or(Denied::NoSuchImage)?;
        Ok(GetImageResponse {
            image: Some(tile.image_for(located.right, self.world.access.internal_registry())),
        })
    }

    async fn list(&self, request: Request<ListImagesRequest>) -> Result<ListImagesResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let statuses = request.statuses().collect();
        let position = self.view.position();
        let access = &self.world.access;
        let mut visible = access.visible(&call.caller).await?;
        if !request.workspace.is_empty() {
            let one = access
                .workspace(&call.caller, &request.workspace, Role::Participant)
                .await?;
            visible = visible.within(&one.to_string());
            if !request.with_shared {
                visible = visible.without_shared();
            }
        }
        if request.shared_only {
            visible = visible.only_shared();
        }
        let filter = Filter {
            visible,
            statuses,
            name_contains: request.name_contains,
        };
        let limit = page(request.page_size)?;
        let [name, id] = read_token(&request.page_token)?.unwrap_or_default();
        let tiles = view::tiles(&self.view, &filter, &(name, id), limit).await?;
        let is_full = i64::try_from(tiles.len()).is_ok_and(|length| length == limit);
        let next_page_token = match tiles.last() {
            Some(last) if is_full => format!("{}\n{}", last.sort_name(), last.id),
            _ => String::new(),
        };
        let shown = |tile: &Tile| {
            let right = filter.visible.right(&tile.workspace, &tile.id).unwrap_or(Right::Read);
            tile.image_for(right, self.world.access.internal_registry())
        };
        Ok(ListImagesResponse {
            images: tiles.iter().map(shown).collect(),
            next_page_token,
            position: position.0,
        })
    }

    pub(super) async fn right_in(&self, caller: &Caller, tile: &Tile) -> Result<Right, Failure> {
        match self.world.access.any_image(caller, &tile.id).await {
            Ok(located) => Ok(located.right),
            Err(Denied::NoSuchImage) => Ok(Right::Unspecified),
            Err(denied) => Err(denied.into()),
        }
    }

    async fn rename(&self, request: Request<RenameImageRequest>) -> Result<RenameImageResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let command = expecting(
            call.request(&self.world, &request.request_id)?,
            request.expected_version,
        );
        let located = self.writable(&call.caller, &request.image, Right::Write).await?;
        let (from, to) = (&located.name, self.name(&request.name)?);
        let rename = ImageCommand::Rename {
            from: from.into(),
            to: (&to).into(),
        };
        let mut steps = vec![step::<Image>(&located.image, rename)];
        // Another tag is the same repository: nothing is taken or given back.
        if from.repository() != to.repository() {
            let take = NameCommand::Take {
                image: located.image,
                workspace: located.workspace,
                registry: to.registry.clone(),
                path: to.path.clone(),
            };
            let release = NameCommand::Release { image: located.image };
            steps.push(step::<HeldName>(&NameKey::of(&to.repository()), take));
            steps.push(step::<HeldName>(&NameKey::of(&from.repository()), release));
        }
        let position = self.writer.execute_all(&command, steps).await?;
        Ok(RenameImageResponse { position: position.0 })
    }

    async fn describe(&self, request: Request<DescribeImageRequest>) -> Result<DescribeImageResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let command = expecting(
            call.request(&self.world, &request.request_id)?,
            request.expected_version,
        );
        let located = self.writable(&call.caller, &request.image, Right::Write).await?;
        let describe = ImageCommand::Describe {
            description: request.description,
        };
        let done = self.writer.execute::<Image>(&command, &located.image, describe).await?;
        Ok(DescribeImageResponse {
            position: done.position.0,
        })
    }

    async fn delete(&self, request: Request<DeleteImageRequest>) -> Result<DeleteImageResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let command = expecting(
            call.request(&self.world, &request.request_id)?,
            request.expected_version,
        );
        let located = self.writable(&call.caller, &request.image, Right::Owner).await?;
        let image = located.image;
        let name = ImageName::from(&located.name);
        let (delete, give_back) = match (located.deleted, request.purge) {
            (true, true) => (
                ImageCommand::Purge,
                NameCommand::Purge {
                    image,
                    workspace: located.workspace,
                },
            ),
            (_, purge @ true) => (ImageCommand::Delete { name, purge }, NameCommand::Release { image }),
            (_, purge @ false) => (ImageCommand::Delete { name, purge }, NameCommand::Keep { image }),
        };
        let key = NameKey::of(&located.name.repository());
        let mut steps = vec![step::<Image>(&image, delete)];
        // Once it is purged, whoever has the name now does not matter.
        let tile = view::tile(&self.view, &image.to_string()).await?;
        if !tile.is_some_and(|tile| tile.purged) {
            steps.push(step::<HeldName>(&key, give_back));
        }
        let position = self.writer.execute_all(&command, steps).await?;
        Ok(DeleteImageResponse { position: position.0 })
    }

    fn may_check(&self, caller: &Caller) -> Result<(), Failure> {
        if self.checks.len() > CHECKERS {
            self.checks.retain_recent();
        }
        self.checks.check_key(&caller.user).map_err(|_| {
            let sentence = format!(
                "{CHECKS} names can be checked at once, and then {CHECKS_PER_SECOND} a second: try again in a moment"
            );
            status(Code::ResourceExhausted, "TOO_MANY_CHECKS", sentence).into()
        })
    }

    async fn check_name(&self, request: Request<CheckNameRequest>) -> Result<CheckNameResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        self.may_check(&call.caller)?;
        let name = self.name(&request.name)?;
        let key = NameKey::of(&name.repository()).to_string();
        let (state, keeper) = view::name_state(&self.view, &key).await?;
        let free = match state {
            NameState::Free => true,
            NameState::Kept if request.workspace.is_empty() => false,
            NameState::Kept => {
                let home = self
                    .world
                    .access
                    .workspace(&call.caller, &request.workspace, Role::Participant)
                    .await?;
                home.to_string() == keeper
            }
            NameState::Held | NameState::Releasing | NameState::Emptied => false,
        };
        Ok(CheckNameResponse {
            free,
            name: Some((&name).into()),
        })
    }
}

fn expecting(command: Command, version: u64) -> Command {
    Command {
        expected: (version != 0).then_some(Position(version)),
        ..command
    }
}

#[tonic::async_trait]
impl ImageService for ImageApi {
    async fn create_image(
        &self,
        request: Request<CreateImageRequest>,
    ) -> Result<Response<CreateImageResponse>, Status> {
        Ok(self.create(request).await.map(Response::new)?)
    }

    async fn get_image(&self, request: Request<GetImageRequest>) -> Result<Response<GetImageResponse>, Status> {
        Ok(self.get(request).await.map(Response::new)?)
    }

    async fn list_images(&self, request: Request<ListImagesRequest>) -> Result<Response<ListImagesResponse>, Status> {
        Ok(self.list(request).await.map(Response::new)?)
    }

    async fn rename_image(
        &self,
        request: Request<RenameImageRequest>,
    ) -> Result<Response<RenameImageResponse>, Status> {
        Ok(self.rename(request).await.map(Response::new)?)
    }

    async fn describe_image(
        &self,
        request: Request<DescribeImageRequest>,
    ) -> Result<Response<DescribeImageResponse>, Status> {
        Ok(self.describe(request).await.map(Response::new)?)
    }

    async fn delete_image(
        &self,
        request: Request<DeleteImageRequest>,
    ) -> Result<Response<DeleteImageResponse>, Status> {
        Ok(self.delete(request).await.map(Response::new)?)
    }

    async fn check_name(&self, request: Request<CheckNameRequest>) -> Result<Response<CheckNameResponse>, Status> {
        Ok(self.check_name(request).await.map(Response::new)?)
    }

    type WatchImagesStream = BoxStream<'static, Result<WatchImagesResponse, Status>>;

    async fn watch_images(
        &self,
        request: Request<WatchImagesRequest>,
    ) -> Result<Response<Self::WatchImagesStream>, Status> {
        Ok(self.watch(request).await.map(Response::new)?)
    }
}
