//! A folder of a test that all its machines see.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use super::requirements::assert_installed;

/// A folder that is gone with the test. Daemons that run as somebody else can read it.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new one.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("turnpike-lab-{}-{number}", process::id()));
        fs::create_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        Self(path)
    }

    /// The path of a file in it.
    pub fn path(&self, file: &str) -> String {
        self.0.join(file).to_str().expect("ASCII").to_owned()
    }

    /// Writes a file, and gives its path.
    pub fn write(&self, file: &str, text: &str) -> String {
        let path = self.path(file);
        fs::write(&path, text).unwrap_or_else(|e| panic!("{path}: {e}"));
        path
    }

    /// Makes an authority, and a certificate of it for these names (`DNS:turn.test`, `IP:10.77.0.1`): `ca.pem`, `cert.pem`
    /// and `key.pem`.
    pub fn certificate(&self, names: &[&str]) {
        let of = |file: &str| self.path(file);
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        let ca = format!(
            "req -x509 {key} -days 2 -subj /CN=lab -keyout {} -out {}",
            of("ca-key.pem"),
            of("ca.pem")
        );
        let request =
            format!("req {key} -subj /CN=turn.test -keyout {} -out {}", of("key.pem"), of("csr.pem"));
        let extensions = self.write("extensions", &format!("subjectAltName={}\n", names.join(",")));
        let sign = format!(
            "x509 -req -days 2 -set_serial 1 -in {} -CA {} -CAkey {} -extfile {extensions} -out {}",
            of("csr.pem"),
            of("ca.pem"),
            of("ca-key.pem"),
            of("cert.pem")
        );
        for arguments in [ca, request, sign] {
            openssl(&arguments);
        }
        // coturn may read it as another user.
        fs::set_permissions(of("key.pem"), fs::Permissions::from_mode(0o644)).expect("it is ours");
    }
}

/// Runs `openssl ARGUMENTS`, and gives what it printed.
pub(super) fn openssl(arguments: &str) -> String {
    assert_installed("openssl", "openssl");
    let output = Command::new("openssl").args(arguments.split(' ')).output().expect("openssl starts");
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
