//! Names that strangers chose, made fit for a log line.

use std::fmt;

/// Shows a name that a client sent so that it cannot break a log line, a terminal or a quoted string.
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a> {
    text: &'a [u8],
    most: usize,
}

/// Most characters of a name that are shown.
const MAX_SHOWN: usize = 64;

/// See [`Printable`]. Takes bytes, because a name need not be UTF-8.
pub fn printable<'a>(name: &'a (impl AsRef<[u8]> + ?Sized)) -> Printable<'a> {
    Printable { text: name.as_ref(), most: MAX_SHOWN }
}

/// The same for a text whose end matters as much, as that of a reason does: it is not cut.
pub fn printable_whole<'a>(text: &'a (impl AsRef<[u8]> + ?Sized)) -> Printable<'a> {
    Printable { text: text.as_ref(), most: usize::MAX }
}

impl fmt::Display for Printable<'_> {
    /// ASCII letters, digits and harmless punctuation as they are, everything else as `\x..` byte by byte: control
    /// characters, quotes, backslash, `%`, bad UTF-8 and the look-alikes of Unicode. A name is cut after 64
    /// bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.text.iter().take(self.most) {
            if byte.is_ascii_alphanumeric() || b" :@.,;_-+=/~#*()[]{}!?&^|".contains(&byte) {
                write!(f, "{}", char::from(byte))?;
            } else {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        if self.text.len() > self.most { f.write_str("...") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::{printable, printable_whole};

    #[test]
    fn hostile_names_are_shown_without_harm() {
        assert_eq!(printable("1700000000:alice@example.org").to_string(), "1700000000:alice@example.org");
        assert_eq!(printable("%s%n").to_string(), r"\x25s\x25n");
        assert_eq!(printable("a\"'`$(x)\\").to_string(), r"a\x22\x27\x60\x24(x)\x5c");
        assert_eq!(printable("a\0b\r\nFAKE LINE\x1b[2J").to_string(), r"a\x00b\x0d\x0aFAKE LINE\x1b[2J");
        assert_eq!(printable(b"\xff\xfe").to_string(), r"\xff\xfe");
        assert_eq!(printable("\u{202e}").to_string(), r"\xe2\x80\xae");
        assert_eq!(printable(&"x".repeat(500)).to_string(), format!("{}...", "x".repeat(64)));
        assert_eq!(printable_whole(&"x\n".repeat(500)).to_string(), r"x\x0a".repeat(500));
    }
}
