#!/usr/bin/env python3
"""terminal.py SECONDS STEPS PROGRAM [ARGS]: runs a program on a terminal of its own and talks to it.

STEPS is a file with a line per step, bytes other than letters and digits as \\xHH:
  send TEXT    types it
  await TEXT   waits until the program has shown it, behind what the step before waited for
Prints all that was shown. Exits as the program does, 128 + n after signal n; with 99 if it did not show what was awaited or did
not end, in as many seconds."""
import os
import pty
import select
import signal
import sys
import time


def main():
    deadline = time.monotonic() + float(sys.argv[1])
    with open(sys.argv[2]) as file:
        steps = [line.rstrip("\n").partition(" ") for line in file]
    pid, fd = pty.fork()
    if pid == 0:
        os.execvp(sys.argv[3], sys.argv[3:])
    shown, seen = b"", 0

    def read():
        nonlocal shown
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            return None
        try:
            data = os.read(fd, 65536)
        except OSError:  # the program has closed the terminal
            data = b""
        shown += data
        return data

    failed = None
    for what, _, escaped in steps:
        text = escaped.encode().decode("unicode_escape").encode("latin-1")
        if what == "send":
            os.write(fd, text)
            continue
        while shown.find(text, seen) < 0:
            if not read():
                failed = text
                break
        if failed:
            break
        seen = shown.find(text, seen) + len(text)
    while not failed:
        data = read()
        if data is None:
            failed = b"its end"
        elif not data:
            break
    if failed:
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    sys.stdout.buffer.write(shown)
    if failed:
        sys.stderr.write("not shown: %r in %r\n" % (failed, shown[seen:]))
        sys.exit(99)
    sys.exit(os.waitstatus_to_exitcode(status) if not os.WIFSIGNALED(status) else 128 + os.WTERMSIG(status))


main()
