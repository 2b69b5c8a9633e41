#!/usr/bin/env python3
"""with_server.py [--status S] SERVER [ARGUMENTS] -- CLIENT [ARGUMENTS] [-- CLIENT ...]

Starts the server, reads "listening on HOST:PORT" from its first line, runs the clients one
after the other with {host}, {port} and {pid} filled in, then checks that the server still runs
with as many descriptors as before, sends SIGTERM and expects it to end with one of the statuses
S (comma-separated; default 0; -15 is the signal itself)."""

import os
import resource
import signal
import subprocess
import sys
import time

import peer


def split(argv):
    statuses = [0]
    if argv[:1] == ["--status"]:
        statuses = [int(s) for s in argv[1].split(",")]
        argv = argv[2:]
    commands = [[]]
    for word in argv:
        if word == "--":
            commands.append([])
        else:
            commands[-1].append(word)
    if len(commands) < 2 or not all(commands):
        sys.exit(__doc__)
    return statuses, commands[0], commands[1:]


def raise_limit():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def start(command):
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=raise_limit)
    line = server.stdout.readline()
    words = line.split()
    if words[:2] != ["listening", "on"] or ":" not in line:
        server.kill()
        peer.fail("the server's first line is %r" % line)
    host, port = words[2].rsplit(":", 1)
    return server, host.strip("[]"), port


def run(client, server, host, port):
    here = os.path.dirname(os.path.abspath(__file__))
    values = {"host": host, "port": port, "pid": str(server.pid)}
    words = [word.format(**values) if "{" in word else word for word in client]
    if os.path.exists(os.path.join(here, words[0])):
        words[0] = os.path.join(here, words[0])
    if words[0].endswith(".py"):
        words.insert(0, sys.executable)
    print("+ " + " ".join(client), flush=True)
    return subprocess.run(words, timeout=600).returncode


def quiet_descriptors(pid, expected):
    for _ in range(500):
        if peer.descriptors_of(pid) <= expected:
            break
        time.sleep(0.01)
    return peer.descriptors_of(pid)


def main(argv):
    statuses, command, clients = split(argv)
    server, host, port = start(command)
    failures = []
    time.sleep(0.1)
    before = peer.descriptors_of(server.pid)
    try:
        for client in clients:
            status = run(client, server, host, port)
            if status != 0:
                failures.append("%s: status %d" % (client[0], status))
            if server.poll() is not None:
                failures.append("the server ended too early: status %d" % server.returncode)
                break
        if server.poll() is None:
            after = quiet_descriptors(server.pid, before)
            if after != before:
                failures.append("the server has %d descriptors open, not %d" % (after, before))
            server.send_signal(signal.SIGTERM)
            server.wait(60)
            if server.returncode not in statuses:
                failures.append("the server ended with status %d" % server.returncode)
    finally:
        if server.poll() is None:
            server.kill()
        server.stdout.close()
        server.wait()
    for failure in failures:
        print("with_server.py: " + failure, file=sys.stderr)
    return 1 if failures else 0


sys.exit(main(sys.argv[1:]))
