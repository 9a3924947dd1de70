"""A libssl file by its C functions, so that one script fits every version: the file is in LIBSSL.

Imports nothing that would bring another OpenSSL into the process.
"""
import ctypes
import glob
import os
import socket

_path = os.environ["LIBSSL"]
# A wheel's libcrypto has a hashed name and lies beside it; loaded first, it is found by that name.
for _libcrypto in glob.glob(os.path.join(os.path.dirname(_path), "libcrypto*.so*")):
    ctypes.CDLL(_libcrypto)
library = ctypes.CDLL(_path)

PEM = 1  # SSL_FILETYPE_PEM


def function(name, result, *arguments):
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
    return function


_pointer, _number, _text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
method = function("TLS_method", _pointer)
context = function("SSL_CTX_new", _pointer, _pointer)
use_certificate = function("SSL_CTX_use_certificate_file", _number, _pointer, _text, _number)
use_key = function("SSL_CTX_use_PrivateKey_file", _number, _pointer, _text, _number)
new = function("SSL_new", _pointer, _pointer)
set_fd = function("SSL_set_fd", _number, _pointer, _number)
connect = function("SSL_connect", _number, _pointer)
accept = function("SSL_accept", _number, _pointer)
read = function("SSL_read", _number, _pointer, _pointer, _number)
write = function("SSL_write", _number, _pointer, _text, _number)
get_error = function("SSL_get_error", _number, _pointer, _number)
shutdown = function("SSL_shutdown", _number, _pointer)
free = function("SSL_free", None, _pointer)


def handshake(context, connection, shake_hands):
    """A connection on which `shake_hands` (connect or accept) has succeeded."""
    tls = new(context)
    assert set_fd(tls, connection.fileno()) == 1
    result = shake_hands(tls)
    assert result == 1, get_error(tls, result)
    return tls


def end(tls):
    """Says that nothing more comes, and frees it."""
    shutdown(tls)
    free(tls)


class Client:
    """A connection to a port of 127.0.0.1, by SSL_connect."""

    _context = None

    def __init__(self, port):
        Client._context = Client._context or context(method())
        self._socket = socket.create_connection(("127.0.0.1", port))
        self.tls = handshake(Client._context, self._socket, connect)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end(self.tls)
        self._socket.close()

    def get(self):
        """One request, and all of the reply."""
        request = b"GET / HTTP/1.0\r\n\r\n"
        assert write(self.tls, request, len(request)) == len(request)
        reply = ctypes.create_string_buffer(65536)
        while read(self.tls, reply, len(reply)) > 0:
            pass
