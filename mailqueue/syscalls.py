"""Calls into the system that do not let go of the interpreter: for those that return at once.

Python lets other threads run during each call into the system. Where one waits for its turn, to have it back takes
longer than a short call.
"""

import ctypes
import errno
import os
import socket
from typing import TypeAlias

Buffer: TypeAlias = "ctypes.Array[ctypes.c_char]"

_libc = ctypes.PyDLL(None, use_errno=True)
_libc.send.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
_libc.send.restype = ctypes.c_ssize_t
_libc.write.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
_libc.write.restype = ctypes.c_ssize_t
_libc.recv.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
_libc.recv.restype = ctypes.c_ssize_t
_octet = ctypes.create_string_buffer(1)
_PEEK = socket.MSG_PEEK | socket.MSG_DONTWAIT


def send(fd: int, data: bytes, flags: int) -> int:
    """Send what a socket has room for and return how many octets that were. The flags must include MSG_DONTWAIT.

    Raises:
        OSError: as `socket.send`; BlockingIOError where there is no room.
    """
    while (count := _libc.send(fd, data, len(data), flags)) < 0:
        _raise_unless_interrupted()
    return int(count)


def buffer(size: int) -> Buffer:
    """Make room for what `recv` reads, for one thread at a time."""
    return ctypes.create_string_buffer(size)


def recv(fd: int, buffer: Buffer) -> bytes:
    """Read what a socket has, as much as the buffer takes; b"" when there will be no more.

    Raises:
        OSError: as `socket.recv`; BlockingIOError where there is nothing yet.
    """
    while (count := _libc.recv(fd, buffer, len(buffer), socket.MSG_DONTWAIT)) < 0:
        _raise_unless_interrupted()
    return ctypes.string_at(buffer, count)


def write(fd: int, data: bytes) -> int:
    """Write to a local file and return how many octets were written. A disk that stalls stalls the process.

    Raises:
        OSError: as `os.write`.
    """
    while (count := _libc.write(fd, data, len(data))) < 0:
        _raise_unless_interrupted()
    return int(count)


def has_input(fd: int) -> bool:
    """Whether a socket has something to read: octets, its end, or an error."""
    while _libc.recv(fd, _octet, 1, _PEEK) < 0:
        number = ctypes.get_errno()
        if number != errno.EINTR:
            return number not in (errno.EAGAIN, errno.EWOULDBLOCK)
    return True


def _raise_unless_interrupted() -> None:
    number = ctypes.get_errno()
    if number != errno.EINTR:
        raise OSError(number, os.strerror(number))
