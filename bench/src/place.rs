//! Where it is measured.

use std::path::PathBuf;

use anyhow::{Result, bail};
use turnpike_bench::runs::subject::Bench;

use crate::cli::RealInterfaces;

/// The lab in namespaces, or the real interfaces.
pub(crate) fn open(coturns: &[PathBuf], real: Option<RealInterfaces>) -> Result<Box<dyn Bench>> {
    bail!("this build has no lab: {coturns:?}, {real:?}")
}
