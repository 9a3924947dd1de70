//! Who has opened a connection: the present task is the one that connects only at the first change of its socket's state,
//! when the local port is not chosen yet; both ends are known at the second one, in whatever task that happens.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use tlskeytop_common::{Flow, Owner, SocketNames, mapped};

use crate::ends::{AF_INET, AF_INET6};
use crate::look::kernel;
use crate::maps::{CONNECTING, KERNEL, OWNERS};

/// States of a socket (`net/tcp_states.h`).
const ESTABLISHED: u64 = 1;
const SYN_SENT: u64 = 2;
const CLOSE: u64 = 7;

/// A socket changes from one state to another: `inet_sock_set_state(sk, old, new)`.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn socket_state(ctx: RawTracePointContext) -> i32 {
    let (socket, old, new): (u64, u64, u64) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    // Both are `int`: the upper half is whatever was there.
    match (old & 0xffff_ffff, new & 0xffff_ffff) {
        (CLOSE, SYN_SENT) => {
            // SAFETY: the helper takes no argument.
            let since_boot = unsafe { bpf_ktime_get_boot_ns() };
            let owner = Owner { since_boot, pid: ctx.tgid(), reserved: 0 };
            let _ = CONNECTING.insert(socket, owner, 0);
        }
        (SYN_SENT, ESTABLISHED) => {
            // SAFETY: nobody changes a value: it is replaced as a whole.
            if let Some(owner) = unsafe { CONNECTING.get(socket) }
                && let Some(flow) = flow(socket)
            {
                let _ = OWNERS.insert(flow, *owner, 0);
            }
            let _ = CONNECTING.remove(socket);
        }
        (SYN_SENT, _) => {
            let _ = CONNECTING.remove(socket);
        }
        _ => {}
    }
    0
}

/// Both ends of a socket that connects; `None` where it is not TCP over IP, or the kernel's layout is not known.
#[inline(always)]
fn flow(socket: u64) -> Option<Flow> {
    let layout = KERNEL.get(0)?;
    if layout.known == 0 {
        return None;
    }
    let names: SocketNames = kernel(socket, layout.sock_names)?;
    let [server, client] = match names.family {
        AF_INET => [mapped(names.address), mapped(names.between[0].to_ne_bytes())],
        AF_INET6 => kernel(socket, layout.sock_address6)?,
        _ => return None,
    };
    Some(Flow {
        client,
        server,
        client_port: names.local_port.to_be_bytes(),
        server_port: names.port.to_ne_bytes(),
    })
}
