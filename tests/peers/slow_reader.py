#!/usr/bin/env python3
"""slow_reader.py HOST PORT [--bytes N]

Sends N bytes as fast as the server takes them and reads them back slowly, through a small window,
in pieces of odd sizes; they must come back byte for byte."""

import random
import socket
import threading
import time

import peer

parser = peer.arguments(__doc__)
parser.add_argument("--bytes", type=int, default=10 * 1024 * 1024)
options = parser.parse_args()

data = peer.pattern(options.seed, options.bytes)
rng = random.Random(options.seed)
conn = socket.socket()
conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)  # before connect: it bounds the window
conn.settimeout(peer.TIMEOUT_S)
conn.connect((options.host, options.port))


def send():
    conn.sendall(data)
    conn.shutdown(socket.SHUT_WR)


sender = threading.Thread(target=send, daemon=True)
sender.start()
got = bytearray()
while True:
    if rng.random() < 0.05:
        time.sleep(0.005)
    part = conn.recv(rng.randint(1, 30000))
    if not part:
        break
    got += part
sender.join(peer.TIMEOUT_S)
conn.close()
if got != data:
    at = peer.mismatch(data, got)
    peer.fail("%d of %d bytes came back, wrong from byte %d on" % (len(got), len(data), at))
print("%d bytes came back" % len(got))
