//! NSS's softoken: finding the value of a key by its handle.
//!
//! An object is noted on its way to its handle, by `sftk_handleObject(object, session)`: the next time that its thread
//! is seen, it has one. That note is a hint, and nothing more is kept. When a key is wanted, the object is read in the
//! process as it is then, and has to be what the key says: in a module whose functions are in the image that was
//! probed, of the same slot, with the same handle, and with an attribute that is in order. A key holds its object, so
//! that it cannot be gone. Hence no order of calls is relied upon, and no secret is kept.

use core::mem::MaybeUninit;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_get_attach_cookie, bpf_probe_read_user};
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use tlskeytop_common::{Cookie, Counter};

use crate::maps::{Handle, NAMELESS, OBJECTS, Object, TOKENS, count, reports};
use crate::steps::zeros;
use crate::tap::instruction_pointer;

// NSS's lib/pk11wrap/secmodti.h, the same from 3.15 to 3.125.
/// `PK11SymKey.objectID`.
const KEY_HANDLE: u64 = 8;
/// `PK11SymKey.slot`; `PK11SlotInfo.functionList` is the first member there.
const KEY_SLOT: u64 = 16;
/// `PK11SlotInfo.slotID`.
const SLOT_ID: u64 = 88;

// lib/softoken/pkcs11i.h.
/// From `SFTKObject.handle` to `.slot`, in which `slotID` is the first member.
const HANDLE_TO_SLOT: u64 = 24;
/// `MAX_OBJS_ATTRS`.
const ATTRIBUTES: u64 = 45;
/// `sizeof(SFTKAttribute)`.
const ATTRIBUTE: u64 = 112;
/// `SFTKAttribute.handle`, before `attrib`: type, pointer, length.
const ATTRIBUTE_HANDLE: u64 = 24;
/// `SFTKAttribute.space`, where values of up to `ATTR_SPACE` bytes are.
const SPACE: u64 = 56;
/// `ATTR_SPACE`.
const SPACE_LEN: u64 = 50;
/// `CKA_VALUE` of PKCS #11.
const CKA_VALUE: u64 = 0x11;

/// Entry of the function that gives an object its handle.
#[uprobe]
pub fn token(ctx: ProbeContext) -> u32 {
    count(Counter::Hits);
    let pid_tgid = bpf_get_current_pid_tgid();
    if !reports((pid_tgid >> 32) as u32) {
        count(Counter::Filtered);
        return 0;
    }
    note_handle(pid_tgid);
    // SAFETY: the helper only wants the program's own context.
    let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    let object = Object {
        address: ctx.arg(0).unwrap_or(0),
        instruction: instruction_pointer(&ctx),
        token: u64::from(Cookie::unpack(cookie).slot),
    };
    let _ = NAMELESS.insert(pid_tgid, object, 0);
    0
}

/// Notes the handle that the thread's last object has got.
#[inline(always)]
fn note_handle(pid_tgid: u64) {
    // SAFETY: only this thread's own programs change the entry; a copy is taken at once.
    let Some(object) = (unsafe { NAMELESS.get(pid_tgid) }).copied() else {
        return;
    };
    let _ = NAMELESS.remove(pid_tgid);
    if let Some(handle) = handle_of(object, pid_tgid) {
        let _ = OBJECTS.insert(handle, object, 0);
    }
}

/// What an object is known by now.
#[inline(always)]
fn handle_of(object: Object, pid_tgid: u64) -> Option<Handle> {
    let config = TOKENS.get(object.token as u32)?;
    let at = object.address.wrapping_add(u64::from(config.handle));
    let slot = word(at.wrapping_add(HANDLE_TO_SLOT))?;
    // It has none yet, or was never given one.
    let handle = word(at).filter(|handle| *handle != 0)?;
    Some(Handle { pid: pid_tgid >> 32, slot: word(slot)?, handle })
}

/// Address and length of the value of the `PK11SymKey` at `key`.
#[inline(always)]
pub fn value(pid_tgid: u64, key: u64) -> Option<(u64, u64)> {
    note_handle(pid_tgid);
    let slot = word(key.wrapping_add(KEY_SLOT))?;
    let wanted = Handle {
        pid: pid_tgid >> 32,
        slot: word(slot.wrapping_add(SLOT_ID))?,
        handle: word(key.wrapping_add(KEY_HANDLE))?,
    };
    // SAFETY: an entry is replaced as a whole; a copy is taken at once.
    let object = unsafe { OBJECTS.get(wanted) }.copied()?;
    let config = TOKENS.get(object.token as u32)?;
    // Another module counts its handles as well: the key's own has its functions in this image.
    let functions = word(slot)?.wrapping_sub(object.instruction) as i64;
    if functions < config.start || functions >= config.end {
        return None;
    }
    let now = handle_of(object, pid_tgid)?;
    if now.slot != wanted.slot || now.handle != wanted.handle {
        return None;
    }
    let first = object.address.wrapping_add(u64::from(config.attributes));
    for index in 0..ATTRIBUTES {
        let at = first.wrapping_add(index * ATTRIBUTE);
        let mut room = MaybeUninit::uninit();
        let attribute: &mut [u64; 4] = zeros(&mut room);
        let to = (&raw mut *attribute).cast();
        let from = at.wrapping_add(ATTRIBUTE_HANDLE) as *const _;
        // SAFETY: `attribute` has room for the 32 bytes, and the helper checks `from`.
        if unsafe { bpf_probe_read_user(to, 32, from) } != 0 {
            return None;
        }
        let [handle, kind, pointer, length] = *attribute;
        if handle == CKA_VALUE && kind == CKA_VALUE {
            let in_order = pointer == at.wrapping_add(SPACE) && (1..=SPACE_LEN).contains(&length);
            return in_order.then_some((pointer, length));
        }
    }
    None
}

/// The 8 bytes at `from`.
#[inline(always)]
fn word(from: u64) -> Option<u64> {
    let mut value = 0u64;
    // SAFETY: `value` has room for the 8 bytes, and the helper checks `from`.
    let failed = unsafe { bpf_probe_read_user((&raw mut value).cast(), 8, from as *const _) };
    (failed == 0).then_some(value)
}
