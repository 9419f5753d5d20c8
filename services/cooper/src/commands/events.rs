//! `cooper events`: what happened, and what happens.

use crate::{
    cli::EventsArgs,
    client::{End, Shell, Step, lasting},
    failure::Failure,
    output::{Tone, moment, plain},
};
use futures::TryStreamExt as _;
use proto::notifier::v1::{SubscribeRequest, SubscribeResponse};
use std::pin::pin;

pub(crate) async fn events(shell: &Shell, args: EventsArgs) -> Result<(), Failure> {
    let session = shell.session().await?.patient();
    let wanted = SubscribeRequest {
        image: match &args.image {
            Some(image) => session.locate(image).await?,
            None => String::new(),
        },
        workspace: shell.global.workspace.clone().unwrap_or_default(),
        types: args.types,
        after_position: after(args.from, args.follow),
        follow: args.follow,
        after_id: String::new(),
    };
    let open = async |seen: &String| {
        let request = SubscribeRequest {
            after_id: seen.clone(),
            after_position: wanted.after_position.filter(|_| seen.is_empty()),
            ..wanted.clone()
        };
        session
            .open(async || session.events().subscribe(request.clone()).await)
            .await
    };
    let end = if args.follow { End::Never } else { End::Final };
    let remember = |seen: &mut String, event: &SubscribeResponse| seen.clone_from(&event.id);
    let mut messages = pin!(lasting(end, String::new(), open, remember));
    let mut is_marked = !args.follow || shell.output.is_json();
    while let Some(step) = messages.try_next().await? {
        match step {
            Step::Said(event) => show(shell, &event)?,
            // From here on nothing is missed.
            Step::Opened if !is_marked => {
                let from = args.from.map_or("now".to_owned(), |from| format!("position {from}"));
                shell.output.notice(format!("following from {from} on; Ctrl-C ends it"));
                is_marked = true;
            }
            Step::Opened => {}
        }
    }
    Ok(())
}

/// `from` is the first position that is wanted. Without it, all there is; or, with `--follow`, what is to come.
fn after(from: Option<u64>, follow: bool) -> Option<u64> {
    match (from, follow) {
        (Some(from), _) => Some(from.saturating_sub(1)),
        (None, false) => Some(0),
        (None, true) => None,
    }
}

fn show(shell: &Shell, event: &SubscribeResponse) -> Result<(), Failure> {
    if shell.output.is_json() {
        return shell.output.json(event);
    }
    if shell.output.quiet {
        return shell.output.line(&event.id);
    }
    let style = shell.output.style;
    let kind = style.paint(Tone::Busy, &format!("{:<18}", plain(&event.r#type)));
    let (time, subject) = (moment(event.time.as_ref()), plain(&event.subject));
    let data = style.paint(Tone::Faint, &plain(&event.data));
    shell
        .output
        .line(format!("{time}  {:<8} {kind} {subject}  {data}", event.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_the_first_one_wanted() {
        assert_eq!(after(Some(12), true), Some(11));
        assert_eq!(after(Some(0), false), Some(0));
        assert_eq!(after(None, false), Some(0));
        assert_eq!(after(None, true), None);
    }
}
