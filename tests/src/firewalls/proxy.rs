//! The HTTP proxies: squid, and mitmproxy for one that decrypts.

use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};

use super::network::Proxy;
use super::pki::Pki;
use crate::lab::{Host, Process, wait_longer_for};

/// Who may use the proxy that asks.
pub(super) const PROXY_USER: &str = "employee";
pub(super) const PROXY_PASSWORD: &str = "of-the-company";

const PORT: u16 = 3128;

/// mitmproxy is a large Python program.
const START: std::time::Duration = std::time::Duration::from_secs(30);

/// A proxy at work.
#[derive(Debug)]
pub(super) struct RunningProxy {
    pub(super) host: Host,
    process: Process,
}

impl RunningProxy {
    /// What it printed, and what it wrote into its files.
    pub(super) fn said(&self) -> String {
        let log = self.host.private().join("squid.log");
        let log = self.host.enter(|| std::fs::read_to_string(log)).unwrap_or_default();
        format!("{}{log}", self.process.output())
    }
}

pub(super) fn start(kind: Proxy, host: Host, pki: &Pki) -> RunningProxy {
    let mut process = match kind {
        Proxy::Connect | Proxy::Basic => squid(kind, &host),
        Proxy::Intercepting => mitmproxy(&host, pki),
    };
    let at = host.at(PORT);
    wait_longer_for("the proxy", START, || {
        assert_eq!(process.exited(), None, "{}", process.output());
        host.enter(|| TcpStream::connect(at)).ok()
    });
    RunningProxy { host, process }
}

fn squid(kind: Proxy, host: &Host) -> Process {
    static NAMES: AtomicU32 = AtomicU32::new(0);
    let at = host.private();
    let at = at.display();
    let users = if kind == Proxy::Basic {
        let mut command = host.command("htpasswd");
        command.args(["-bc", &format!("{at}/passwords"), PROXY_USER, PROXY_PASSWORD]);
        let made = command.output().expect("htpasswd starts: apt-get install apache2-utils");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        format!(
            "auth_param basic program /usr/lib/squid/basic_ncsa_auth {at}/passwords\n\
             auth_param basic children 2\n\
             auth_param basic realm The company's proxy\n\
             acl employees proxy_auth REQUIRED\n\
             http_access allow employees\n"
        )
    } else {
        "http_access allow all\n".to_owned()
    };
    let settings = format!(
        "http_port {}\n\
         visible_hostname proxy.test\n\
         acl secure port 443\n\
         acl pages port 80\n\
         http_access deny CONNECT !secure\n\
         http_access deny !secure !pages\n\
         {users}\
         http_access deny all\n\
         cache deny all\n\
         cache_mem 8 MB\n\
         max_filedescriptors 1024\n\
         pinger_enable off\n\
         pid_filename {at}/squid.pid\n\
         access_log stdio:{at}/squid.log\n\
         cache_log {at}/cache.log\n\
         coredump_dir {at}\n",
        host.at(PORT)
    );
    let file = host.keep("squid.conf", &settings);
    // By its name it finds what it shares in memory with processes of its own, of which there may be others here.
    let name = format!("lab{}x{}", std::process::id(), NAMES.fetch_add(1, Ordering::Relaxed));
    let mut command = host.command("/usr/sbin/squid");
    Process::start(command.args(["-N", "-n", &name, "-f"]).arg(file))
}

fn mitmproxy(host: &Host, pki: &Pki) -> Process {
    let at = host.private();
    host.keep("mitmproxy-ca.pem", &format!("{}{}", pki.company_key, pki.company));
    let authority = host.keep("authority.pem", &pki.authority);
    let mut command = host.command("/usr/bin/mitmdump");
    command
        .args(["--listen-host", &host.address().to_string(), "--listen-port", &PORT.to_string()])
        // What is neither HTTP nor WebSocket does not get through.
        .args(["--set", "rawtcp=false"])
        .args(["--set", &format!("confdir={}", at.display())])
        .args(["--set", &format!("ssl_verify_upstream_trusted_ca={}", authority.display())])
        .env("HOME", at);
    Process::start(&mut command)
}
