"""The node's listening sockets: one per worker on one port, held by the supervisor.

The kernel spreads connections over sockets that share a port (SO_REUSEPORT) evenly; workers accepting from one socket
take whole bursts each (measured: 62 of 64 to one of two). Since the supervisor holds every socket, a worker's death
resets no connection that waits to be accepted: its successor inherits the queue.
"""

import ctypes
import logging
import socket
import struct

log = logging.getLogger("toolgate.listen")

BACKLOG = 2048
_BPF_RETURN = 0x06


def listen(address: str, port: int, count: int) -> list[socket.socket]:
    """`count` sockets listening on one port; port 0 takes a free one. Raises OSError, also where the port is in use."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # Sharing is meant for our own workers: without this, a second node on the port would silently get half the calls.
    with _bound(family, address, port, shared=False) as probe:
        port = probe.getsockname()[1]
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sock = _bound(family, address, port, shared=True)
            sockets.append(sock)
            sock.listen(BACKLOG)
    except OSError:
        close(sockets)
        raise
    return sockets


def reserve(address: str, port: int) -> socket.socket:
    """Holds a port for workers that bind it themselves; port 0 takes a free one.

    For servers that cannot be given a socket. Nothing is accepted on what is returned. Raises OSError, also where the
    port is in use.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with _bound(family, address, port, shared=False) as probe:
        port = probe.getsockname()[1]
    return _bound(family, address, port, shared=True)


def _bound(family: socket.AddressFamily, address: str, port: int, *, shared: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock


def turn_away(sockets: list[socket.socket]) -> None:
    """Take no new connections, while those that wait can still be accepted.

    Closing a listening socket resets the connections in its queue. A filter that drops every packet lets the queue run
    empty first; a client turned away tries again, and finds the port closed.
    """
    nothing = ctypes.create_string_buffer(struct.pack("HBBI", _BPF_RETURN, 0, 0, 0))
    program = struct.pack("HL", 1, ctypes.addressof(nothing))
    for sock in sockets:
        try:
            sock.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_ATTACH_FILTER", 26), program)
        except OSError:
            log.warning("connections that wait to be accepted may be reset: the system allows no socket filter")
            return


def close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
