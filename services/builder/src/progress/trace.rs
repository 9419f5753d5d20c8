//! What is known of each vertex (`BuildKit`'s word for a node of the build), and which have something to show.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bollard_buildkit_proto::{
    google::protobuf::Timestamp,
    moby::buildkit::v1::{self as buildkit, StatusResponse},
};

use super::{clean::plain, flow::Flow, log::Log};

#[derive(Debug, Default)]
pub(super) struct Trace {
    /// In the order in which they were first heard of.
    pub(super) vertexes: Vec<Vertex>,
    /// By digest; several lead to one vertex that shows them as a group.
    places: HashMap<String, usize>,
    /// What a group consists of.
    parts: HashMap<usize, BTreeMap<String, buildkit::Vertex>>,
    /// Those with something new to show.
    pub(super) updated: BTreeSet<usize>,
    /// The latest time that a message told, in nanoseconds.
    pub(super) now: i64,
    flow: Flow,
}

#[derive(Debug, Default)]
pub(super) struct Vertex {
    pub(super) name: String,
    pub(super) cached: bool,
    pub(super) error: String,
    /// The `#5` of the log, given when it is first shown.
    pub(super) index: Option<u32>,
    /// A group of which nothing worth showing has begun.
    pub(super) hidden: bool,
    pub(super) statuses: Vec<Status>,
    pub(super) warnings: Vec<String>,
    pub(super) log: Log,
    /// Messages since it last became the shown one, and when that was.
    pub(super) count: u32,
    pub(super) since: i64,
    /// The end that was shown: cached, error.
    pub(super) ended: Option<(bool, String)>,
    /// Start -> end.
    spans: BTreeMap<i64, Option<i64>>,
}

/// A line such as `transferring dockerfile: 32B done`.
#[derive(Debug, Default)]
pub(super) struct Status {
    pub(super) id: String,
    pub(super) current: i64,
    pub(super) total: i64,
    pub(super) at: i64,
    pub(super) started: Option<i64>,
    pub(super) completed: Option<i64>,
    pub(super) updated: bool,
    /// What was last shown: `current`, and when.
    pub(super) shown: Option<(i64, i64)>,
}

impl Trace {
    /// `rate`: bytes of output per second.
    pub(super) fn new(rate: u64) -> Self {
        Self {
            flow: Flow::new(rate),
            ..Self::default()
        }
    }

    pub(super) fn update(&mut self, message: &StatusResponse) {
        self.observe(message);
        let mut groups = BTreeSet::new();
        for vertex in &message.vertexes {
            if let Some(group) = &vertex.progress_group {
                let at = self.place(&group.id);
                if self
                    .parts
                    .entry(at)
                    .or_default()
                    .insert(vertex.digest.clone(), vertex.clone())
                    .is_none()
                {
                    self.places.insert(vertex.digest.clone(), at);
                }
                self.vertexes[at].name = plain(&group.name).into_owned();
                groups.insert(at);
            } else {
                let at = self.place(&vertex.digest);
                self.vertex(at, vertex);
            }
        }
        for at in groups {
            self.group(at);
        }
        for status in &message.statuses {
            if let Some(at) = self.places.get(&status.vertex).copied() {
                self.vertexes[at].status(status);
                self.touch(at);
            }
        }
        for warning in &message.warnings {
            if let Some(at) = self.places.get(&warning.vertex).copied() {
                let warning = String::from_utf8_lossy(&warning.short);
                self.vertexes[at].warnings.push(plain(&warning).into_owned());
                self.touch(at);
            }
        }
        for log in &message.logs {
            if let Some(at) = self.places.get(&log.vertex).copied() {
                let vertex = &mut self.vertexes[at];
                let begun = vertex.merged().last().map(|(start, _)| *start);
                let after = log
                    .timestamp
                    .as_ref()
                    .zip(begun)
                    .map_or(0, |(now, begun)| nanos(now) - begun);
                let at_ns = log.timestamp.as_ref().map_or(self.now, nanos);
                if self.flow.takes(at_ns, log.msg.len()) {
                    vertex.log.append(after, &log.msg);
                } else {
                    vertex.log.drop(log.msg.len());
                }
                self.touch(at);
            }
        }
    }

    fn observe(&mut self, message: &StatusResponse) {
        let vertexes = message
            .vertexes
            .iter()
            .flat_map(|vertex| [&vertex.started, &vertex.completed]);
        let statuses = message.statuses.iter().map(|status| &status.timestamp);
        let logs = message.logs.iter().map(|log| &log.timestamp);
        let latest = vertexes.chain(statuses).chain(logs).flatten().map(nanos).max();
        self.now = self.now.max(latest.unwrap_or(0));
    }

