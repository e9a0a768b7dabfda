//! The eBPF object in this binary.

/// The object that `cargo xtask build-ebpf` made, 8-byte aligned as ELF parsers want it; `None` in a binary that was
/// built without one, which can only relay in userspace.
pub fn object() -> Option<&'static [u8]> {
    let object: &'static [u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/turnpike-xdp.o"));
    (!object.is_empty()).then_some(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_embeds_an_aligned_object_exactly_when_its_build_found_one() {
        let found = !env!("TURNPIKE_EMBEDDED").is_empty();
        assert_eq!(object().is_some(), found);
        assert!(
            object().is_none_or(|object| object.as_ptr().addr() % 8 == 0 && object.starts_with(b"\x7fELF"))
        );
    }
}
