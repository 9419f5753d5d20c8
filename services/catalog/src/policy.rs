//! Whenever the content under a name is gone, the name should be free. Whenever something was written, it should be
//! signed, and the checkpoint kept where who owns this disk can't reach it.

mod checkpoints;
mod deliver;

pub(crate) use checkpoints::{Signed, SignedState, sign_checkpoints, tree};
pub(crate) use deliver::deliver_checkpoints;

use crate::{
    domain::{Name, NameCommand, NameKey},
    view,
};
use eventlog::{Request, View, Writer};
use service::World;
use std::time::Duration;

const EVERY: Duration = Duration::from_mins(1);

pub(crate) async fn free_released_names(world: World, view: View, writer: Writer) -> anyhow::Result<()> {
    let pass = || async {
        for released in view::released_names(&view).await? {
            let request = Request {
                actor: "system:catalog".to_owned(),
                id: world.ids.next().to_string(),
                traceparent: released.traceparent,
                cause: released.cause,
                judged_at: view.position(),
                urgent: true,
                ..Request::default()
            };
            writer
                .execute::<Name>(&request, &NameKey::from_stream(&released.key), NameCommand::Free)
                .await?;
        }
        Ok(())
    };
    let stop = world.stop.clone();
    service::reconcile("free released names", view.clone(), &["repository"], EVERY, stop, pass).await
}
