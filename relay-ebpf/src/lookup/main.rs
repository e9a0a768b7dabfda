//! The socket lookup program: datagrams to an open relayed transport address go to the socket of its shard, whatever
//! that is bound to. So an allocation needs no socket of its own.
//!
//! It runs for every datagram to this host that no connected socket takes, so all that is not ours leaves it at once.
//!
//! Kernel 5.9 (`BPF_PROG_TYPE_SK_LOOKUP`).

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
// To load words of the context one by one.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
#[path = "../object.rs"]
mod object;

#[cfg(target_arch = "bpf")]
mod program {
    use core::arch::asm;
    use core::mem::offset_of;

    use aya_ebpf::bindings::{BPF_F_MMAPABLE, bpf_sk_lookup, sk_action};
    use aya_ebpf::macros::{map, sk_lookup};
    use aya_ebpf::maps::{Array, HashMap, SockMap};
    use aya_ebpf::programs::SkLookupContext;
    use relay_common::steer::{self, Port};

    #[map]
    static ADDRESSES: HashMap<[u32; 4], u32> = HashMap::with_max_entries(1, 0);

    #[map]
    static PORTS: Array<Port> = Array::with_max_entries(1, BPF_F_MMAPABLE);

    #[map]
    static SOCKETS: SockMap = SockMap::with_max_entries(1, 0);

    #[map]
    static ROUNDS: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

    /// Written by the loader before the program is verified.
    #[unsafe(no_mangle)]
    static RANGE: [u16; 2] = [0; 2];

    const UDP: u32 = 17;
    const INET6: u32 = 10;

    /// A word of the context. In assembly, as the verifier takes only loads of single words at fixed offsets, and the
    /// compiler would choose an address and then load.
    #[inline(always)]
    fn word<const OFFSET: usize>(lookup: *const bpf_sk_lookup) -> u32 {
        let value: u64;
        // SAFETY: a field of the program's own context.
        unsafe {
            asm!(
                "{value} = *(u32 *)({lookup} + {offset})",
                value = out(reg) value,
                lookup = in(reg) lookup,
                offset = const OFFSET,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        value as u32
    }

    const FAMILY: usize = offset_of!(bpf_sk_lookup, family);
    const PROTOCOL: usize = offset_of!(bpf_sk_lookup, protocol);
    const PORT: usize = offset_of!(bpf_sk_lookup, local_port);
    const IP4: usize = offset_of!(bpf_sk_lookup, local_ip4);
    const IP6: usize = offset_of!(bpf_sk_lookup, local_ip6);

    #[sk_lookup]
    fn turnpike_lookup(ctx: SkLookupContext) -> u32 {
        steer(&ctx);
        // With no socket assigned, the lookup goes on as if we were not there.
        sk_action::SK_PASS
    }

    #[inline(always)]
    fn steer(ctx: &SkLookupContext) -> Option<()> {
        let lookup: *const bpf_sk_lookup = ctx.lookup;
        let port = word::<PORT>(lookup);
        // SAFETY: a static that nobody writes while the program runs; volatile, or the compiler would fold in the zeros.
        let [first, last] = unsafe { (&raw const RANGE).read_volatile() };
        if port < u32::from(first) || port > u32::from(last) || word::<PROTOCOL>(lookup) != UDP {
            return None;
        }
        let ipv6 = word::<FAMILY>(lookup) == INET6;
        let address = if ipv6 {
            [
                word::<{ IP6 }>(lookup),
                word::<{ IP6 + 4 }>(lookup),
                word::<{ IP6 + 8 }>(lookup),
                word::<{ IP6 + 12 }>(lookup),
            ]
        } else {
            [0, 0, 0xffff_u32.to_be(), word::<IP4>(lookup)]
        };
        // SAFETY: written once, before the program is attached.
        let address = unsafe { ADDRESSES.get(&address) }?;
        let place = PORTS.get_ptr_mut(steer::place(*address, port as u16))?;
        // SAFETY: a place of the table; userspace may change the holder at any time, with one store.
        let holder = unsafe { (&raw const (*place).holder).read_volatile() };
        if holder == 0 {
            return None;
        }
        let taker = if has_room(place, holder)? { holder } else { 0 };
        SOCKETS.redirect_sk_lookup(ctx, steer::socket(taker, ipv6), 0).ok()
    }

    /// Counts a datagram in the round of its port. Several CPUs that do so at once may miss some: it is a bound for
    /// floods, not an account.
    #[inline(always)]
    fn has_room(place: *mut Port, holder: u32) -> Option<bool> {
        // SAFETY: userspace stores whole words here.
        let round = unsafe { ROUNDS.get_ptr(holder)?.read_volatile() } as u16;
        // SAFETY: a place of the table, of which nobody but this program writes these fields while the port is held.
        unsafe {
            let count = if (*place).round == round { (*place).count } else { 0 };
            if count < steer::ROUND {
                (*place).round = round;
                (*place).count = count + 1;
                return Some(true);
            }
        }
        Some(false)
    }
}

/// The object is for BPF only; this lets host tools look at the crate.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
