//! Each way a packet can take through the XDP program: packet in, verdict, exact packet out, exactly which counters
//! moved. Runs the real program under `BPF_PROG_TEST_RUN` (needs CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON).

mod answered;
mod forwarded;
mod in_pieces;
mod indications;
mod limited;
mod passed_up;
mod relay_to_relay;
mod scene;
mod strangers;
mod way_back;
