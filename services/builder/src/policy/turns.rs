//! Whose turn it is: a workspace that has less than its share of the slots; of those the one whose turn is due first,
//! as their weights say; then whoever asked first. So a flood holds nobody up for longer than a slot is busy.
//!
//! It is computed from the journal alone: every builder and every `GetQueue` comes to the same order.

use crate::view::{Begun, Row};
use service::Config;
use std::collections::{BTreeMap, VecDeque};

/// What a turn costs a workspace of weight 1, in a time that only turns move.
const TURN: u64 = 1 << 20;

/// Waiting builds in the order in which they are taken.
pub(crate) struct Turns {
    lanes: BTreeMap<String, Lane>,
    slots: usize,
    /// Of all workspaces that have something to do.
    weights: usize,
    /// Slots that one workspace may have.
    room: usize,
    now: u64,
}

#[derive(Default)]
struct Lane {
    weight: usize,
    running: usize,
    /// When it has its next turn, if that is not in the past.
    due: u64,
    waiting: VecDeque<Row>,
}

impl Turns {
    /// `begun`: the last builds that had their turns, oldest first. `waiting`: oldest first.
    pub(crate) fn new(config: &Config, slots: usize, begun: &[Begun], running: &[Row], waiting: Vec<Row>) -> Self {
        let settings = &config.builder;
        let weight = |workspace: &str| settings.workspace_weights.get(workspace).copied().unwrap_or(1).max(1);
        let mut turns = Self {
            lanes: BTreeMap::new(),
            slots,
            weights: 0,
            room: settings.workspace_room(),
            now: 0,
        };
        for row in running {
            turns.lanes.entry(row.workspace.clone()).or_default().running += 1;
        }
        for row in waiting {
            let lane = turns.lanes.entry(row.workspace.clone()).or_default();
            lane.waiting.push_back(row);
        }
        for (workspace, lane) in &mut turns.lanes {
            lane.weight = weight(workspace);
            turns.weights += lane.weight;
        }
        let mut others = BTreeMap::new();
        for Begun { workspace, .. } in begun {
            let due = match turns.lanes.get_mut(workspace) {
                Some(lane) => &mut lane.due,
                None => others.entry(workspace).or_default(),
            };
            turns.now = turns.now.max(*due);
            *due = turns.now + TURN / weight(workspace) as u64;
        }
        turns
    }

    /// All of them. Those for which their workspace has no room come last.
    pub(crate) fn all(mut self) -> Vec<Row> {
        let mut all: Vec<Row> = self.by_ref().collect();
        self.room = usize::MAX;
        all.extend(self);
        all
    }
}

impl Iterator for Turns {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        let (slots, weights, room, now) = (self.slots, self.weights, self.room, self.now);
        let key = |lane: &Lane| {
            let first = lane.waiting.front().filter(|_| lane.running < room)?;
            let has_its_share = lane.running >= (slots * lane.weight).div_ceil(weights);
            Some((has_its_share, lane.due.max(now), first.queued_at))
        };
        let ready = self.lanes.values_mut().filter_map(|lane| Some((key(lane)?, lane)));
        let ((_, due, _), lane) = ready.min_by_key(|(key, _)| *key)?;
        self.now = due;
        lane.due = due + TURN / lane.weight as u64;
        lane.running += 1;
        lane.waiting.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(workspace: &str, queued_at: u64) -> Row {
        let mut row = Row::default();
        row.id = format!("{workspace}{queued_at}");
        workspace.clone_into(&mut row.workspace);
        row.queued_at = queued_at;
        row
    }

    /// An engine with its queue.
    struct Story {
        config: Config,
        slots: usize,
        begun: Vec<Begun>,
        running: Vec<Row>,
        waiting: Vec<Row>,
        asked: u64,
    }

    impl Story {
        fn new(slots: usize) -> Self {
            Self {
                config: Config::defaults().unwrap(),
                slots,
                begun: vec![],
                running: vec![],
                waiting: vec![],
                asked: 0,
            }
        }

        fn asks(&mut self, workspace: &str, builds: usize) {
            for _ in 0..builds {
                self.asked += 1;
                self.waiting.push(row(workspace, self.asked));
            }
        }

        fn turns(&self) -> Turns {
            Turns::new(
                &self.config,
                self.slots,
                &self.begun,
                &self.running,
                self.waiting.clone(),
            )
        }

        /// Fills the free slots. Answers whose builds began.
        fn begin(&mut self) -> String {
            let free = self.slots - self.running.len();
            let mut said = String::new();
            for row in self.turns().take(free) {
                self.waiting.retain(|waiting| waiting.id != row.id);
                said.push_str(&row.workspace);
                self.begun.push(Begun {
                    workspace: row.workspace.clone(),
                    ..Begun::default()
                });
                self.running.push(row);
            }
            said
        }

        /// The oldest of a workspace's builds ends, and the slot is taken.
        fn ends(&mut self, workspace: &str) -> String {
            let at = self.running.iter().position(|row| row.workspace == workspace).unwrap();
            self.running.remove(at);
            self.begin()
        }

        /// The oldest ends, again and again.
        fn goes_on(&mut self, times: usize) -> String {
            let next = |_| {
                let oldest = self.running[0].workspace.clone();
                self.ends(&oldest)
            };
            (0..times).map(next).collect()
        }
    }

    // covers E1
    #[test]
    fn a_flood_holds_nobody_up_for_longer_than_a_slot_is_busy() {
        for slots in 1..=3 {
            let mut story = Story::new(slots);
            story.asks("a", 500);
            assert_eq!(story.begin(), "a".repeat(slots));
            story.asks("b", 1);
            assert_eq!(story.goes_on(2), "ba", "{slots} slots");
            // Of two floods, one may have its turn before.
            story.asks("b", 500);
            story.goes_on(20);
            story.asks("c", 1);
            let turns = story.goes_on(2);
            assert!(turns.contains('c'), "{slots} slots: {turns}");
        }
    }

    // covers E1
    #[test]
    fn floods_share_alike_whatever_was_before_them() {
        for slots in 1..=4 {
            let mut story = Story::new(slots);
            story.asks("a", 500);
            story.begin();
            story.goes_on(300);
            story.asks("b", 500);
            story.asks("c", 500);
            let turns = story.goes_on(120);
            for workspace in ["a", "b", "c"] {
                let had = turns.matches(workspace).count();
                assert!(
                    (38..=42).contains(&had),
                    "{slots} slots: {workspace} had {had}: {turns}"
                );
            }
        }
    }

    // covers E1
    #[test]
    fn weights_tell_how_much_of_the_slots_each_has() {
        for slots in 1..=4 {
            let mut story = Story::new(slots);
            story.config.builder.workspace_weights.insert("a".to_owned(), 3);
            story.asks("b", 500);
            story.asks("a", 500);
            story.begin();
            let turns = story.goes_on(200);
            let had = turns.matches('a').count();
            assert!((145..=155).contains(&had), "{slots} slots: {had}: {turns}");
        }
    }

    // covers E1
    #[test]
    fn a_workspace_has_no_more_slots_than_it_may() {
        let mut story = Story::new(4);
        story.config.builder.workspace_slots = 2;
        story.asks("a", 5);
        assert_eq!(story.begin(), "aa");
        story.asks("b", 1);
        assert_eq!(story.begin(), "b");
        assert_eq!(story.begin(), "");
        let ids: Vec<String> = story.turns().all().into_iter().map(|row| row.id).collect();
        assert_eq!(ids, ["a3", "a4", "a5"], "they wait, and have their places");
        assert_eq!(story.ends("a"), "a");
    }
}
