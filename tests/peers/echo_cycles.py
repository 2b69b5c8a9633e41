#!/usr/bin/env python3
"""echo_cycles.py HOST PORT [--cycles N] [--pid PID]

N times: connect, now and then say a word and hear it, close or reset. With the server's PID: its
number of open descriptors must be what it was before."""

import socket
import struct
import time

import peer

LINGER_RESET = struct.pack("ii", 1, 0)


def one_cycle(address, i):
    with socket.create_connection(address, timeout=30) as conn:
        if i % 3 != 0:
            word = b"cycle %d" % i
            conn.sendall(word)
            got = b""
            while len(got) < len(word):
                part = conn.recv(64)
                if not part:
                    peer.fail("cycle %d: the end came after %d bytes" % (i, len(got)))
                got += part
            if got != word:
                peer.fail("cycle %d: %r came back as %r" % (i, word, got))
        if i % 16 == 0:
            conn.shutdown(socket.SHUT_WR)
            if conn.recv(1) != b"":
                peer.fail("cycle %d: something follows the end" % i)
        else:
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)  # no TIME_WAIT


def settled(pid, expected):
    """The server may still be about to notice the last ones."""
    for _ in range(500):
        if peer.descriptors_of(pid) == expected:
            break
        time.sleep(0.01)
    return peer.descriptors_of(pid)


parser = peer.arguments(__doc__)
parser.add_argument("--cycles", type=int, default=10000)
parser.add_argument("--pid", type=int)
options = parser.parse_args()
one_cycle((options.host, options.port), 1)
if options.pid:
    time.sleep(0.1)
    before = peer.descriptors_of(options.pid)
for cycle in range(options.cycles):
    one_cycle((options.host, options.port), cycle)
print("%d connections came and went" % options.cycles)
if options.pid:
    after = settled(options.pid, before)
    if after != before:
        peer.fail("the server has %d descriptors open, before it were %d" % (after, before))
    print("the server has %d descriptors open, as before" % after)
