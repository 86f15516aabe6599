//! A thread that lets everybody else go first.

/// Gives the calling thread the least of processor and disk. What the system refuses is left as it is: work gets done either way.
pub fn step_back() {
    const LEAST: i32 = 19;
    // The kernel keeps a niceness for each thread, and takes "none" for the one that calls.
    let _ = rustix::process::setpriority_process(None, LEAST);
    const WHO_PROCESS: libc::c_int = 1;
    const CLASS_IDLE: libc::c_int = 3 << 13;
    // SAFETY: takes numbers; 0 is the calling thread.
    unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, CLASS_IDLE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (niceness, class of input and output) of a thread of ours.
    fn standing(thread: i32) -> (i32, libc::c_long) {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).expect("a thread of ours");
        let fields = stat.rsplit_once(')').expect("a name").1;
        // SAFETY: takes numbers.
        let class = unsafe { libc::syscall(libc::SYS_ioprio_get, 1, thread) } >> 13;
        (fields.split_whitespace().nth(16).expect("a niceness").parse().expect("a number"), class)
    }

    #[test]
    fn only_the_thread_that_asks_steps_back() {
        let own = || rustix::thread::gettid().as_raw_nonzero().get();
        let before = standing(own());
        let other = std::thread::spawn(move || {
            step_back();
            standing(own())
        });
        assert_eq!(other.join().expect("no panic"), (19, 3));
        assert_eq!(standing(own()), before);
    }
}
