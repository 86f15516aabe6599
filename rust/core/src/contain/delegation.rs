//! Whether systemd leaves the group that we are in to us.

use crate::sys;
use crate::sys::cgroup::Cgroup;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SUFFIXES: [&str; 3] = [".service", ".scope", ".slice"];
/// For the manager of the user to answer; one that does not has delegated nothing.
const PATIENCE: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(2);

/// What lies between us and the next unit of systemd is ours to arrange if that unit is delegated. Units of systemd are told by their names.
pub fn is_delegated(own: &Cgroup) -> bool {
    let groups = std::iter::successors(Some(own.clone()), Cgroup::parent);
    for group in groups {
        if group.is_marked_delegated() || has_changed_hands(&group) {
            return true;
        }
        if SUFFIXES.iter().any(|suffix| group.name().ends_with(suffix)) {
            return is_of_a_users_manager(&group) && manager_says_so(&group);
        }
    }
    false
}

/// Before systemd 251 an ordinary user sees no mark, but that the group is his in one that is not.
fn has_changed_hands(group: &Cgroup) -> bool {
    is_ours(group) && group.parent().is_some_and(|parent| parent.owner().is_ok_and(|uid| uid == 0))
}

/// The manager of a user marks nothing, as of systemd 252: it has to be asked.
fn is_of_a_users_manager(group: &Cgroup) -> bool {
    is_ours(group) && group.parent().is_some_and(|parent| is_ours(&parent))
}

fn is_ours(group: &Cgroup) -> bool {
    sys::own_uid() != 0 && group.owner().is_ok_and(|uid| uid == sys::own_uid())
}

fn manager_says_so(group: &Cgroup) -> bool {
    let Some(unit) = group.name().rsplit('/').next() else { return false };
    let mut command = Command::new("systemctl");
    command.args(["--user", "show", "--property=Delegate", "--value", "--", unit]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().ok().is_some_and(|child| answer_of(child).trim() == "yes")
}

fn answer_of(mut child: Child) -> String {
    let begun = Instant::now();
    while matches!(child.try_wait(), Ok(None)) {
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
            break;
        }
        std::thread::sleep(STEP);
    }
    child.wait_with_output().map(|done| String::from_utf8_lossy(&done.stdout).into_owned()).unwrap_or_default()
}
