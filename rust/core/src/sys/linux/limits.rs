//! Resource limits by name.

/// The resource of our mark, which nobody else may limit.
#[allow(clippy::unnecessary_cast)] // musl numbers them with another type
pub const MARK: u32 = libc::RLIMIT_LOCKS as u32;

/// What manifests call a resource limit; its number where it has no name.
#[allow(clippy::unnecessary_cast)]
pub fn resource_name(resource: u32) -> String {
    const NAMES: [(u32, &str); 15] = [
        (libc::RLIMIT_AS as u32, "as"),
        (libc::RLIMIT_CORE as u32, "core"),
        (libc::RLIMIT_CPU as u32, "cpu"),
        (libc::RLIMIT_DATA as u32, "data"),
        (libc::RLIMIT_FSIZE as u32, "fsize"),
        (libc::RLIMIT_MEMLOCK as u32, "memlock"),
        (libc::RLIMIT_MSGQUEUE as u32, "msgqueue"),
        (libc::RLIMIT_NICE as u32, "nice"),
        (libc::RLIMIT_NOFILE as u32, "nofile"),
        (libc::RLIMIT_NPROC as u32, "nproc"),
        (libc::RLIMIT_RSS as u32, "rss"),
        (libc::RLIMIT_RTPRIO as u32, "rtprio"),
        (libc::RLIMIT_RTTIME as u32, "rttime"),
        (libc::RLIMIT_SIGPENDING as u32, "sigpending"),
        (libc::RLIMIT_STACK as u32, "stack"),
    ];
    let known = NAMES.iter().find(|(number, _)| *number == resource);
    known.map_or_else(|| resource.to_string(), |(_, name)| (*name).to_owned())
}
