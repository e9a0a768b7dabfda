//! The eBPF objects in this binary.

/// The object with the XDP program that `cargo xtask build-ebpf` made, 8-byte aligned as ELF parsers want it; `None` in a
/// binary that was built without one, which can only relay in userspace.
pub fn object() -> Option<&'static [u8]> {
    let object: &'static [u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/turnpike-xdp.o"));
    (!object.is_empty()).then_some(object)
}

/// The same of the socket lookup program; without it, each allocation has a socket of its own.
pub(crate) fn lookup_object() -> Option<&'static [u8]> {
    let object: &'static [u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/turnpike-lookup.o"));
    (!object.is_empty()).then_some(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_embeds_aligned_objects_exactly_when_its_build_found_them() {
        let found = !env!("TURNPIKE_EMBEDDED").is_empty();
        assert_eq!(object().is_some(), found);
        for object in [object(), lookup_object()].into_iter().flatten() {
            assert!(object.as_ptr().addr() % 8 == 0 && object.starts_with(b"\x7fELF"));
        }
    }
}
