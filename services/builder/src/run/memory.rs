//! Whether a build was killed for want of memory. The kernel counts whom it killed for that, for the whole machine and
//! for every cgroup in it; the counters of a step's own cgroup go with the step.

use super::end::Ended;
use std::fs;

const COUNTERS: &str = "/proc/vmstat";
const COUNTER: &str = "oom_kill ";

/// Who was killed since this was made; nobody knows of an engine on another machine.
pub(super) struct Kills {
    before: Option<u64>,
}

impl Kills {
    pub(super) fn from_now_on(is_here: bool) -> Self {
        Self {
            before: is_here.then(killed).flatten(),
        }
    }

    pub(super) fn count(&self) -> u64 {
        let killed = self.before.and_then(|before| killed()?.checked_sub(before));
        killed.unwrap_or_default()
    }
}

fn killed() -> Option<u64> {
    let text = fs::read_to_string(COUNTERS).ok()?;
    text.lines().find_map(|line| line.strip_prefix(COUNTER))?.parse().ok()
}

/// Names the want of memory in the cause of a failure, and no more than is known. A build that went on without one of its
/// processes is told so by a line in its log.
pub(super) fn explain(ended: Ended, kills: u64) -> (Ended, Option<&'static str>) {
    match ended {
        Ended::Failed(phase, cause) => (Ended::Failed(phase, named(cause, kills)), None),
        Ended::Assembled(_) if kills > 0 => {
            let notice = "#0 WARNING: while this was built, the kernel killed a process of this machine for want of memory; \
                          if it was one of the build, the image is not what it should be\n";
            (ended, Some(notice))
        }
        ended => (ended, None),
    }
}

fn named(cause: String, kills: u64) -> String {
    let is_killed = cause.ends_with("exit code: 137");
    // In the engine's own words, where it watches the counters itself.
    if cause.ends_with("did not complete successfully: cannot allocate memory") {
        format!("out of memory: {cause}")
    } else if is_killed && kills > 0 {
        format!("out of memory: the kernel killed a process for want of memory: {cause}")
    } else if is_killed {
        format!("{cause} (killed, perhaps for want of memory)")
    } else {
        cause
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::builder::v1::BuildPhase;

    // covers R33
    #[test]
    fn want_of_memory_is_named_where_it_is_known() {
        let killed = "process \"make\" did not complete successfully: exit code: 137";
        let refused = "process \"make\" did not complete successfully: cannot allocate memory";
        let other = "process \"echo exit code: 137; false\" did not complete successfully: exit code: 1";
        for (cause, kills, expected) in [
            (
                killed,
                1,
                format!("out of memory: the kernel killed a process for want of memory: {killed}"),
            ),
            (killed, 0, format!("{killed} (killed, perhaps for want of memory)")),
            (refused, 0, format!("out of memory: {refused}")),
            (other, 1, other.to_owned()),
        ] {
            let (ended, notice) = explain(Ended::Failed(BuildPhase::Building, cause.to_owned()), kills);
            let Ended::Failed(_, told) = ended else {
                panic!("it is no failure any more")
            };
            assert_eq!((told, notice), (expected, None));
        }
        let assembled = || Ended::Assembled(Box::default());
        assert!(explain(assembled(), 1).1.is_some_and(|notice| notice.ends_with("be\n")));
        assert_eq!(explain(assembled(), 0).1, None);
    }

    #[test]
    fn the_kernel_counts() {
        assert!(killed().is_some());
        assert_eq!(Kills { before: killed() }.count(), 0);
        assert_eq!(Kills::from_now_on(false).count(), 0);
    }
}
