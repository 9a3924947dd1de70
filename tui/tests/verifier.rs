//! Every program of the embedded object passes this kernel's verifier. Needs root; says so when it is skipped.

use aya::programs::Program;

#[test]
fn the_kernel_takes_every_program() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("TLSKEYTOP_REQUIRE_LIVE").is_none(), "only root can load eBPF");
        eprintln!("skipped: only root can load eBPF programs");
        return;
    }
    let mut ebpf = aya::Ebpf::load(aya::include_bytes_aligned!("../ebpf/tlskeytop.o")).unwrap();
    let mut loaded = 0;
    for (name, program) in ebpf.programs_mut() {
        match program {
            Program::UProbe(program) => program.load(),
            Program::RawTracePoint(program) => program.load(),
            Program::SocketFilter(program) => program.load(),
            other => panic!("{name} is a {:?}", other.prog_type()),
        }
        .unwrap_or_else(|error| panic!("{name}: {error}"));
        loaded += 1;
    }
    assert!(loaded > 0);
}
