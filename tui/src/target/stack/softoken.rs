//! NSS's softoken, a PKCS #11 module that is found by its export `NSC_GetFunctionList`: it has the values of the keys of
//! which libssl3 only knows handles.
//!
//! Every new object gets its handle in `sftk_handleObject(object, session)`. `NSC_CreateObject`, which stands in the
//! module's list of functions, shows it: its last call before it reads the handle from the object and gives it to its
//! caller.

use memchr::memmem;
use tlskeytop_common::TokenConfig;

use super::nss::{version, with_arguments};
use super::{Clues, Found};
use crate::target::arch::{Effect, Flow, Insn, Place, Reg, Source};
use crate::target::bytes::u64_at;
use crate::target::elf::ElfError;
use crate::target::machine::{State, Value};
use crate::target::plan::{Arguments, Library, Site, SiteKind, Tap};
use crate::target::site;
use crate::target::walk::{Limits, Path, Program};
use crate::target::window::ReadError;

/// `CK_FUNCTION_LIST` (PKCS #11 v2.40): a version, padding, then pointers, of which `C_CreateObject` is number 20.
const CREATE_OBJECT: u64 = 8 + 20 * 8;
/// Argument 3 of `C_CreateObject(session, template, count, handle)`.
const GIVEN: usize = 3;
/// `R_X86_64_RELATIVE` (psABI).
const RELATIVE: u64 = 8;
/// Bytes of an `Elf64_Rela`.
const RELA: u64 = 24;
/// `NSC_CreateObject` has 200 instructions in 3.87.
const LIMITS: Limits = Limits { path: 600, walk: 6_000 };
/// Instructions that lead to the read of the handle.
const HISTORY: usize = 12;
/// From `SFTKObject.handle` to `.isFIPS`, which tells apart what the object looks like (lib/softoken/pkcs11i.h).
const HANDLE_TO_FIPS: i64 = 48;
/// From `SFTKObject.handle` to `SFTKSessionObject.attrList`, where there is an `isFIPS`.
const HANDLE_TO_ATTRIBUTES: u32 = 104;
/// Structures have no larger ones here.
const MAX_OFFSET: i64 = 0x1000;

/// The probe on a softoken.
pub fn find(program: &mut Program<'_, '_>, clues: &Clues<'_>) -> Result<Option<Found>, ElfError> {
    let export = clues.dynamic.export(program.window, program.elf, "NSC_GetFunctionList");
    let Some(export) = export else {
        return Ok(None);
    };
    // By itself it has no TLS, so that one which cannot be probed is no stack: who needs it has that as its reason.
    let Some(mut tap) = tap(program, export)? else {
        return Ok(None);
    };
    tap.symbol = clues.symbols.and_then(|table| table.name_at(program.window, tap.function));
    let library = Library { name: "NSS", version: version(program)? };
    let reason = "the keys of a libssl3 without key logs are found here by their handles";
    Ok(Some(Found { library, taps: vec![tap], labels: Vec::new(), reason: reason.to_owned() }))
}

/// `None` where its list of functions, what creates an object, or the layout of an object is not as it is known.
fn tap(program: &mut Program<'_, '_>, export: u64) -> Result<Option<Tap>, ElfError> {
    let Some(list) = function_list(program, export)? else {
        return Ok(None);
    };
    let create = match list.checked_add(CREATE_OBJECT) {
        Some(at) => pointer_at(program, at)?,
        None => None,
    };
    let Some(create) = create else {
        return Ok(None);
    };
    let Some(creation) = creation(program, create)? else {
        return Ok(None);
    };
    if !creation.has_fips {
        return Ok(None);
    }
    let function = creation.function;
    let emulated = site::emulated_with_connection(program, function)?;
    let address = emulated.unwrap_or(function);
    let kind = if emulated.is_some() { SiteKind::Emulated } else { SiteKind::Entry };
    let (Some(file_offset), Some(extent)) =
        (program.elf.file_offset(address), extent(program, address))
    else {
        return Ok(None);
    };
    let config = TokenConfig {
        start: extent.0,
        end: extent.1,
        handle: creation.handle,
        attributes: creation.handle.saturating_add(HANDLE_TO_ATTRIBUTES),
    };
    let sites = vec![Site { address, file_offset, kind }];
    Ok(Some(Tap { function, symbol: None, arguments: Arguments::Token(config), sites }))
}

