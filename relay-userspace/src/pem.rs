//! What is wrong with a PEM file, in the operator's words.

use rustls::pki_types::pem::Error;

/// In place of the library's own words, which have lines of the file as lists of bytes. Nothing of the file is repeated: it may be
/// a key.
pub(crate) fn complaint(error: &Error) -> String {
    match error {
        Error::MissingSectionEnd { end_marker } => {
            // It names what the section began with, which may be anything.
            let label = String::from_utf8_lossy(end_marker);
            let is_of_label = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' ';
            match label.len() <= 64 && label.chars().all(is_of_label) {
                true => format!("the line -----END {label}----- is missing: the file is cut off"),
                false => "a section has no end: the file is cut off".into(),
            }
        }
        Error::IllegalSectionStart { .. } => {
            "a line begins as -----BEGIN does and does not end with -----: it was changed, or two lines became one".into()
        }
        Error::Base64Decode(_) => {
            "what stands between -----BEGIN and -----END is no base64: the file was changed, or is something else".into()
        }
        Error::Io(cause) => format!("it cannot be read: {cause}"),
        Error::NoItemsFound => "nothing of the kind is in it".into(),
        Error::SectionTooLarge => "it is too large".into(),
        // The library may learn others.
        _ => "it is no PEM file".into(),
    }
}
