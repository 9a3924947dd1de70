"""Runs a command that the kernel permits no probe: neither a link of a program nor a perf event."""

import ctypes
import os
import struct
import sys

# linux/seccomp.h, linux/filter.h, linux/audit.h, linux/bpf.h, asm/unistd_64.h
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
ALLOW, EPERM = 0x7FFF0000, 0x00050000 | 1
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
PERF_EVENT_OPEN, BPF, BPF_LINK_CREATE = 298, 321, 28
NUMBER, ARGUMENT = 0, 16

FILTER = [
    (LOAD, 0, 0, NUMBER),
    (EQUAL, 3, 0, PERF_EVENT_OPEN),
    (EQUAL, 0, 3, BPF),
    (LOAD, 0, 0, ARGUMENT),
    (EQUAL, 0, 1, BPF_LINK_CREATE),
    (RETURN, 0, 0, EPERM),
    (RETURN, 0, 0, ALLOW),
]

code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in FILTER))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(FILTER), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
for arguments in [
    (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
    (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_void_p(ctypes.addressof(program)), 0, 0),
]:
    if libc.prctl(*arguments) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
os.execv(sys.argv[1], sys.argv[1:])
