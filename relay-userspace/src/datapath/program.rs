//! The loaded eBPF object: the program, and its tables mapped into this process.

use std::collections::BTreeMap;
use std::sync::Arc;

use aya::maps::xdp::{DevMapHash, XdpMapError};
use aya::maps::{HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray};
use aya::programs::xdp::XdpLinkId;
use aya::programs::{ProgramError, Xdp, XdpMode};
use aya::{Ebpf, EbpfError, EbpfLoader};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use relay_common::flow::{Bucket, FlowRecord};
use relay_common::interface::{self, Interface};
use relay_common::meter::Row;
use relay_common::next_hop::NextHop;
use relay_common::strangers::SketchSeed;
use relay_common::tables::{
    CONTROLS, COUNTERS, Controls, DEVICES, FLOW_INDEX, FLOWS, INTERFACES, LOCALS, Local, LocalKey, METERS,
    NEXT_HOPS, SETTINGS, STRANGERS_SEED, Settings, WAYS_BACK,
};

use super::counters::{Counters, Totals};
use super::flow_table::{FlowTable, TableSize};
use super::interface_table::InterfaceTable;
use super::interfaces::{Locals, local_key};
use super::next_hop::NEXT_HOPS as NEXT_HOP_ROWS;
use super::shared_map::{Pod, SharedWords};
use super::ways_back::{PREFIXES, WaysBack};
use crate::meter_bank::MeterBank;

/// The entry for packets in pieces (`xdp.frags`), and the one for kernels before 5.18, which refuse such a program.
const IN_PIECES: &str = "turnpike_xdp";
const WHOLE: &str = "turnpike_whole";

/// The names of our program in the kernel.
pub(super) const NAMES: [&str; 2] = [IN_PIECES, WHOLE];

/// Room for addresses that come later, where a listener is on all of them: about 100 KiB.
const LEAST_LOCALS: usize = 1024;

/// The program and where it is attached. Detached on drop, and by the kernel should this process die.
pub(super) struct Program {
    ebpf: Ebpf,
    /// One of [`NAMES`].
    entry: &'static str,
    id: u32,
    devices: DevMapHash<MapData>,
    interfaces: InterfaceTable,
    locals: HashMap<MapData, Pod<LocalKey>, Pod<Local>>,
    /// What `locals` holds.
    present: Locals,
    /// By interface.
    links: BTreeMap<u32, XdpLinkId>,
}

/// The tables that userspace works on.
pub(super) struct Tables {
    pub(super) flows: FlowTable,
    pub(super) next_hops: Arc<SharedWords>,
    pub(super) counters: Arc<Counters>,
    pub(super) meters: Arc<MeterBank>,
    pub(super) controls: SharedWords,
    pub(super) ways_back: WaysBack,
}

/// What is fixed when the object is loaded.
pub(super) struct Plan {
    pub(super) size: TableSize,
    /// Rows of meters.
    pub(super) meters: u32,
    pub(super) settings: Settings,
    pub(super) locals: Locals,
    pub(super) strangers: SketchSeed,
}

/// Why the object could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error(transparent)]
    Object(#[from] EbpfError),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Map(#[from] MapError),
    #[error("mapping a table into memory failed")]
    Mmap(#[source] std::io::Error),
    #[error(
        "the eBPF object does not belong to this binary: {0}; build it again with cargo xtask build-ebpf"
    )]
    Foreign(String),
}

impl Program {
    /// Loads the object and fills in all that is known before the first packet: a program that runs before its
    /// tables are filled would take every packet for somebody else's.
    pub(super) fn load(object: &[u8], plan: &Plan) -> Result<(Self, Tables), LoadError> {
        // Before 5.11 maps count against this limit. Without the privilege to raise it, loading says what is wrong.
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
        let (settings, strangers) = (Pod(plan.settings), Pod(plan.strangers));
        let mut ebpf = EbpfLoader::new()
            .override_global(SETTINGS, &settings, true)
            .override_global(STRANGERS_SEED, &strangers, true)
            .map_max_entries(FLOW_INDEX, plan.size.buckets)
            .map_max_entries(FLOWS, plan.size.records)
            .map_max_entries(NEXT_HOPS, NEXT_HOP_ROWS)
            .map_max_entries(METERS, plan.meters)
            .map_max_entries(WAYS_BACK, PREFIXES)
            .map_max_entries(LOCALS, (2 * plan.locals.len()).max(LEAST_LOCALS) as u32)
            .load(object)?;
        // Before any table is taken out: its descriptor closes when it is mapped, and the program's code names it.
        let entry = load_entry(&mut ebpf)?;
        let id = xdp(&mut ebpf, entry)?.info()?.id();

        let tables = Tables {
            flows: FlowTable::new(
                array::<Bucket>(&mut ebpf, FLOW_INDEX, plan.size.buckets)?,
                array::<FlowRecord>(&mut ebpf, FLOWS, plan.size.records)?,
                plan.settings.seed,
            ),
            next_hops: Arc::new(array::<NextHop>(&mut ebpf, NEXT_HOPS, NEXT_HOP_ROWS)?),
            counters: Arc::new(Counters::new(PerCpuArray::try_from(take(&mut ebpf, COUNTERS)?)?)),
            meters: Arc::new(MeterBank::of_table(array::<Row>(&mut ebpf, METERS, plan.meters)?)),
            controls: array::<Controls>(&mut ebpf, CONTROLS, 1)?,
            ways_back: WaysBack::new(LpmTrie::try_from(take(&mut ebpf, WAYS_BACK)?)?),
        };
        let entries = array::<Interface>(&mut ebpf, INTERFACES, interface::ENTRIES)?;
        let interfaces = InterfaceTable::new(entries, tables.counters.clone());
        let devices = DevMapHash::try_from(take(&mut ebpf, DEVICES)?)?;
        let locals = HashMap::try_from(take(&mut ebpf, LOCALS)?)?;
        let (present, links) = Default::default();
        let mut program = Self { ebpf, entry, id, devices, interfaces, locals, present, links };
        program.set_locals(&plan.locals)?;
        Ok((program, tables))
    }

