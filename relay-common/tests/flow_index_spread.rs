//! The keys of a fleet, whose ports are evenly spaced, spread over the index as random numbers would.

use relay_common::addr::{Be16, Endpoint};
use relay_common::flow::{BUCKET_ENTRIES, FlowRecord, HashSeed, Path, home_bucket, other_bucket};

/// SplitMix64: any numbers without pattern do.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

fn endpoint(ip: [u8; 4], port: u16) -> Endpoint {
    std::net::SocketAddr::from((ip, port)).into()
}

/// How many of `keys` hashes find both of their buckets full in an index that they fill to the half.
fn homeless(hashes: impl Iterator<Item = u64>, keys: u32) -> u32 {
    let mask = (2 * keys / BUCKET_ENTRIES as u32).next_power_of_two() - 1;
    let mut used = vec![0; mask as usize + 1];
    let mut homeless = 0;
    for hash in hashes {
        let buckets = [home_bucket(hash, mask), other_bucket(hash, mask)];
        match buckets.into_iter().find(|b| used[*b as usize] < BUCKET_ENTRIES) {
            Some(bucket) => used[bucket as usize] += 1,
            None => homeless += 1,
        }
    }
    homeless
}

#[test]
fn evenly_spaced_ports_find_a_bucket_as_often_as_random_numbers() {
    let mut state = 1;
    let (mut fleet, mut chance, mut keys) = (0, 0, 0);
    for flows in [64_u16, 512, 4096] {
        for _ in 0..100_000 / u32::from(flows) {
            let seed: HashSeed = std::array::from_fn(|_| random(&mut state));
            let hashes = (0..flows).flat_map(|n| {
                let path = Path {
                    client: endpoint([198, 51, 100, 7], 5000 + n),
                    listener: endpoint([192, 0, 2, 1], 3478),
                    relayed: endpoint([192, 0, 2, 1], 50_000 + n),
                    peer: endpoint([203, 0, 113, 9], 6000 + n),
                    channel: Be16::new(0x4000),
                };
                [FlowRecord::client_to_peer(&path), FlowRecord::peer_to_client(&path)]
                    .map(|r| r.key.hash(&seed))
            });
            fleet += homeless(hashes, 2 * u32::from(flows));
            chance += homeless((0..2 * flows).map(|_| random(&mut state)), 2 * u32::from(flows));
            keys += 2 * u32::from(flows);
        }
    }
    assert!(chance > 0, "the test is too small to see anything");
    assert!(fleet <= 2 * chance, "{fleet} of {keys} keys found no bucket, of random numbers {chance}");
}
