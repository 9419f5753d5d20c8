//! GetQueue: what waits, in which order, why, and how long; and whether there is room for more.

use super::Api;
use crate::{
    policy::{About, Turns},
    view::{self, Begun, Row, Stage},
};
use access::{Denied, Role};
use ids::WorkspaceId;
use proto::builder::v1::{BuildEngine, GetQueueRequest, GetQueueResponse, QueuedBuild};
use service::{Failure, duration, timestamp, with_metadata};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};
use tonic::{Code, Request};

impl Api {
    /// Places count everybody's builds; those of others show no image.
    pub(super) async fn queue(&self, request: Request<GetQueueRequest>) -> Result<GetQueueResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let access = &self.world.access;
        let mut visible = access.visible(&call.caller).await?;
        if !request.workspace.is_empty() {
            let one = access
                .workspace(&call.caller, &request.workspace, Role::Participant)
                .await?;
            visible = visible.within(&one.to_string()).without_shared();
        }
        let is_visible = |row: &Row| visible.right(&row.workspace, &row.image).is_some();
        let config = &self.world.config;
        let rows = view::waiting_or_running(&self.view).await?;
        let (running, waiting): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.stage() == Stage::Running);
        let mut engines = vec![self.engines.own(config)];
        engines.extend(self.engines.others());
        let standing = Standing {
            slots: engines.iter().map(|engine| engine.slots).sum(),
            room: config.builder.workspace_room(),
            trouble: self.engines.trouble(config),
            running: &running,
        };
        let begun = view::begun(&self.view).await?;
        let waiting = Turns::new(config, standing.slots, &begun, &running, waiting).all();
        let waits = waits(&begun, standing.slots, &running, &waiting, self.world.clock.now_ms());
        let mut builds = Vec::new();
        let running_ones = running.iter().map(|row| (row, 0, String::new(), None));
        let waiting_ones = waiting
            .iter()
            .zip(waits)
            .zip(1..)
            .map(|((row, wait), place)| (row, place, standing.reason(row, place), wait));
        for (row, place, reason, wait) in running_ones.chain(waiting_ones).filter(|(row, ..)| is_visible(row)) {
            let name = match access.any_image(&call.caller, &row.image).await {
                Ok(image) => image.name.short(),
                // The view of the rights may be a moment behind.
                Err(Denied::NoSuchImage) => String::new(),
                Err(denied) => return Err(denied.into()),
            };
            builds.push(QueuedBuild {
                build: row.id.clone(),
                image: row.image.clone(),
                place: number(place),
                reason,
                queued: timestamp(row.queued_ms()),
                name,
                expected_wait: wait.map(duration),
            });
        }
        Ok(GetQueueResponse {
            builds,
            slots: number(standing.slots),
            busy: number(running.len()),
            engines: engines.into_iter().map(engine).collect(),
        })
    }

    /// A workspace whose queue is full asks for nothing more. Those that are being asked for at this moment count, too:
    /// until it answers, the guard is kept.
    pub(super) async fn room_for(&self, workspace: WorkspaceId) -> Result<Asking, Failure> {
        let asking = self.asking.one_more(workspace);
        let max = self.world.config.builder.waiting_max;
        let waiting = view::waiting(&self.view, &workspace.to_string()).await? + asking.before;
        if waiting >= max {
            let sentence = format!(
                "{waiting} of {max} builds wait in this workspace; try again when some have begun, or cancel one"
            );
            let metadata = [("builder.waiting_max", max.to_string())];
            return Err(with_metadata(Code::ResourceExhausted, "QUEUE_FULL", sentence, metadata).into());
        }
        Ok(asking)
    }
}

/// Builds that are asked for and not in the view yet.
#[derive(Clone, Default)]
pub(super) struct Asked(Arc<Mutex<HashMap<WorkspaceId, usize>>>);

/// One of them.
pub(super) struct Asking {
    all: Asked,
    workspace: WorkspaceId,
    before: usize,
}

impl Asked {
    fn one_more(&self, workspace: WorkspaceId) -> Asking {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(workspace).or_default();
        let before = *count;
        *count += 1;
        Asking {
            all: self.clone(),
            workspace,
            before,
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.workspace) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.workspace);
            }
        }
    }
}

/// Why builds wait.
struct Standing<'a> {
    slots: usize,
    /// Slots that one workspace may have.
    room: usize,
    trouble: Option<String>,
    running: &'a [Row],
}

impl Standing<'_> {
    fn reason(&self, row: &Row, place: usize) -> String {
        let (busy, slots, room) = (self.running.len(), self.slots, self.room);
        let of_workspace = self.running.iter().filter(|one| one.workspace == row.workspace).count();
        if let Some(trouble) = &self.trouble {
            trouble.clone()
        } else if of_workspace >= room {
            format!("{of_workspace} of {room} slots of this workspace are busy")
        } else if busy >= slots && slots > 0 {
            format!("{busy} of {slots} slots are busy")
        } else if place <= slots.saturating_sub(busy).max(1) {
            "it is about to start".to_owned()
        } else {
            format!("{} others go first", place - 1)
        }
    }
}

