//! A web proxy as companies have them: squid, CONNECT to port 443 only, with a password if wanted.

use std::net::SocketAddr;
use std::path::Path;

use super::coturn::accepts;
use super::folder::{Folder, openssl};
use super::host::Host;
use super::process::Process;
use super::requirements::assert_installed;

/// Debian's helper for passwords in a file.
const NCSA: &str = "/usr/lib/squid/basic_ncsa_auth";

/// A running squid.
#[derive(Debug)]
pub struct Squid {
    _process: Process,
    _folder: Folder,
    at: SocketAddr,
}

impl Squid {
    /// Starts it; with a user and a password, nobody else may use it.
    pub fn start(host: &Host, user: Option<(&str, &str)>) -> Self {
        assert_installed("squid", "squid-openssl");
        let (folder, at) = (Folder::new(), host.at(3128));
        let access = match user {
            Some((name, password)) => {
                assert!(Path::new(NCSA).exists(), "{NCSA} is missing: apt-get install squid-openssl");
                let hash = openssl(&format!("passwd -apr1 {password}"));
                let file = folder.write("users", &format!("{name}:{hash}\n"));
                format!(
                    "auth_param basic program {NCSA} {file}\nauth_param basic children 1\nauth_param basic realm corp\n\
                     acl known proxy_auth REQUIRED\nhttp_access allow known\n"
                )
            }
            None => "http_access allow all\n".to_owned(),
        };
        let configuration = format!(
            "http_port {at}\nvisible_hostname proxy.test\npid_filename none\ncache deny all\naccess_log none\n\
             cache_log /dev/null\nnetdb_filename none\npinger_enable off\nshutdown_lifetime 0 seconds\n\
             coredump_dir /\nacl web port 443\nacl CONNECT method CONNECT\nhttp_access deny CONNECT !web\n\
             {access}http_access deny all\n"
        );
        let file = folder.write("squid.conf", &configuration);
        let process = Process::start(host.command("squid").args(["-N", "-f", &file]));
        accepts(host, at);
        Self { _process: process, _folder: folder, at }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.at
    }
}