    /// Whether it is handed packets in pieces, as frames larger than a page come.
    pub(super) fn takes_pieces(&self) -> bool {
        self.entry == IN_PIECES
    }

    /// The kernel's number for it.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Makes these the addresses that packets to us are known by.
    pub(super) fn set_locals(&mut self, locals: &Locals) -> Result<(), MapError> {
        for &gone in self.present.difference(locals) {
            self.locals.remove(&Pod(local_key(gone)))?;
        }
        self.present.retain(|local| locals.contains(local));
        for &new in locals {
            // A value is the same for all keys, so it does not matter that a reader may hold one that changes hands.
            if !self.present.contains(&new) {
                self.locals.insert(Pod(local_key(new)), Pod(Local { present: 1 }), 0)?;
                self.present.insert(new);
            }
        }
        Ok(())
    }

    /// Tells the program what an interface is like ([`Interface::flags`]): before it is attached there, or later.
    pub(super) fn describe(&self, ifindex: u32, flags: u32) {
        self.interfaces.set(ifindex, flags);
    }

    /// Tells the program which interfaces are the members of a bond, which it is attached to by the bond.
    pub(super) fn describe_members(&self, bond: u32, members: &[u32], flags: u32) {
        self.interfaces.set_members(bond, members, flags);
    }

    /// Has the program know an interface no longer, once it is detached from it.
    pub(super) fn forget(&self, ifindex: u32) {
        self.interfaces.clear(ifindex);
    }

    /// What it counted on an interface; `None` for one without counters of its own.
    pub(super) fn counted(&self, ifindex: u32) -> Option<Totals> {
        self.interfaces.counted(ifindex)
    }

    /// Attaches to an interface in exactly this mode.
    pub(super) fn attach(&mut self, ifindex: u32, mode: XdpMode) -> Result<(), ProgramError> {
        let link = xdp(&mut self.ebpf, self.entry)?.attach_to_if_index(ifindex, mode)?;
        self.links.insert(ifindex, link);
        Ok(())
    }

    /// Lets packets of other interfaces be redirected to one.
    pub(super) fn add_device(&mut self, ifindex: u32) -> Result<(), XdpMapError> {
        self.devices.insert(ifindex, ifindex, None, 0)
    }

    /// Detaches from an interface, which may be gone and have taken all of this along but our descriptor.
    pub(super) fn detach(&mut self, ifindex: u32) {
        if let Err(error) = self.devices.remove(ifindex) {
            tracing::debug!(ifindex, %error, "not in the device table");
        }
        let Some(link) = self.links.remove(&ifindex) else { return };
        if let Err(error) = xdp(&mut self.ebpf, self.entry).and_then(|xdp| xdp.detach(link)) {
            tracing::debug!(ifindex, %error, "detaching failed");
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let attached: Vec<_> = self.links.keys().copied().collect();
        attached.into_iter().for_each(|ifindex| self.detach(ifindex));
    }
}

/// Loads the entry for packets in pieces, or else the other. A refusal of both is told as that of the other, which asks
/// less of the kernel.
fn load_entry(ebpf: &mut Ebpf) -> Result<&'static str, ProgramError> {
    let Err(error) = xdp(ebpf, IN_PIECES)?.load() else { return Ok(IN_PIECES) };
    xdp(ebpf, WHOLE)?.load()?;
    tracing::info!(%error, "this kernel takes no program for packets in pieces (5.18): large MTUs need generic mode");
    Ok(WHOLE)
}

fn xdp<'e>(ebpf: &'e mut Ebpf, entry: &str) -> Result<&'e mut Xdp, ProgramError> {
    let program = ebpf.program_mut(entry);
    program.ok_or_else(|| ProgramError::InvalidName { name: entry.into() })?.try_into()
}

fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map, LoadError> {
    ebpf.take_map(name).ok_or_else(|| LoadError::Foreign(format!("it has no table {name}")))
}

/// An array table, mapped. Its dimensions are checked: memory is shared by them.
fn array<T>(ebpf: &mut Ebpf, name: &str, entries: u32) -> Result<SharedWords, LoadError> {
    let Map::Array(map) = take(ebpf, name)? else {
        return Err(LoadError::Foreign(format!("its table {name} is no array")));
    };
    let info = map.info()?;
    let found = (info.max_entries(), info.value_size() as usize);
    if found != (entries, size_of::<T>()) {
        let (n, size) = found;
        return Err(LoadError::Foreign(format!("its table {name} is {n} times {size} bytes")));
    }
    SharedWords::of_map(map.fd(), entries as usize * size_of::<T>()).map_err(|e| LoadError::Mmap(e.into()))
}