/// Milliseconds until each of those that wait begins, if builds take as long as they did: those of the same image, else
/// those of all.
fn waits(begun: &[Begun], slots: usize, running: &[Row], waiting: &[Row], now_ms: i64) -> Vec<Option<i64>> {
    let mut of_all = Vec::new();
    let mut of_image: HashMap<&str, Vec<i64>> = HashMap::new();
    for (one, took) in begun.iter().filter_map(|one| Some((one, one.slot_ms?))) {
        of_all.push(took);
        of_image.entry(&one.image).or_default().push(took);
    }
    let Some(typical) = median(&mut of_all).filter(|_| slots > 0) else {
        return vec![None; waiting.len()];
    };
    let mut takes = |row: &Row| {
        of_image
            .get_mut(row.image.as_str())
            .and_then(|all| median(all))
            .unwrap_or(typical)
    };
    // When each slot is free.
    let rest = |row: &Row| {
        let (elapsed, takes) = ((now_ms - row.started_ms).max(0), takes(row));
        // One that takes longer than usual takes as long again.
        Reverse(if elapsed < takes { takes - elapsed } else { elapsed })
    };
    let mut free: BinaryHeap<Reverse<i64>> = running.iter().map(rest).collect();
    free.extend((running.len()..slots).map(|_| Reverse(0)));
    let mut wait = |row: &Row| {
        let Reverse(at) = free.pop()?;
        free.push(Reverse(at + takes(row)));
        Some(at)
    };
    waiting.iter().map(&mut wait).collect()
}

fn median(all: &mut [i64]) -> Option<i64> {
    all.sort_unstable();
    all.get(all.len() / 2).copied()
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn engine(about: About) -> BuildEngine {
    BuildEngine {
        name: about.name,
        version: about.version,
        slots: number(about.slots),
        trouble: about.trouble,
        enforces: about.enforces,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(workspace: &str, image: &str, started_ms: i64) -> Row {
        let mut row = Row::default();
        workspace.clone_into(&mut row.workspace);
        image.clone_into(&mut row.image);
        row.started_ms = started_ms;
        row
    }

    fn took(image: &str, slot_ms: i64) -> Begun {
        Begun {
            image: image.to_owned(),
            slot_ms: Some(slot_ms),
            ..Begun::default()
        }
    }

    // covers E1
    #[test]
    fn the_wait_is_told_from_how_long_builds_took() {
        let begun = [
            took("a", 10),
            took("a", 30),
            took("a", 20),
            took("b", 100),
            took("b", 100),
            Begun::default(),
        ];
        let running = [row("w", "a", 995), row("w", "b", 990)];
        let waiting = ["a", "c", "b"].map(|image| row("w", image, 0));
        // The slots are free in 15 and 90; of a build that is not known the median of all is 30.
        assert_eq!(
            waits(&begun, 2, &running, &waiting, 1_000),
            [Some(15), Some(35), Some(65)]
        );
        assert_eq!(
            waits(&begun, 3, &running, &waiting, 1_000),
            [Some(0), Some(15), Some(20)]
        );
        assert_eq!(waits(&begun, 1, &running[..1], &waiting[..1], 1_055), [Some(60)]);
        assert_eq!(waits(&[Begun::default()], 2, &running, &waiting, 1_000), [None; 3]);
        assert_eq!(waits(&begun, 0, &running, &waiting, 1_000), [None; 3]);
    }

    // covers E1
    #[test]
    fn each_is_told_why_it_waits() {
        let running = [row("a", "x", 0), row("a", "y", 0)];
        let standing = |slots, room, running| Standing {
            slots,
            room,
            trouble: None,
            running,
        };
        let (a, b) = (row("a", "z", 0), row("b", "z", 0));
        let full = standing(2, usize::MAX, &running[..]);
        assert_eq!(full.reason(&a, 1), "2 of 2 slots are busy");
        let room = standing(4, 2, &running[..]);
        assert_eq!(room.reason(&a, 3), "2 of 2 slots of this workspace are busy");
        assert_eq!(room.reason(&b, 2), "it is about to start");
        assert_eq!(room.reason(&b, 3), "2 others go first");
        let away = Standing {
            trouble: Some("the engine does not answer (since 12:03 UTC)".to_owned()),
            ..standing(0, 2, &running[..])
        };
        assert_eq!(away.reason(&a, 1), "the engine does not answer (since 12:03 UTC)");
    }

    // covers E1
    #[test]
    fn those_that_are_asked_for_at_once_count_each_other() {
        let asked = Asked::default();
        let (one, other) = (WorkspaceId::default(), WorkspaceId::from_ulid(ids::Ulid(1)));
        let first = asked.one_more(one);
        let second = asked.one_more(one);
        assert_eq!((first.before, second.before, asked.one_more(other).before), (0, 1, 0));
        drop(first);
        assert_eq!(asked.one_more(one).before, 1);
        drop(second);
        assert!(asked.0.lock().unwrap().is_empty());
    }
}
