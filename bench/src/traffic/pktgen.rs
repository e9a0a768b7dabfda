//! stub for now
use super::{Macs, Wire};
use crate::figures::{Flow, Load};
use anyhow::{Result, bail};
/// x
#[derive(Debug)]
pub struct Pktgen;
/// x
pub fn why_not() -> Option<String> {
    None
}
pub(super) struct Sent {
    pub(super) packets: u64,
    pub(super) seconds: f64,
}
impl Pktgen {
    pub(super) fn run(&self, _i: &str, _m: &Macs, _f: &[Flow], _w: Wire, _l: &Load) -> Result<Sent> {
        bail!("x")
    }
}
