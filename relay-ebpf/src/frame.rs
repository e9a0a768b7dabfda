//! The packet as the verifier sees it: two pointers, and a comparison before every access.

use aya_ebpf::helpers::generated::bpf_xdp_get_buff_len;
use aya_ebpf::programs::XdpContext;
use relay_common::wire::{Frame, FrameMut, Header};

/// The linear part of a packet.
pub(crate) struct Linear<'c> {
    ctx: &'c XdpContext,
    data: usize,
    end: usize,
    pieces: bool,
}

impl<'c> Linear<'c> {
    /// The packet as it lies now; any earlier one is void after `bpf_xdp_adjust_head`. `pieces` is a constant: whether
    /// there may be more of it (in a program that declares `xdp.frags`), whose length is asked for.
    #[inline(always)]
    pub(crate) fn new(ctx: &'c XdpContext, pieces: bool) -> Self {
        let data = ctx.data();
        // SAFETY: no packet lies at the address 0. Else the compiler looks, as a reference is never null.
        unsafe { core::hint::assert_unchecked(data != 0) };
        Self { ctx, data, end: ctx.data_end(), pieces }
    }

    #[inline(always)]
    fn at<H>(&self, offset: usize) -> Option<usize> {
        let start = self.data + offset;
        if start + size_of::<H>() > self.end { None } else { Some(start) }
    }
}

impl Frame for Linear<'_> {
    #[inline(always)]
    fn header<H: Header>(&self, offset: usize) -> Option<&H> {
        // SAFETY: `at` compared the range with the packet's end; a Header is valid for any bytes at any alignment.
        self.at::<H>(offset).map(|p| unsafe { &*(p as *const H) })
    }

    #[inline(always)]
    fn frame_len(&self) -> usize {
        self.end - self.data
    }

    /// Asks the kernel (5.18, as `xdp.frags`) only for what lies beyond: packets of usual sizes come in one piece.
    #[inline(always)]
    fn holds(&self, len: usize) -> bool {
        // SAFETY: the program's own context.
        len <= self.frame_len() || self.pieces && len as u64 <= unsafe { bpf_xdp_get_buff_len(self.ctx.ctx) }
    }
}

impl FrameMut for Linear<'_> {
    #[inline(always)]
    fn header_mut<H: Header>(&mut self, offset: usize) -> Option<&mut H> {
        // SAFETY: as for Frame; the program alone holds the packet while it runs.
        self.at::<H>(offset).map(|p| unsafe { &mut *(p as *mut H) })
    }
}
