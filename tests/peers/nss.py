"""NSS by its C functions: the folder of the libraries is in NSS, or it is the system's."""
import contextlib
import ctypes
import os
import socket

_folder = os.environ.get("NSS", "")


def _load(name):
    return ctypes.CDLL(os.path.join(_folder, name))


_pointer, _number, _text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
nspr, nss, ssl = _load("libnspr4.so"), _load("libnss3.so"), _load("libssl3.so")


def function(library, name, result, *arguments):
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
    return function


import_socket = function(nspr, "PR_ImportTCPSocket", _pointer, _number)
read = function(nspr, "PR_Read", _number, _pointer, _pointer, _number)
write = function(nspr, "PR_Write", _number, _pointer, _text, _number)
close = function(nspr, "PR_Close", _number, _pointer)
error = function(nspr, "PR_GetError", _number)
start_without_database = function(nss, "NSS_NoDB_Init", _number, _text)
import_tls = function(ssl, "SSL_ImportFD", _pointer, _pointer, _pointer)
set_name = function(ssl, "SSL_SetURL", _number, _pointer, _text)
set_judge = function(ssl, "SSL_AuthCertificateHook", _number, _pointer, _pointer, _pointer)
set_domestic_policy = function(ssl, "NSS_SetDomesticPolicy", _number)
reset = function(ssl, "SSL_ResetHandshake", _number, _pointer, _number)
shake_hands = function(ssl, "SSL_ForceHandshake", _number, _pointer)
set_session_id = function(ssl, "SSL_SetSockPeerID", _number, _pointer, _text)

# Any certificate will do.
_judge = ctypes.CFUNCTYPE(_number, _pointer, _pointer, _number, _number)(lambda *_: 0)


def check(result):
    assert result == 0, error()


def start():
    check(start_without_database(None))
    check(set_domestic_policy())


@contextlib.contextmanager
def client(port, session_id=None):
    """A connection that has shaken hands. Connections with the same session id resume each other's sessions."""
    connection = socket.create_connection(("127.0.0.1", port))
    tls = import_tls(None, import_socket(connection.detach()))
    assert tls, error()
    check(set_judge(tls, _judge, None))
    check(set_name(tls, b"localhost"))
    check(set_session_id(tls, (session_id or str(id(connection))).encode()))
    check(reset(tls, 0))
    check(shake_hands(tls))
    yield tls
    check(close(tls))


def get(tls):
    """Asks over HTTP/1.0, and reads until the peer ends: then it has done all that it does."""
    request = b"GET / HTTP/1.0\r\n\r\n"
    assert write(tls, request, len(request)) == len(request), error()
    buffer = ctypes.create_string_buffer(16384)
    while read(tls, buffer, len(buffer)) > 0:
        pass
