//! The ladder: driver mode, else generic mode, else userspace, and why not higher.

use std::error::Error as StdError;
use std::io;

use aya::programs::ProgramError;
use aya::programs::xdp::XdpError;

use super::netlink::Link;
use super::{Mode, Request, interfaces};

/// What came of an interface: how it relays, and one sentence for each rung that did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Climbed {
    pub(super) mode: Mode,
    pub(super) reasons: Vec<String>,
}

/// The XDP modes to try, best first.
pub(super) fn rungs(request: Request) -> &'static [Mode] {
    match request {
        Request::Auto => &[Mode::Xdp, Mode::XdpGeneric],
        Request::Xdp => &[Mode::Xdp],
        Request::XdpGeneric => &[Mode::XdpGeneric],
        Request::Userspace => &[],
    }
}

/// Tries the rungs in order until one holds.
pub(super) fn climb(request: Request, mut attach: impl FnMut(Mode) -> Result<(), String>) -> Climbed {
    let mut reasons = Vec::new();
    for &mode in rungs(request) {
        match attach(mode) {
            Ok(()) => return Climbed { mode, reasons },
            // What keeps the object from loading keeps it from every rung.
            Err(reason) if reasons.contains(&reason) => {}
            Err(reason) => reasons.push(reason),
        }
    }
    if request == Request::Userspace {
        reasons.push("asked for with --datapath userspace".into());
    }
    Climbed { mode: Mode::Userspace, reasons }
}

/// Why the program could not be attached, and what an operator can do about it.
pub(super) fn attach_reason(mode: Mode, link: &Link, error: &ProgramError) -> String {
    let (name, driver) = (&link.name, driver_of(link));
    match errno(error) {
        Some(libc::EOPNOTSUPP) if mode == Mode::Xdp => format!("{driver} has no native XDP"),
        Some(libc::EOPNOTSUPP) => "this kernel has no generic XDP".into(),
        Some(libc::EBUSY | libc::EEXIST) => format!(
            "another XDP program is attached: find it with `ip -d link show dev {name}`, remove it with `ip link \
             set dev {name} xdp off`, or stop the program that holds it"
        ),
        Some(libc::EPERM | libc::EACCES) => NEEDS_CAPABILITIES.into(),
        Some(libc::ERANGE | libc::E2BIG) => format!(
            "the MTU of {} bytes, or the other end's, is too large for XDP in {driver}: lower it with `ip link set \
             dev {name} mtu 1500`",
            link.mtu
        ),
        Some(libc::ENODEV) => format!("there is no interface {name} any more"),
        // The netlink attempt that follows an EINVAL brings the driver's own words.
        _ => format!(
            "{driver} refused the program: {error} (its MTU is {}, large ones are a usual cause)",
            link.mtu
        ),
    }
}

/// Why the object could not be loaded.
pub(super) fn load_reason(error: &(dyn StdError + 'static)) -> String {
    match errno(error) {
        Some(libc::EPERM | libc::EACCES) => NEEDS_CAPABILITIES.into(),
        Some(libc::ENOSYS) => "this kernel has no BPF".into(),
        Some(libc::ENOMEM) => {
            "the kernel had no memory for the tables: allow fewer bindings, or raise the limit on locked memory".into()
        }
        _ => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                let cause_text = cause.to_string();
                if !text.contains(&cause_text) {
                    text = format!("{text}: {cause_text}");
                }
                source = cause.source();
            }
            format!("the kernel refused the program (5.15 or newer is needed): {}", shorten(&text))
        }
    }
}

const NEEDS_CAPABILITIES: &str = "XDP needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON: run as root, or `setcap \
                                  cap_bpf,cap_net_admin,cap_net_raw,cap_perfmon+ep` on the binary";

/// The verifier's log can be megabytes; its end says what was wrong.
fn shorten(text: &str) -> String {
    const KEEP: usize = 400;
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match one_line.char_indices().rev().nth(KEEP) {
        Some((at, _)) => {
            let start: String = one_line.chars().take(120).collect();
            format!("{start} ... {}", &one_line[at..])
        }
        None => one_line,
    }
}

fn errno(error: &(dyn StdError + 'static)) -> Option<i32> {
    // A transparent netlink error does not show its cause as a source.
    if let Some(ProgramError::XdpError(XdpError::NetlinkError(e))) = error.downcast_ref()
        && let Some(errno) = e.raw_os_error()
    {
        return Some(errno);
    }
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(errno) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(errno);
        }
        next = error.source();
    }
    None
}

/// The name of an interface's driver.
pub(super) fn driver(link: &Link) -> Option<String> {
    link.kind.clone().or_else(|| interfaces::driver(&link.name))
}

/// The same in a sentence.
pub(super) fn driver_of(link: &Link) -> String {
    driver(link).map_or("the driver".into(), |name| format!("driver {name}"))
}

#[cfg(test)]
mod tests {

    use aya::sys::SyscallError;

    use super::*;

    fn link() -> Link {
        Link { kind: Some("veth".into()), mtu: 9000, ..interfaces::testing::link(2, "eth7") }
    }

    fn refused(errno: i32) -> ProgramError {
        let io_error = io::Error::from_raw_os_error(errno);
        ProgramError::SyscallError(SyscallError { call: "bpf_link_create", io_error })
    }

    #[test]
    fn an_interface_takes_the_first_rung_that_holds_and_keeps_the_reasons_for_the_others() {
        let climb_to = |request, works: &[Mode]| {
            climb(request, |mode| if works.contains(&mode) { Ok(()) } else { Err(format!("no {mode}")) })
        };
        let both = [Mode::Xdp, Mode::XdpGeneric];
        let is =
            |mode, reasons: &[&str]| Climbed { mode, reasons: reasons.iter().map(|r| (*r).into()).collect() };
        assert_eq!(climb_to(Request::Auto, &both), is(Mode::Xdp, &[]));
        assert_eq!(climb_to(Request::Auto, &both[1..]), is(Mode::XdpGeneric, &["no xdp"]));
        assert_eq!(climb_to(Request::Auto, &[]), is(Mode::Userspace, &["no xdp", "no xdp-generic"]));
        assert_eq!(climb_to(Request::Xdp, &both[1..]), is(Mode::Userspace, &["no xdp"]));
        assert_eq!(climb_to(Request::XdpGeneric, &both), is(Mode::XdpGeneric, &[]));
        assert_eq!(climb_to(Request::Userspace, &both).mode, Mode::Userspace);
    }

    #[test]
    fn every_usual_refusal_tells_what_to_do() {
        for (errno, words) in [
            (libc::EOPNOTSUPP, "driver veth has no native XDP"),
            (libc::EBUSY, "ip link set dev eth7 xdp off"),
            (libc::EEXIST, "another XDP program is attached"),
            (libc::EPERM, "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"),
            (libc::ERANGE, "MTU of 9000"),
            (libc::EINVAL, "driver veth refused the program"),
        ] {
            let reason = attach_reason(Mode::Xdp, &link(), &refused(errno));
            assert!(reason.contains(words), "{reason}");
        }
        assert!(load_reason(&refused(libc::EPERM)).contains("run as root"));
    }

    #[test]
    fn a_verifier_log_is_cut_to_its_start_and_end() {
        let log = format!("load failed {} R1 invalid mem access", "insn ".repeat(100_000));
        let short = shorten(&log);
        assert!(
            short.len() < 600 && short.starts_with("load failed") && short.ends_with("invalid mem access")
        );
        assert_eq!(shorten("  two\nlines "), "two lines");
    }
}
