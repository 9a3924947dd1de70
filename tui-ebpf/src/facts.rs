//! The facts of a session, as a tap's configuration says where they are.

use tlskeytop_common::{CIPHER_FOLLOWS, FACTS, FactsConfig, NumberAt};

use crate::look::user;

/// The facts, in numbers.
type Room = [u32; FACTS / 4];

/// Copies the facts of a connection; `base` is the structure that it points to, or 0.
///
/// # Safety
///
/// `facts` must point to writable room for them, with zeros.
#[inline(always)]
pub unsafe fn take(config: &FactsConfig, connection: u64, base: u64, facts: *mut Room) {
    let from = |number: &NumberAt| if number.from_base == 0 { connection } else { base };
    for number in &config.numbers {
        // SAFETY: by this function's contract.
        unsafe { copy(number, from(number), facts) };
    }
    for cipher in &config.ciphers {
        let mut at = from(&cipher.number);
        for follow in 0..CIPHER_FOLLOWS {
            if follow >= cipher.follows as usize || at == 0 {
                break;
            }
            at = user(at.wrapping_add(cipher.follow[follow] as u64)).unwrap_or(0);
        }
        // SAFETY: by this function's contract.
        if unsafe { copy(&cipher.number, at, facts) } != 0 {
            break;
        }
    }
}

/// Copies a number from the structure at `base`, and tells it; 0 where there is none.
///
/// # Safety
///
/// As [`take`].
#[inline(always)]
unsafe fn copy(number: &NumberAt, base: u64, facts: *mut Room) -> u32 {
    if base == 0 || number.len == 0 {
        return 0;
    }
    // What is behind a shorter one is in the same structure.
    let Some(value) = user::<u32>(base.wrapping_add(number.offset as u64)) else {
        return 0;
    };
    let value = value & (u32::MAX >> (32 - 8 * (number.len & 3)) % 32);
    let at = number.at as usize / 4 % (FACTS / 4);
    // SAFETY: by this function's contract.
    unsafe { (*facts)[at] = value };
    value
}