/// From `address` to the start and to the end of the image.
fn extent(program: &Program<'_, '_>, address: u64) -> Option<(i64, i64)> {
    let first = program.elf.segments.first()?;
    let last = program.elf.segments.last()?;
    let end = last.address.checked_add(last.size)?;
    let from = |to: u64| to.wrapping_sub(address) as i64;
    Some((from(first.address), from(end)))
}

/// What `NSC_GetFunctionList(list)` stores at `list`.
fn function_list(program: &mut Program<'_, '_>, function: u64) -> Result<Option<u64>, ReadError> {
    let arguments = program.arch.arguments();
    let argument = arguments[0];
    let mut found = None;
    program.walk(
        function,
        State::new(),
        LIMITS,
        |state| with_arguments(state, arguments),
        |insn, state| {
            if let Effect::Store(place, Source::Reg(register)) = insn.effect
                && state.address(&place) == (Value::Initial { root: argument, offset: 0 })
                && let Value::Constant(list) = state.get(register)
            {
                found.get_or_insert(list);
            }
            Path::On
        },
    )?;
    Ok(found)
}

/// The pointer to code that the loader puts at `address`: what a relocation says, or what is there (`DT_RELR`).
fn pointer_at(program: &mut Program<'_, '_>, address: u64) -> Result<Option<u64>, ElfError> {
    let needle = [address.to_le_bytes(), RELATIVE.to_le_bytes()].concat();
    let finder = memmem::Finder::new(&needle);
    let mut found = None;
    for segment in &program.elf.segments {
        program.window.scan(segment.offset, segment.size, RELA, |_, bytes, _| {
            let at = finder.find(bytes).and_then(|at| u64_at(bytes, at + 16));
            found = at.filter(|&to| program.elf.is_code(to));
            found.is_none()
        })?;
        if found.is_some() {
            return Ok(found);
        }
    }
    let there = match program.elf.file_offset(address) {
        Some(offset) => u64_at(program.window.peek(offset, 8)?, 0),
        None => None,
    };
    Ok(there.filter(|&to| program.elf.is_code(to)))
}

/// What `NSC_CreateObject` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Creation {
    /// `sftk_handleObject`.
    function: u64,
    /// From an object to its handle.
    handle: u32,
    /// Whether objects have an `isFIPS`.
    has_fips: bool,
}

fn creation(program: &mut Program<'_, '_>, create: u64) -> Result<Option<Creation>, ReadError> {
    let arguments = program.arch.arguments();
    let argument = arguments[0];
    let given = Value::Initial { root: arguments[GIVEN], offset: 0 };
    let mut history: Vec<Insn> = Vec::new();
    let mut found: Vec<(u64, u32)> = Vec::new();
    // Offsets of what is set to zero; objects are not on the stack.
    let mut cleared = Vec::new();
    let stack = program.arch.stack();
    program.walk(
        create,
        State::new(),
        LIMITS,
        |state| with_arguments(state, arguments),
        |insn, state| {
            if history.last().is_some_and(|last| last.next() != insn.address) {
                history.clear();
            }
            if let Effect::Store(place, source) = insn.effect {
                if let (4, Source::Constant(0)) = (place.size, source)
                    && place.base != Some(stack)
                {
                    cleared.push(place.offset);
                }
                if let (8, Source::Reg(register)) = (place.size, source)
                    && state.address(&place) == given
                    && let Some(one) = last_call(&history, register, argument)
                    && !found.contains(&one)
                {
                    found.push(one);
                }
            }
            if history.len() == HISTORY {
                history.remove(0);
            }
            history.push(*insn);
            Path::On
        },
    )?;
    Ok(match found[..] {
        [(function, handle)] => {
            let fips = i64::from(handle) + HANDLE_TO_FIPS;
            Some(Creation { function, handle, has_fips: cleared.contains(&fips) })
        }
        _ => None,
    })
}

