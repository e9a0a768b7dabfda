//! The kernel as a router: what its stack does to a packet at the least when it sends it on.

use anyhow::Result;

use super::{Subject, kernel};
use crate::allocations::Plan;
use crate::figures::Flow;
use crate::lab::Lab;
use crate::traffic::Wire;

/// IP forwarding between clients and peers, who send to each other's addresses.
#[derive(Debug)]
pub struct Forwarding {
    flows: Vec<Flow>,
    version: String,
    lab: Lab,
}

impl Forwarding {
    /// Switches it on.
    pub fn start(lab: Lab, plan: &Plan) -> Result<Self> {
        let flows = plan.without_a_server(&lab)?;
        let relay = lab.relay()?;
        relay.set("ipv4/ip_forward", "1");
        relay.set("ipv6/conf/all/forwarding", "1");
        Ok(Self { flows, version: kernel()?, lab })
    }
}

impl Subject for Forwarding {
    fn name(&self) -> &str {
        "kernel forwarding"
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
        Wire::Forward
    }
}
