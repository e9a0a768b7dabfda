//! What a name in SNI stands for.

use std::collections::HashMap;

/// Values by names, `*.example.org` among them: RFC 6125 section 6.4.3 has the star stand for one label.
#[derive(Debug)]
pub(super) struct ByName<T>(HashMap<String, Vec<T>>);

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> ByName<T> {
    /// Names are in lower case.
    pub(super) fn insert(&mut self, name: &str, value: T) {
        self.0.entry(name.to_owned()).or_default().push(value);
    }

    /// The values of a name, in their order: those of the name itself, else those of a star in place of its first label.
    pub(super) fn get(&self, name: &str) -> &[T] {
        let name = name.to_ascii_lowercase();
        let of_star = || self.0.get(&format!("*.{}", name.split_once('.')?.1));
        self.0.get(&name).or_else(of_star).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_label_and_the_name_itself_comes_first() {
        let mut names = ByName::default();
        names.insert("turn.example.org", 1);
        names.insert("*.example.org", 2);
        names.insert("*.example.org", 3);
        assert_eq!(names.get("turn.example.org"), [1]);
        assert_eq!(names.get("WWW.Example.org"), [2, 3]);
        for name in ["example.org", "a.b.example.org", "example.com", "", "org", ".example.org."] {
            assert!(names.get(name).is_empty(), "{name}");
        }
    }
}
