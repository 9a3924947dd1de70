//! What the kernel leaves out before it copies a packet: a classic BPF program (`linux/filter.h`).

use libc::{sock_filter, sock_fprog};

/// Interfaces that can be named: a jump is one byte.
pub const INTERFACES: usize = 64;
/// Bytes kept of a packet: all of them.
const ALL: u32 = 1 << 18;

/// The program that takes every packet of these interfaces, or of all, and those of the loopback once: the kernel shows
/// them on their way out and on their way in.
pub fn program(interfaces: Option<&[u32]>) -> Vec<sock_filter> {
    let loopback = [
        load(libc::SKF_AD_HATYPE),
        jump_if(u32::from(libc::ARPHRD_LOOPBACK), 0, 2),
        load(libc::SKF_AD_PKTTYPE),
        jump_if(u32::from(libc::PACKET_OUTGOING), 1, 0),
        give(ALL),
        give(0),
    ];
    let mut program = Vec::new();
    if let Some(interfaces) = interfaces {
        let interfaces = &interfaces[..interfaces.len().min(INTERFACES)];
        program.push(load(libc::SKF_AD_IFINDEX));
        for (index, &interface) in interfaces.iter().enumerate() {
            // To the part for the loopback, over the other interfaces and the end for those that are none of them.
            let over = u8::try_from(interfaces.len() - index).unwrap_or(0);
            program.push(jump_if(interface, over, 0));
        }
        program.push(give(0));
    }
    program.extend(loopback);
    program
}

/// As `SO_ATTACH_FILTER` wants it; valid as long as the program is.
pub fn as_option(program: &mut [sock_filter]) -> sock_fprog {
    let len = u16::try_from(program.len()).unwrap_or(0);
    sock_fprog { len, filter: program.as_mut_ptr() }
}

/// Loads one of the kernel's own values about the packet.
fn load(what: libc::c_int) -> sock_filter {
    let code = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    sock_filter { code, jt: 0, jf: 0, k: (libc::SKF_AD_OFF + what) as u32 }
}

fn jump_if(value: u32, jt: u8, jf: u8) -> sock_filter {
    let code = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    sock_filter { code, jt, jf, k: value }
}

fn give(bytes: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program says of a packet, run as the kernel would.
    fn run(program: &[sock_filter], interface: u32, hardware: u16, kind: u8) -> u32 {
        let (mut value, mut at) = (0, 0);
        loop {
            let step = program[at];
            at += 1;
            match u32::from(step.code) & 7 {
                libc::BPF_LD => {
                    value = match step.k as i32 - libc::SKF_AD_OFF {
                        libc::SKF_AD_IFINDEX => interface,
                        libc::SKF_AD_HATYPE => u32::from(hardware),
                        libc::SKF_AD_PKTTYPE => u32::from(kind),
                        other => panic!("{other}"),
                    }
                }
                libc::BPF_JMP => at += usize::from(if value == step.k { step.jt } else { step.jf }),
                libc::BPF_RET => return step.k,
                other => panic!("{other}"),
            }
        }
    }

    #[test]
    fn the_loopback_is_taken_once() {
        let program = program(None);
        let (lo, ethernet) = (libc::ARPHRD_LOOPBACK, libc::ARPHRD_ETHER);
        assert_eq!(run(&program, 1, lo, libc::PACKET_OUTGOING), 0);
        assert_eq!(run(&program, 1, lo, libc::PACKET_HOST), ALL);
        assert_eq!(run(&program, 2, ethernet, libc::PACKET_OUTGOING), ALL);
        assert_eq!(run(&program, 2, ethernet, libc::PACKET_HOST), ALL);
    }

    #[test]
    fn only_named_interfaces_are_taken() {
        let many: Vec<u32> = (10..10 + INTERFACES as u32 + 5).collect();
        for named in [&[][..], &[7], &[7, 9], &many] {
            let program = program(Some(named));
            for interface in 0..100 {
                let wanted = named.iter().take(INTERFACES).any(|&named| named == interface);
                let taken = run(&program, interface, libc::ARPHRD_ETHER, libc::PACKET_HOST);
                assert_eq!(taken != 0, wanted, "{interface} of {named:?}");
            }
        }
        assert_eq!(run(&program(Some(&[1])), 1, libc::ARPHRD_LOOPBACK, libc::PACKET_OUTGOING), 0);
    }
}
