"""What the clients share: limits, arguments, patterns of bytes, figures of the server's process."""

import argparse
import os
import random
import resource
import sys

TIMEOUT_S = 120  # for a whole client; nothing is asserted about time


def fail(text):
    sys.exit("%s: %s" % (os.path.basename(sys.argv[0]), text))


def arguments(doc):
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--seed", type=int, default=1)
    return parser


def need_descriptors(need):
    """Raises the soft limit to the hard one; too low a limit is a failure and says so."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < need:
        fail("needs %d descriptors, but the hard limit is %d (see ulimit -Hn)" % (need, hard))
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, need)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def pattern(seed, length):
    return random.Random(seed).randbytes(length)


def descriptors_of(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def mismatch(sent, got):
    """Where two byte strings differ first."""
    for at, (a, b) in enumerate(zip(sent, got)):
        if a != b:
            return at
    return min(len(sent), len(got))
