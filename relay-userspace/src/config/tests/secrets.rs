//! Users and secrets, in the file and in files of their own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;

/// A folder that is removed when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("turnpike-config-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn users_given_by_flag_replace_the_files_users_and_their_file() {
    let below =
        file("[auth]\nusers-file = '/etc/turnpike/users'\nsecrets_file = '/etc/turnpike/secrets'").unwrap();
    let flags = Layer {
        auth: Auth { users: vec!["carol:c".parse().unwrap()], ..Auth::default() },
        ..Layer::default()
    };
    let auth = flags.over(below).auth;
    assert_eq!(auth.users_file, None);
    assert_eq!(auth.secrets_file, Some("/etc/turnpike/secrets".into()));
}

#[test]
fn secret_files_are_read_beside_the_file_that_names_them_and_warned_about_when_open_to_all() {
    let folder = Folder::new("secrets");
    folder.write("users", "# the staff\nalice:a\n\nbob:b:b\n", 0o600);
    folder.write("secrets", "s3cret\n", 0o644);
    let path = folder.write("turnpike.toml", "[auth]\nusers_file='users'\nsecrets-file='secrets'", 0o644);

    let Resolved { settings, warnings } = load(Some(&path), Layer::default(), &host()).unwrap();
    let users: Vec<_> = settings.users.iter().map(|u| (u.name.as_str(), u.password.expose())).collect();
    assert_eq!(users, [("alice", "a"), ("bob", "b:b")]);
    assert_eq!(settings.secrets.iter().map(Secret::expose).collect::<Vec<_>>(), ["s3cret"]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("secrets holds secrets and every user"), "{warnings:?}");

    let path = folder.write("open.toml", "[auth]\nsecrets=['x']", 0o644);
    let warnings = load(Some(&path), Layer::default(), &host()).unwrap().warnings;
    assert!(warnings[0].contains("open.toml holds secrets"), "{warnings:?}");
}

#[test]
fn a_bad_line_of_a_users_file_is_refused_with_its_number() {
    let folder = Folder::new("bad-line");
    folder.write("users", "alice:a\nbob\n", 0o600);
    let path = folder.write("turnpike.toml", "[auth]\nusers-file='users'", 0o600);
    let complaint = load(Some(&path), Layer::default(), &host()).unwrap_err().to_string();
    assert!(complaint.ends_with("users:2:1: a user is written NAME:PASSWORD"), "{complaint}");

    let missing =
        load(Some(&folder.0.join("nowhere.toml")), Layer::default(), &host()).unwrap_err().to_string();
    assert!(
        missing.starts_with("cannot read ") && missing.contains("nowhere.toml: No such file"),
        "{missing}"
    );
}

#[test]
fn no_complaint_and_no_debug_output_repeats_a_secret() {
    let shown = format!("{:?}", resolved(FULL).unwrap());
    for secret in ["wonder", "land", "\"old\"", "\"new\""] {
        assert!(!shown.contains(secret), "{shown}");
    }
    for text in [
        "users = 'hunter2'",
        "secrets = 'hunter2'",
        "users = ['hunter2']",
        "users = { a = 4711 }",
        "users = ['a:hunter2', 'a:hunter2']",
    ] {
        let complaint = resolved(&format!("[auth]\n{text}")).unwrap_err().to_string();
        assert!(!complaint.contains("hunter2") && !complaint.contains("4711"), "{complaint}");
    }
}

#[test]
fn realms_have_their_own_users_and_secrets_from_the_file_and_files_beside_it() {
    let folder = Folder::new("realms");
    folder.write("staff", "carol:c\n", 0o600);
    folder.write("old-and-new", "old\nnew\n", 0o644);
    let text = "realm = 'top'\n[auth]\nusers = ['alice:a']\n\
         [[realms]]\nname = 'staff'\nlisteners = ['udp://10.0.0.2']\nusers = { bob = 'b' }\nusers-file = 'staff'\n\
         [[realms]]\nname = 'pages'\norigins = ['HTTPS://Pages.example:8443']\nsecrets-file = 'old-and-new'\n";
    let path = folder.write("turnpike.toml", text, 0o600);
    let Resolved { settings, warnings } = load(Some(&path), Layer::default(), &host()).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("old-and-new holds secrets"), "{warnings:?}");
    let [staff, pages] = &settings.realms[..] else { panic!("{settings:?}") };
    let names: Vec<_> = staff.users.iter().map(|user| user.name.as_str()).collect();
    assert_eq!(names, ["bob", "carol"]);
    assert_eq!(pages.secrets.len(), 2);

    let realms = settings.realms().unwrap();
    let listener = "10.0.0.2:3478".parse().unwrap();
    let asked = |origin| String::from(&**realms.of(listener, origin).name());
    assert_eq!(asked(None), "staff");
    assert_eq!(asked(Some("https://pages.example:8443")), "pages");
    assert_eq!(asked(Some("https://pages.example")), "staff");
    assert!(!format!("{settings:?}").contains("\"b\""));
}

#[test]
fn keys_of_tenants_come_from_files_too_and_are_kept_as_hashes() {
    let folder = Folder::new("keys");
    folder.write("app-keys", "# this year's\nfirst-key-of-the-app\nsecond-key-of-the-app\n", 0o600);
    let text = "auth = { secrets = ['s'] }
        [[ice.tenants]]
        name = 'app'
        key_file = 'app-keys'
        # printf %s third-key-of-the-app | sha256sum
        key-sha256 = 'HASH'
        [test-page]
        enabled = true
        key-file = 'app-keys'";
    let hash = "bb3f6c6378157ec3c2e7f19d2635787819ff1402d318daede7de91347b5e0bfc";
    let path = folder.write("turnpike.toml", &text.replace("HASH", hash), 0o600);
    let Resolved { settings, warnings } = load(Some(&path), Layer::default(), &host()).unwrap();
    let of = |key: &str| KeyHash::of(key.as_bytes());
    let [first, second, third] = ["first", "second", "third"].map(|n| of(&format!("{n}-key-of-the-app")));
    assert_eq!(settings.ice.tenants[0].keys, [third, first.clone(), second.clone()]);
    assert_eq!(settings.test_page.as_ref().unwrap().keys, [first, second]);
    assert!(!format!("{settings:?}").contains("key-of"), "{settings:?}");
    assert!(warnings.iter().all(|warning| !warning.contains("every user")), "{warnings:?}");

    let path = folder.write("open.toml", "test-page = { key = 'a-key-for-visitors' }", 0o644);
    let warnings = load(Some(&path), Layer::default(), &host()).unwrap().warnings;
    assert!(
        warnings.iter().any(|warning| warning.contains("every user of this host can read it")),
        "{warnings:?}"
    );
}