/// `mov rdi, OBJECT; call FUNCTION; mov REGISTER, [OBJECT + HANDLE]` at the end of `history`, with whatever else in
/// between that changes none of them: the function and the handle's offset.
fn last_call(history: &[Insn], register: Reg, argument: Reg) -> Option<(u64, u32)> {
    let changes = |insn: &Insn, register: Reg| {
        insn.clobbers.contains(register)
            || match insn.effect {
                Effect::Assign(to, _) | Effect::MayAssign(to, _) | Effect::Pop(to) => {
                    to == register
                }
                _ => false,
            }
    };
    let mut before = history.iter().rev();
    let read = before.find(|insn| changes(insn, register))?;
    let (object, handle) = match read.effect {
        Effect::Assign(
            to,
            Source::Load(Place { base: Some(base), index: None, offset, size: 8 }),
        ) if to == register && (1..MAX_OFFSET).contains(&offset) => (base, offset),
        _ => return None,
    };
    let call = before.find(|insn| insn.flow != Flow::Next || changes(insn, object))?;
    let Flow::Call(Some(function)) = call.flow else { return None };
    let passed = before.find(|insn| changes(insn, argument) || changes(insn, object))?;
    let is_passed = passed.effect == Effect::Assign(argument, Source::Reg(object));
    is_passed.then_some((function, handle as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::sample::Sample;

    const CREATE: u64 = 0x1000;
    const HANDLE_OBJECT: u64 = 0x1900;

    /// `mov r14, rcx; mov DWORD PTR [rbx+0x48], 0; mov rdi, rbx; call` to `function`, and then `rest`.
    fn create(function: u64, rest: &[u8]) -> Option<Creation> {
        let mut sample = Sample::new();
        sample.raw(&[0x49, 0x89, 0xce, 0xc7, 0x43, 0x48, 0, 0, 0, 0, 0x48, 0x89, 0xdf]);
        sample.call(function).raw(rest);
        sample.at(HANDLE_OBJECT).raw(&[0x53, 0x5b, 0xc3]);
        sample.with(|program, _| creation(program, CREATE).unwrap())
    }

    /// `mov rax, [rbx+0x18]; mov [r14], rax; ret`
    const GIVE: [u8; 8] = [0x48, 0x8b, 0x43, 0x18, 0x49, 0x89, 0x06, 0xc3];

    #[test]
    fn the_last_call_before_the_handle_is_read() {
        let found = create(HANDLE_OBJECT, &GIVE).unwrap();
        assert_eq!(found, Creation { function: HANDLE_OBJECT, handle: 0x18, has_fips: true });
        // mov rdx, rax; in between.
        let rest = [&[0x48, 0x89, 0xc2][..], &GIVE].concat();
        assert_eq!(create(HANDLE_OBJECT, &rest).unwrap().function, HANDLE_OBJECT);
    }

    #[test]
    fn what_only_looks_like_it_is_not_taken() {
        // The object's register changes after the call: mov rbx, rax.
        let rest = [&[0x48, 0x89, 0xc3][..], &GIVE].concat();
        assert_eq!(create(HANDLE_OBJECT, &rest), None);
        // What is read is not given to the caller: mov [r13], rax.
        assert_eq!(
            create(HANDLE_OBJECT, &[0x48, 0x8b, 0x43, 0x18, 0x49, 0x89, 0x45, 0, 0xc3]),
            None
        );
        // Another value is given: mov rax, [rbx+0x18]; xor eax, eax; mov [r14], rax.
        let rest = [0x48, 0x8b, 0x43, 0x18, 0x31, 0xc0, 0x49, 0x89, 0x06, 0xc3];
        assert_eq!(create(HANDLE_OBJECT, &rest), None);
    }

    proptest::proptest! {
        #[test]
        fn damaged_code_never_panics(
            changes in proptest::collection::vec((0usize..48, proptest::prelude::any::<u8>()), 1..8),
        ) {
            let mut sample = Sample::new();
            sample.raw(&[0x49, 0x89, 0xce, 0x48, 0x89, 0xdf]).call(HANDLE_OBJECT).raw(&GIVE);
            sample.at(HANDLE_OBJECT).raw(&[0xc3]);
            for (at, byte) in changes {
                sample.code[at] = byte;
            }
            sample.with(|program, _| {
                let _ = creation(program, CREATE);
                let _ = function_list(program, CREATE);
                let _ = pointer_at(program, u64::MAX - 3);
                let _ = pointer_at(program, 0x3000);
            });
        }
    }
}
