//! Versions, as the tools print them.

use std::fmt;

/// A version's first two numbers: all that is compared here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    /// The oldest compiler that the workspace builds with (`rust-version` of the root manifest).
    pub(crate) fn oldest_rust() -> Version {
        Version::parse(env!("CARGO_PKG_RUST_VERSION")).expect("the workspace names its Rust version")
    }

    /// Reads `1.96`, `1.97.0-nightly`, or Debian's `1:1.96.0+dfsg1-1`.
    pub(crate) fn parse(text: &str) -> Option<Version> {
        let text = text.trim();
        let text = text.split_once(':').map_or(text, |(_epoch, rest)| rest);
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse().ok());
        Some(Version { major: numbers.next()??, minor: numbers.next().flatten().unwrap_or(0) })
    }

    /// The version that apt would install, from the output of `apt-cache policy PACKAGE`.
    pub(crate) fn of_apt_candidate(policy: &str) -> Option<Version> {
        field(policy, "Candidate:").and_then(Version::parse)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The compiler's version and the major version of its LLVM, from `rustc -vV`.
pub(crate) fn of_rustc(verbose: &str) -> Option<(Version, u32)> {
    let release = Version::parse(field(verbose, "release:")?)?;
    let llvm = Version::parse(field(verbose, "LLVM version:")?)?;
    Some((release, llvm.major))
}

/// The major version in a name that LLVM leaves in what links it: `libLLVM.so.22.1`, `libLLVM-22`, `LLVM22.1.8`.
pub(crate) fn of_llvm_name(name: &str) -> Option<u32> {
    let digits = name.split_once("LLVM")?.1.trim_start_matches(|c: char| !c.is_ascii_digit());
    Version::parse(digits).map(|version| version.major)
}

/// A line of `rustc -vV` without its name, which ends with a colon.
pub(crate) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.trim_start().strip_prefix(name)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(major: u32, minor: u32) -> Version {
        Version { major, minor }
    }

    #[test]
    fn versions_are_read_as_cargo_rustup_and_debian_write_them() {
        assert_eq!(Version::parse("1.96"), Some(version(1, 96)));
        assert_eq!(Version::parse("1.97.0-nightly"), Some(version(1, 97)));
        assert_eq!(Version::parse("1.96.0+dfsg1-1~deb12u2"), Some(version(1, 96)));
        assert_eq!(Version::parse("1:22.1.8-1~deb12u1"), Some(version(22, 1)));
        assert_eq!(Version::parse("24"), Some(version(24, 0)));
        assert_eq!(Version::parse("(none)"), None);
        assert_eq!(Version::parse(""), None);
    }

    #[test]
    fn versions_compare_as_numbers_not_as_text() {
        assert!(version(1, 100) > version(1, 95));
        assert!(version(2, 0) > version(1, 100));
    }

    #[test]
    fn a_compiler_tells_its_release_and_its_llvm() {
        let stable = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\nbinary: rustc\n\
                      host: x86_64-unknown-linux-gnu\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(of_rustc(stable), Some((version(1, 96), 22)));
        assert_eq!(of_rustc("rustc 1.96.0\nrelease: 1.96.0\n"), None);
    }

    #[test]
    fn apt_offers_its_candidate_not_what_is_installed() {
        let policy = "rustc-web:\n  Installed: 1.85.0+dfsg3-1\n  Candidate: 1.96.0+dfsg1-1~deb12u2\n";
        assert_eq!(Version::of_apt_candidate(policy), Some(version(1, 96)));
        assert_eq!(Version::of_apt_candidate("rustc-web:\n  Candidate: (none)\n"), None);
        assert_eq!(Version::of_apt_candidate(""), None);
    }

    #[test]
    fn llvm_is_recognised_by_the_names_it_leaves_in_a_program() {
        assert_eq!(of_llvm_name("libLLVM.so.22.1"), Some(22));
        assert_eq!(of_llvm_name("libLLVM-21.so"), Some(21));
        assert_eq!(of_llvm_name("LLVM23.1.0-rust-1.99.0-nightly"), Some(23));
        assert_eq!(of_llvm_name("libc.so.6"), None);
    }
}
