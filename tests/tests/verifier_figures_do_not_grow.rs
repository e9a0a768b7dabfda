//! What the verifier makes of the program, by either entry: instructions it followed and bytes of machine code. Growth of more than a
//! tenth over `golden/xdp-program.txt` fails, so that it is a decision and not an accident.
//!
//! The figures depend on the kernel, so the file holds them by kernel series and architecture. On a kernel it does not
//! know, the test prints the line to add and holds the program to the ceiling alone.

use std::fmt::Write;

use turnpike_tests::xdp::Program;

/// A tenth of what the verifier follows at most (`BPF_COMPLEXITY_LIMIT_INSNS`), on any kernel.
const CEILING: u32 = 100_000;

#[test]
fn verified_instructions_and_machine_code_do_not_grow_by_a_tenth() {
    figures_do_not_grow("turnpike_xdp", &Program::load());
    figures_do_not_grow("turnpike_whole", &Program::load_whole());
}

fn figures_do_not_grow(entry: &str, program: &Program) {
    let info = program.xdp().info().expect("the kernel tells about its programs");
    let verified = info.verified_instruction_count().expect("kernel 5.16 or newer tells");
    let jited = info.size_jitted();
    let uname = nix::sys::utsname::uname().expect("uname works");
    let release = uname.release().to_string_lossy();
    let series: Vec<&str> = release.split(['.', '-']).take(2).collect();
    let here = format!("{} {} {entry}", series.join("."), uname.machine().to_string_lossy());

    assert!(verified < CEILING, "{verified} instructions verified");
    let golden = include_str!("../golden/xdp-program.txt");
    let mut line = String::new();
    write!(line, "{here} {verified} {jited}").expect("a String takes it");
    let known =
        golden.lines().filter(|l| !l.starts_with('#')).find_map(|l| l.strip_prefix(&format!("{here} ")));
    let Some(known) = known else {
        eprintln!("no figures for this kernel in tests/golden/xdp-program.txt; add: {line}");
        return;
    };
    let figures: Vec<u32> = known.split(' ').map(|n| n.parse().expect("a number")).collect();
    for (what, was, is) in
        [("verified instructions", figures[0], verified), ("bytes of machine code", figures[1], jited)]
    {
        assert!(
            is * 10 <= was * 11,
            "{what} grew from {was} to {is}; if that is meant, the new line is: {line}"
        );
    }
}