    fn place(&mut self, digest: &str) -> usize {
        if let Some(at) = self.places.get(digest) {
            return *at;
        }
        self.vertexes.push(Vertex::default());
        self.places.insert(digest.to_owned(), self.vertexes.len() - 1);
        self.vertexes.len() - 1
    }

    fn vertex(&mut self, at: usize, new: &buildkit::Vertex) {
        let vertex = &mut self.vertexes[at];
        let Some(started) = &new.started else {
            // a vertex may be announced once more after it began
            if !vertex.is_started() {
                vertex.name = plain(&new.name).into_owned();
            }
            return;
        };
        let (name, error) = (plain(&new.name), plain(&new.error));
        let completed = new.completed.as_ref().map(nanos);
        let started = nanos(started);
        // Engines lose the end of a first time when the second follows at once.
        for (_, end) in vertex.spans.range_mut(..started) {
            end.get_or_insert(started);
        }
        let span = vertex.spans.insert(started, completed);
        let changed = vertex.name != name
            || vertex.cached != new.cached
            || vertex.error != error
            || span.is_none_or(|before| before != completed);
        vertex.name = name.into_owned();
        vertex.cached = new.cached;
        vertex.error = error.into_owned();
        if changed {
            self.touch(at);
        }
    }

    /// A group is as old as its oldest part, and shown once a part that is not `weak` has begun.
    fn group(&mut self, at: usize) {
        let Some(parts) = self.parts.get(&at) else { return };
        let group = &mut self.vertexes[at];
        for part in parts.values() {
            if let Some(started) = &part.started {
                group.spans.insert(nanos(started), part.completed.as_ref().map(nanos));
            }
        }
        let errors: Vec<&String> = parts
            .values()
            .map(|part| &part.error)
            .filter(|error| !error.is_empty())
            .collect();
        let strong = |part: &&buildkit::Vertex| part.progress_group.as_ref().is_some_and(|group| !group.weak);
        group.cached = parts.values().all(|part| part.cached);
        group.hidden = errors.is_empty() && !parts.values().filter(strong).any(|part| part.started.is_some());
        if let Some(error) = errors.first() {
            group.error = plain(error).into_owned();
        }
        if !group.hidden {
            self.touch(at);
        }
    }

    fn touch(&mut self, at: usize) {
        let vertex = &mut self.vertexes[at];
        if vertex.count == 0 {
            vertex.since = self.now;
        }
        vertex.count += 1;
        self.updated.insert(at);
    }
}

impl Vertex {
    pub(super) fn is_started(&self) -> bool {
        !self.spans.is_empty()
    }

    pub(super) fn is_completed(&self) -> bool {
        self.end().is_some()
    }

    /// Engines work on some vertexes twice. When the second time says nothing new, it is not shown; that it was
    /// cached this time is news of a step only.
    pub(super) fn has_news(&self) -> bool {
        let Some((cached, error)) = &self.ended else {
            return true;
        };
        let status = self
            .statuses
            .iter()
            .any(|status| status.updated && status.started.is_some());
        status
            || !self.warnings.is_empty()
            || self.log.has_news()
            || (*cached != self.cached && super::is_step(&self.name))
            || *error != self.error
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.error.ends_with("context canceled")
    }

    /// When it last ended.
    pub(super) fn end(&self) -> Option<i64> {
        self.merged().last().and_then(|(_, end)| *end)
    }

    /// For how many nanoseconds it worked; parallel parts count once.
    pub(super) fn worked(&self, now: i64) -> i64 {
        self.merged()
            .iter()
            .map(|(start, end)| end.unwrap_or(now) - start)
            .sum()
    }

    /// The spans with those that overlap made one.
    fn merged(&self) -> Vec<(i64, Option<i64>)> {
        let mut merged: Vec<(i64, Option<i64>)> = Vec::new();
        for (start, end) in &self.spans {
            match merged.last_mut() {
                // one without an end takes in all that follow
                Some((_, None)) => break,
                Some((_, before)) if before.is_some_and(|before| before >= *start) => {
                    *before = before.zip(*end).map(|(one, other)| one.max(other));
                }
                _ => merged.push((*start, *end)),
            }
        }
        merged
    }

    fn status(&mut self, new: &buildkit::VertexStatus) {
        let id = plain(&new.id);
        let at = self
            .statuses
            .iter()
            .position(|status| status.id == id)
            .unwrap_or_else(|| {
                self.statuses.push(Status {
                    id: id.into_owned(),
                    ..Status::default()
                });
                self.statuses.len() - 1
            });
        let status = &mut self.statuses[at];
        status.current = new.current;
        status.total = new.total;
        status.at = new.timestamp.as_ref().map_or(0, nanos);
        status.started = new.started.as_ref().map(nanos);
        status.completed = new.completed.as_ref().map(nanos);
        status.updated = true;
    }
}

fn nanos(time: &Timestamp) -> i64 {
    time.seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(i64::from(time.nanos))
}
