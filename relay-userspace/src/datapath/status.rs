//! What was asked of the data path and what came of it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the operator asked for with `--datapath`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// The best that each interface can do: driver mode, else generic mode, else userspace.
    #[default]
    Auto,
    /// XDP in driver mode, or do not start.
    Xdp,
    /// XDP in generic (SKB) mode, or do not start.
    XdpGeneric,
    /// No XDP.
    Userspace,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Request::Auto => "auto",
            Request::Xdp => "xdp",
            Request::XdpGeneric => "xdp-generic",
            Request::Userspace => "userspace",
        })
    }
}

/// How an interface relays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// XDP in the driver.
    Xdp,
    /// XDP on socket buffers: any interface, slower.
    XdpGeneric,
    /// Through the kernel's stack and this process.
    Userspace,
    /// Not at all: it is gone, or the addresses that it carried are.
    Absent,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Xdp => "xdp",
            Mode::XdpGeneric => "xdp-generic",
            Mode::Userspace => "userspace",
            Mode::Absent => "absent",
        })
    }
}

/// One interface, the mode it runs in, and why not in a better one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// Its kernel index; 0 while it is absent.
    pub index: u32,
    /// How it relays.
    pub mode: Mode,
    /// One sentence for each step down from driver mode, or what is wrong with that; else empty.
    pub reasons: Vec<String>,
}
