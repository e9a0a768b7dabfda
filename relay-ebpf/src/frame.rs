//! The packet as the verifier sees it: two pointers, and a comparison before every access.

use aya_ebpf::programs::XdpContext;
use relay_common::wire::{Frame, FrameMut, Header};

/// The linear part of a packet.
pub(crate) struct Linear {
    data: usize,
    end: usize,
}

impl Linear {
    /// The packet as it lies now; any earlier one is void after `bpf_xdp_adjust_head`.
    #[inline(always)]
    pub(crate) fn new(ctx: &XdpContext) -> Self {
        Self { data: ctx.data(), end: ctx.data_end() }
    }

    #[inline(always)]
    fn at<H>(&self, offset: usize) -> Option<usize> {
        let start = self.data + offset;
        if start + size_of::<H>() > self.end { None } else { Some(start) }
    }
}

impl Frame for Linear {
    #[inline(always)]
    fn header<H: Header>(&self, offset: usize) -> Option<&H> {
        // SAFETY: `at` compared the range with the packet's end; a Header is valid for any bytes at any alignment.
        self.at::<H>(offset).map(|p| unsafe { &*(p as *const H) })
    }

    #[inline(always)]
    fn frame_len(&self) -> usize {
        self.end - self.data
    }
}

impl FrameMut for Linear {
    #[inline(always)]
    fn header_mut<H: Header>(&mut self, offset: usize) -> Option<&mut H> {
        // SAFETY: as for Frame; the program alone holds the packet while it runs.
        self.at::<H>(offset).map(|p| unsafe { &mut *(p as *mut H) })
    }
}
