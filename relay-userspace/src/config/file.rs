//! Reading the file, and the files of users and secrets that it names. Every complaint says where.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::ConfigError;
use super::layer::Layer;

/// Reads a TOML file. Paths in it are relative to the folder that it is in.
pub fn read(path: &Path) -> Result<Layer, ConfigError> {
    let mut layer = parse(path, &text_of(path)?)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let of_realms =
        layer.realms.iter_mut().flat_map(|realm| [&mut realm.users_file, &mut realm.secrets_file]);
    let own = [&mut layer.auth.users_file, &mut layer.auth.secrets_file];
    let of_tls = [&mut layer.tls.cert, &mut layer.tls.key];
    let of_tenants = layer.ice.tenants.iter_mut().map(|tenant| &mut tenant.key_file);
    let of_keys = of_tenants.chain([&mut layer.test_page.key_file]);
    for file in own.into_iter().chain(of_realms).chain(of_tls).chain(of_keys).flatten() {
        *file = folder.join(&*file);
    }
    for file in layer.tls.certificates.iter_mut().flat_map(|files| [&mut files.cert, &mut files.key]) {
        *file = folder.join(&*file);
    }
    Ok(layer)
}

/// Reads TOML text; `path` is for the complaints only.
pub fn parse(path: &Path, text: &str) -> Result<Layer, ConfigError> {
    toml::from_str(text).map_err(|e| {
        let (line, column) = position(text, e.span().map_or(0, |span| span.start));
        ConfigError::At { path: path.into(), line, column, what: explain(e.message()) }
    })
}

/// Reads a file of one value a line; empty lines and those that begin with `#` are skipped.
pub(super) fn read_lines<T>(path: &Path) -> Result<Vec<T>, ConfigError>
where
    T: FromStr<Err: fmt::Display>,
{
    let text = text_of(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(n, line)| {
            line.parse().map_err(|e: T::Err| ConfigError::At {
                path: path.into(),
                line: n + 1,
                column: 1,
                what: e.to_string(),
            })
        })
        .collect()
}

/// What to say about a file of secrets that everybody on the host may read.
pub(super) fn readable_by_all(path: &Path) -> Option<String> {
    let is_so = fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o004 != 0);
    is_so.then(|| {
        format!("{0} holds secrets and every user of this host can read it: chmod o-r {0}", path.display())
    })
}

fn text_of(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|cause| ConfigError::Read { path: PathBuf::from(path), cause })
}

/// Line and column, both from 1, the column in characters.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset)];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The reader's message in the operator's words: an unknown key with the nearest known one, and nothing that repeats a value
/// of the wrong type, which may be a secret.
fn explain(message: &str) -> String {
    // "invalid type: string \"udp://10.0.0.2\", expected a sequence"
    if let Some((found, expected)) =
        message.strip_prefix("invalid type: ").and_then(|rest| rest.rsplit_once(", expected "))
    {
        let found = found.split(' ').next().unwrap_or_default();
        let expected = expected.trim_end().replace("a sequence", "a list, as in [\"...\"]");
        return format!("found {found}, expected {}", expected.replace("a boolean", "true or false"));
    }
    // "invalid value: integer `-1`, expected u32"
    if let Some(found) = message.strip_prefix("invalid value: integer `")
        && let Some((number, _)) = found.split_once('`')
    {
        return format!("{number} cannot be: write a whole number from 0 to {}", u32::MAX);
    }
    // "unknown variant `fast`, expected one of `auto`, `xdp`": every second piece is a name.
    if let Some(names) = message.strip_prefix("unknown variant ") {
        let mut names = names.split('`').skip(1).step_by(2);
        let unknown = names.next().unwrap_or_default();
        return format!("{unknown:?} is none of {}", names.collect::<Vec<_>>().join(", "));
    }
    // "unknown field `lisen`, expected one of `listen`, `realm`": every second piece is a name.
    let Some(names) = message.strip_prefix("unknown field ") else {
        return message.trim_end().replace('\n', "; ");
    };
    let mut names = names.split('`').skip(1).step_by(2);
    let unknown = names.next().unwrap_or_default();
    let mut known: Vec<_> = names.filter(|name| !name.contains('_')).collect();
    known.sort_unstable();
    let distance = |name: &&str| strsim::damerau_levenshtein(name, unknown);
    match known.iter().copied().min_by_key(distance).filter(|near| distance(near) <= 2) {
        Some(near) => format!("unknown key {unknown:?}: did you mean {near:?}?"),
        None => format!("unknown key {unknown:?}: known here are {}", known.join(", ")),
    }
}
