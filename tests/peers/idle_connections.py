#!/usr/bin/env python3
"""idle_connections.py [--servers N] [--connections TOTAL] SERVER [ARGUMENTS]

Starts N echo servers, each of which prints "listening on HOST:PORT" first, and opens TOTAL
connections to them from a process per server and many addresses of the loopback. All stay idle for
a moment; then every tenth one talks. No byte may be missing, no other connection may have ended or
got anything, and in the end the servers have as many descriptors as before. Where the hard limit of
descriptors is too low for that many, it opens as many as it may and says so."""

import argparse
import multiprocessing
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time

import peer

IDLE_S = 3
TALKS = 10  # every how many-th connection
ROUNDS = 5
PER_ADDRESS = 10000  # connections from one address, which has some 28,000 ports
SPARE = 100  # descriptors that a process needs for all else
IP_BIND_ADDRESS_NO_PORT = 24


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[2])
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--connections", type=int, default=19000)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    return parser.parse_args(argv)


def raise_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def connections_each(args):
    each = -(-args.connections // args.servers)
    hard = raise_limit()
    if hard != resource.RLIM_INFINITY and each > hard - SPARE:
        each = hard - SPARE
        print("the hard limit of %d descriptors allows %d connections per process" % (hard, each))
    return each


# ---- A server ---------------------------------------------------------------------------------


class Server:
    def __init__(self, command):
        self.errors = tempfile.TemporaryFile(mode="w+")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            self.end()
            peer.fail("the server's first line is %r" % line)
        host, port = line.split()[2].rsplit(":", 1)
        self.address = (host, int(port))
        self.descriptors = self.open_descriptors()
        self.memory = self.resident()

    def open_descriptors(self):
        return peer.descriptors_of(self.process.pid)

    def resident(self):
        """Bytes, with what a collector of garbage has not taken yet."""
        with open("/proc/%d/status" % self.process.pid) as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024

    def processor_time(self):
        with open("/proc/%d/stat" % self.process.pid) as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def await_descriptors(self, number):
        end = time.monotonic() + peer.TIMEOUT_S
        while self.open_descriptors() != number:
            if self.process.poll() is not None or time.monotonic() > end:
                peer.fail("a server has %d descriptors, not %d" % (self.open_descriptors(), number))
            time.sleep(0.01)

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.stdout.close()
        return self.process.wait()

    def complaints(self):
        """Its standard errors without what a machine with few processors makes slow."""
        self.errors.seek(0)
        slow = re.compile(r"^neap: slow: .*\n(?:stack traceback:\n(?:\t.*\n)*)?", re.MULTILINE)
        return slow.sub("", self.errors.read())


# ---- Its clients, in a process of their own ----------------------------------------------------


def connect(address, number):
    sock = socket.socket()
    sock.settimeout(peer.TIMEOUT_S)
    sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    sock.bind(("127.0.0.%d" % (2 + number // PER_ADDRESS), 0))
    sock.connect(address)
    return sock


def read_exactly(sock, size):
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise RuntimeError("a connection has ended")
        data += piece
    return data


def talk(talkers, seed):
    for turn in range(ROUNDS):
        texts = [b"%08d %08d %08d." % (seed, turn, i) * 2 for i in range(len(talkers))]
        for sock, text in zip(talkers, texts):
            sock.sendall(text)
        for sock, text in zip(talkers, texts):
            if read_exactly(sock, len(text)) != text:
                raise RuntimeError("a connection got what is not its own")


def check_silent(sock):
    sock.setblocking(False)
    try:
        got = sock.recv(1)
    except BlockingIOError:
        return
    raise RuntimeError("a connection has got %r" % got)


def clients(pipe, address, count, seed):
    """Says "done" after each step, which begins when it is told so."""
    try:
        socks = [connect(address, i) for i in range(count)]
        pipe.send("done")
        pipe.recv()
        talk(socks[::TALKS], seed)
        for sock in socks:
            check_silent(sock)
        pipe.send("done")
        pipe.recv()
        for sock in socks:
            sock.close()
        pipe.send("done")
    except (OSError, RuntimeError, EOFError) as error:
        pipe.send("%s: %s" % (type(error).__name__, error))


class Clients:
    def __init__(self, server, count, seed):
        self.pipe, other = multiprocessing.Pipe()
        self.process = multiprocessing.Process(
            target=clients, args=(other, server.address, count, seed), daemon=True)
        self.process.start()
        other.close()

    def begin(self):
        self.pipe.send("go on")

    def await_end(self):
        answer = self.pipe.recv()
        if answer != "done":
            peer.fail(answer)


def step(everybody):
    began = time.monotonic()
    for client in everybody:
        client.begin()
    for client in everybody:
        client.await_end()
    return time.monotonic() - began


# ---- The test ----------------------------------------------------------------------------------


def run(servers, each):
    count = each * len(servers)
    began = time.monotonic()
    everybody = [Clients(server, each, i) for i, server in enumerate(servers)]
    for client in everybody:
        client.await_end()
    for server in servers:
        server.await_descriptors(server.descriptors + each)
    print("%d connections over %d servers in %.1f s" % (count, len(servers), time.monotonic() - began))
    memory = sum(server.resident() - server.memory for server in servers)
    print("memory of the servers: %d bytes per connection" % (memory / count))
    before = sum(server.processor_time() for server in servers)
    time.sleep(IDLE_S)
    spent = sum(server.processor_time() for server in servers) - before
    print("idle for %d s: %.2f s of the processor" % (IDLE_S, spent))
    seconds = step(everybody)
    talkers = len(range(0, each, TALKS)) * len(servers)
    print("%d of them said and heard %d times 54 bytes in %.2f s" % (talkers, ROUNDS, seconds))
    print("all closed in %.1f s" % step(everybody))
    for server in servers:
        server.await_descriptors(server.descriptors)


def main(argv):
    args = parse(argv)
    if not args.command:
        sys.exit(__doc__)
    each = connections_each(args)
    servers = []
    try:
        for _ in range(args.servers):
            servers.append(Server(args.command))
        run(servers, each)
    finally:
        statuses = [server.end() for server in servers]
        complaints = "".join(server.complaints() for server in servers)
        sys.stderr.write(complaints)
    if complaints or any(status not in (0, 143) for status in statuses):
        peer.fail("the servers ended with %r" % statuses)


main(sys.argv[1:])
