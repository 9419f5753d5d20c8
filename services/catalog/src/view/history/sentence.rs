//! What an event says, in a sentence for people.

use super::changes::files;
use access::{Grantee, Name, Right, Role};
use aggregate::Event as _;
use proto::{
    catalog::v1::{Grantee as Message, ImageName},
    editor::v1::RevisionSaved,
    events::{AccessEvent, BuildsEvent, ImageEvent, RefusalEvent, RepositoryEvent, SpecEvent, WorkspaceEvent},
};

/// A page of a thousand stays below what a client takes at once.
const CHARACTERS_MAX: usize = 500;

/// The sentence of a stored event. `changes` says how a revision differs from the one before.
pub(super) fn of(category: &str, event: &[u8], changes: &str) -> String {
    let told = match category {
        "workspace" => WorkspaceEvent::from_bytes(event).map(|event| of_workspace(&event)),
        "image" => ImageEvent::from_bytes(event).map(|event| of_image(&event)),
        "access" => AccessEvent::from_bytes(event).map(|event| of_access(&event)),
        "spec" => SpecEvent::from_bytes(event).map(|event| of_spec(&event, changes)),
        "builds" => BuildsEvent::from_bytes(event).map(|event| of_builds(&event)),
        "repository" => RepositoryEvent::from_bytes(event).map(|event| of_repository(&event)),
        "refusal" => RefusalEvent::from_bytes(event).map(|event| of_refusal(&event)),
        _ => None,
    };
    // The view stops at what this build can't read, so nothing of that is stored.
    let mut told = told.unwrap_or_default();
    if let Some((end, _)) = told.char_indices().nth(CHARACTERS_MAX) {
        told.truncate(end);
        told.push('\u{2026}');
    }
    told
}

fn called(name: Option<&ImageName>) -> String {
    name.map(Name::from).map_or_else(String::new, |name| name.short())
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Owner => "an owner",
        Role::Participant => "a participant",
        Role::Unspecified => "a member",
    }
}

fn of_workspace(event: &WorkspaceEvent) -> String {
    match event {
        WorkspaceEvent::Created(event) => {
            format!("created the workspace {} with {} as an owner", event.name, event.owner)
        }
        WorkspaceEvent::MemberAdded(event) => format!("let {} in as {}", event.user, role(event.role())),
        WorkspaceEvent::MemberRoleSet(event) => format!("made {} {}", event.user, role(event.role())),
        WorkspaceEvent::MemberRemoved(event) => format!("let {} go", event.user),
    }
}

fn of_image(event: &ImageEvent) -> String {
    match event {
        ImageEvent::Created(event) => format!("created as {}", called(event.name.as_ref())),
        ImageEvent::Renamed(event) => format!(
            "renamed from {} to {}",
            called(event.from.as_ref()),
            called(event.to.as_ref())
        ),
        ImageEvent::Described(event) if event.description.is_empty() => "description removed".to_owned(),
        ImageEvent::Described(event) => format!("described as \"{}\"", event.description),
        ImageEvent::Deleted(event) if event.purge => "deleted with its content".to_owned(),
        ImageEvent::Deleted(_) => "deleted, its content is kept".to_owned(),
        ImageEvent::Purged(_) => "content removed".to_owned(),
    }
}

fn of_access(event: &AccessEvent) -> String {
    let whom = |grantee: Option<&Message>| Grantee::try_from(grantee).map_or_else(|_| String::new(), |it| it.words());
    match event {
        AccessEvent::Granted(event) => {
            let right = match event.right() {
                Right::Read | Right::Unspecified => "read",
                Right::Write => "write",
                Right::Manage | Right::Owner => "manage",
            };
            format!("shared with {} ({right})", whom(event.grantee.as_ref()))
        }
        AccessEvent::Revoked(event) => format!("no longer shared with {}", whom(event.grantee.as_ref())),
    }
}

fn of_spec(event: &SpecEvent, changes: &str) -> String {
    match event {
        SpecEvent::ContextUploaded(event) => {
            let context = event.context.clone().unwrap_or_default();
            format!("uploaded {}, {} bytes", files(context.files), context.size_bytes)
        }
        SpecEvent::RevisionSaved(event) => saved(event, changes),
    }
}

fn saved(event: &RevisionSaved, changes: &str) -> String {
    let restored = match event.restored_from {
        0 => String::new(),
        number => format!(", as revision {number} was"),
    };
    let note = if event.note.is_empty() {
        String::new()
    } else {
        format!(" \"{}\"", event.note)
    };
    format!("saved revision {}{restored}: {changes}{note}", event.number)
}

fn of_builds(event: &BuildsEvent) -> String {
    match event {
        BuildsEvent::Queued(event) => format!(
            "asked for build {} of revision {}",
            event.build.unwrap_or_default(),
            event.revision
        ),
        BuildsEvent::Started(event) => format!(
            "build {} started on {} (attempt {})",
            event.build.unwrap_or_default(),
            event.engine,
            event.attempt
        ),
        BuildsEvent::Failed(event) => format!("build {} failed: {}", event.build.unwrap_or_default(), event.cause),
        BuildsEvent::CancelRequested(event) => format!("asked to cancel build {}", event.build.unwrap_or_default()),
        BuildsEvent::Cancelled(event) => format!("build {} was cancelled", event.build.unwrap_or_default()),
        BuildsEvent::AttemptLost(event) => format!(
            "attempt {} of build {} was lost: {}",
            event.attempt,
            event.build.unwrap_or_default(),
            event.cause
        ),
        BuildsEvent::Lost(event) => format!("build {} was lost: {}", event.build.unwrap_or_default(), event.cause),
        // They have no row.
        BuildsEvent::SourceFetched(_) | BuildsEvent::Assembled(_) => String::new(),
    }
}

fn of_repository(event: &RepositoryEvent) -> String {
    match event {
        RepositoryEvent::Committed(event) => format!(
            "built revision {} for {} and published it as {} (build {})",
            event.revision,
            event.requester,
            event.digest,
            event.build.unwrap_or_default()
        ),
        RepositoryEvent::Aborted(event) => format!(
            "build {} was cancelled before it was published",
            event.build.unwrap_or_default()
        ),
        RepositoryEvent::Refused(event) => format!(
            "the push of build {} failed: {}",
            event.build.unwrap_or_default(),
            event.cause
        ),
        RepositoryEvent::Reopened(event) => format!("asked to push build {} again", event.build.unwrap_or_default()),
        RepositoryEvent::TagMoved(event) if event.previous_digest.is_empty() => {
            format!("tag {} points to {}", event.tag, event.digest)
        }
        RepositoryEvent::TagMoved(event) => {
            format!(
                "tag {} moved from {} to {}",
                event.tag, event.previous_digest, event.digest
            )
        }
        RepositoryEvent::Relocated(event) => format!("can be pulled as {}", called(event.name.as_ref())),
        RepositoryEvent::Released(event) => format!("nothing is left under {}", event.path),
        // They have no row.
        RepositoryEvent::Opened(_) | RepositoryEvent::TagsPlaced(_) => String::new(),
    }
}

fn of_refusal(event: &RefusalEvent) -> String {
    match event {
        RefusalEvent::Refused(event) => {
            let on = if event.reference.is_empty() {
                String::new()
            } else {
                format!(" on {}", event.reference)
            };
            let times = match event.times {
                1 => String::new(),
                times => format!(", {times} times"),
            };
            format!("was refused: {}{on} ({}){times}", event.call, event.reason)
        }
        RefusalEvent::Others(event) => format!("and {} other attempts were refused", event.times),
    }
}
