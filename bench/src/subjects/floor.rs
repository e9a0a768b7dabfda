//! The least that can be done to a frame: an XDP program that swaps its MAC addresses and sends it back.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};

use super::{Subject, kernel};
use crate::allocations::Plan;
use crate::figures::Flow;
use crate::lab::Lab;
use crate::traffic::Wire;

/// The program on the relay's interface.
#[derive(Debug)]
pub struct Floor {
    _program: Ebpf,
    flows: Vec<Flow>,
    version: String,
    lab: Lab,
}

impl Floor {
    /// Attaches it in driver mode.
    pub fn start(lab: Lab, plan: &Plan) -> Result<Self> {
        ensure!(
            lab.has_one_nic(),
            "the floor sends frames back where they came from: it is for labs with one card"
        );
        let flows = plan.without_a_server(&lab)?;
        let interface = *lab.relay_interfaces().first().context("the floor needs a lab in namespaces")?;
        let program = lab.relay()?.enter(|| attach(interface))?;
        Ok(Self { _program: program, flows, version: kernel()?, lab })
    }
}

impl Subject for Floor {
    fn name(&self) -> &str {
        "floor"
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn lab(&self) -> &Lab {
        &self.lab
    }

    fn cpu_time(&self) -> Option<f64> {
        Some(self.lab.polling_seconds())
    }

    fn flows(&self) -> &[Flow] {
        &self.flows
    }

    fn wire(&self) -> Wire {
        Wire::Echo
    }
}

fn attach(interface: &str) -> Result<Ebpf> {
    let object = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bpf/turnpike-bench-xdp.o"));
    let hint = || format!("{}: make it with `cargo xtask build-ebpf`", object.display());
    let object = fs::read(&object).with_context(hint)?;
    // The maps are for the other programs of the object.
    let mut loader = EbpfLoader::new();
    loader.map_max_entries("TEMPLATES", 1);
    let mut ebpf = loader.load(&object).context("the bench's maps, which need CAP_BPF")?;
    let program: &mut Xdp =
        ebpf.program_mut("swap_macs").context("no swap_macs in the object")?.try_into()?;
    program.load().context("swap_macs, which needs CAP_BPF and CAP_NET_ADMIN")?;
    program.attach(interface, XdpMode::Driver).with_context(|| format!("swap_macs on {interface}"))?;
    Ok(ebpf)
}
