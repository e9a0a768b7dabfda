//! The functions of the kernel that the program calls, by their numbers (`include/uapi/linux/bpf.h`).

use super::machine::Machine;

const MAP_LOOKUP_ELEM: i64 = 1;
const GET_PRANDOM_U32: i64 = 7;
const XDP_ADJUST_HEAD: i64 = 44;
const REDIRECT_MAP: i64 = 51;
const XDP_ADJUST_TAIL: i64 = 65;
const JIFFIES64: i64 = 118;
const KTIME_GET_COARSE_NS: i64 = 160;
const XDP_GET_BUFF_LEN: i64 = 188;

/// Bytes at the start of the headroom that the kernel keeps for itself (`struct xdp_frame`).
const KEPT: u64 = 40;

const FAILED: u64 = -22i64 as u64;

const XDP_REDIRECT: u64 = 4;

impl Machine<'_> {
    /// Calls the helper of this number.
    pub(super) fn help(&mut self, number: i64, arguments: [u64; 5]) -> u64 {
        let (data, end) = self.bounds();
        let by = i64::from(arguments[1] as i32);
        match number {
            MAP_LOOKUP_ELEM => self.look_up(arguments[0], arguments[1]),
            XDP_ADJUST_HEAD => {
                let start = data.wrapping_add_signed(by);
                let fits = start >= self.room.0 + KEPT && start + 14 <= end;
                self.resize(fits, start, end)
            }
            XDP_ADJUST_TAIL => {
                let behind = end.wrapping_add_signed(by);
                let fits = behind <= self.room.1 && behind >= data + 14;
                self.resize(fits, data, behind)
            }
            // The flags say what to return where there is no such device.
            REDIRECT_MAP if self.has_device(arguments[0], arguments[1]) => XDP_REDIRECT,
            REDIRECT_MAP => arguments[2] & 3,
            XDP_GET_BUFF_LEN => end - data,
            // Any time and any number will do: packets are compared without what is made of them.
            JIFFIES64 | KTIME_GET_COARSE_NS | GET_PRANDOM_U32 => 1_000_000,
            number => panic!("helper {number} is not interpreted"),
        }
    }

    fn resize(&mut self, fits: bool, data: u64, end: u64) -> u64 {
        if !fits {
            return FAILED;
        }
        self.set_bounds(data, end);
        0
    }

    fn look_up(&mut self, table: u64, key: u64) -> u64 {
        let table = self.tables.iter().find(|t| t.address == table).expect("the address of a table");
        table.look_up(key, &mut self.memory)
    }

    fn has_device(&self, table: u64, ifindex: u64) -> bool {
        let table = self.tables.iter().find(|t| t.address == table).expect("the address of a table");
        table.has(&(ifindex as u32).to_le_bytes())
    }
}
