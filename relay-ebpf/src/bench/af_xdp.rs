//! Hands every UDP datagram to the AF_XDP socket of the queue that it came by, and the rest to the kernel's stack: hosts have to
//! be found (ARP, neighbour discovery), whoever relays.
//!
//! An object of its own: a kernel without AF_XDP sockets (`CONFIG_XDP_SOCKETS`) makes no map for them, and loads the other
//! programs all the same.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
#[path = "../object.rs"]
mod object;

#[cfg(target_arch = "bpf")]
mod program {
    use aya_ebpf::bindings::xdp_action;
    use aya_ebpf::macros::{map, xdp};
    use aya_ebpf::maps::XskMap;
    use aya_ebpf::programs::XdpContext;

    /// As many queues as the loader says.
    #[map]
    static SOCKETS: XskMap = XskMap::with_max_entries(1, 0);

    /// Where the Ethernet header ends.
    const IP: usize = 14;
    const IPV4: u16 = 0x0800_u16.to_be();
    const IPV6: u16 = 0x86dd_u16.to_be();
    const UDP: u8 = 17;

    #[xdp]
    fn to_socket(ctx: XdpContext) -> u32 {
        if !is_udp(&ctx) {
            return xdp_action::XDP_PASS;
        }
        // SAFETY: the program's own context.
        let queue = unsafe { (*ctx.ctx).rx_queue_index };
        // Where no socket waits for what comes by this queue, the stack gets it.
        match SOCKETS.redirect(queue, u64::from(xdp_action::XDP_PASS)) {
            Ok(verdict) | Err(verdict) => verdict,
        }
    }

    /// Whether it is UDP over IPv4 or IPv6.
    #[inline(always)]
    fn is_udp(ctx: &XdpContext) -> bool {
        const PROTOCOL: usize = IP + 9;
        const NEXT_HEADER: usize = IP + 6;
        let data = ctx.data();
        if data + PROTOCOL + 1 > ctx.data_end() {
            return false;
        }
        // SAFETY: each of them lies before the end that was compared above; packets bear misaligned loads.
        unsafe {
            match ((data + IP - 2) as *const u16).read_unaligned() {
                IPV4 => *((data + PROTOCOL) as *const u8) == UDP,
                IPV6 => *((data + NEXT_HEADER) as *const u8) == UDP,
                _ => false,
            }
        }
    }
}

/// The object is for BPF only; this lets host tools look at the crate.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
