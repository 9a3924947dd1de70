//! Who has opened a connection: the present task is the one that connects only at the first change of its socket's state,
//! when the local port is not chosen yet; both ends are known at the second one, in whatever task that happens.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use tlskeytop_common::{Flow, KernelLayout, Opened, Owner, SocketNames, mapped};

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
            let owner = Owner { since_boot, pid: ctx.tgid(), net: 0 };
            let _ = CONNECTING.insert(socket, owner, 0);
        }
        (SYN_SENT, ESTABLISHED) => {
            // SAFETY: nobody changes a value: it is replaced as a whole.
            if let Some(owner) = unsafe { CONNECTING.get(socket) }
                && let Some(layout) = KERNEL.get(0)
                && let Some(flow) = flow(layout, socket)
                && let Some(net) = net(layout, socket)
            {
                remember(layout.own_net, flow, Owner { net, ..*owner });
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

/// Of connections elsewhere the addresses may mean several: then it is not known whose one is. What stays on another
/// loopback is never seen on our interfaces.
#[inline(always)]
fn remember(own_net: u32, flow: Flow, mut owner: Owner) {
    let is_elsewhere = owner.net != own_net;
    if is_elsewhere && flow.is_on_loopback() {
        return;
    }
    let opened = Opened { flow, is_elsewhere: is_elsewhere as u32 };
    // SAFETY: nobody changes a value: it is replaced as a whole.
    if is_elsewhere
        && let Some(known) = unsafe { OWNERS.get(opened) }
        && (known.net != owner.net || known.pid == 0)
    {
        owner.pid = 0;
    }
    let _ = OWNERS.insert(opened, owner, 0);
}

/// The inode of a socket's network namespace; that of ours is 0 where there are no others.
#[inline(always)]
fn net(layout: &KernelLayout, socket: u64) -> Option<u32> {
    if layout.own_net == 0 {
        return Some(0);
    }
    let net: u64 = kernel(socket, layout.sock_net)?;
    kernel(net, layout.net_inode)
}

/// Both ends of a socket that connects; `None` where it is not TCP over IP, or the kernel's layout is not known.
#[inline(always)]
fn flow(layout: &KernelLayout, socket: u64) -> Option<Flow> {
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
