"""What the peers share: numbers that the Rust side can make too, the start of a program, the lines that it prints.

    NAME losses A B C
    NAME ms WHAT X WHAT Y

The Rust side of both is `plasticity_core::testing::peer`; `cargo xtask bench` reads these lines from both sides in
turns, and sets MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ so that glibc keeps freed memory, as the Rust side's
allocator does: the fair bar.
"""

import argparse
import os
import statistics
import time

import numpy as np
import torch


class Lcg:
    """A 64-bit linear congruential generator; the upper 24 bits of its state are a number in [0, 1)."""

    # The state after i + 1 steps is factors[i] * state + terms[i].
    factors, terms = np.array([6364136223846793005], np.uint64), np.array([1], np.uint64)

    def __init__(self, state):
        self.state = state

    def uniform(self, count):
        if not count:
            return np.empty(0)
        while len(Lcg.factors) < count:
            last, term = Lcg.factors[-1:], Lcg.terms[-1:]
            Lcg.terms = np.concatenate([Lcg.terms, Lcg.factors * term + Lcg.terms])
            Lcg.factors = np.concatenate([Lcg.factors, Lcg.factors * last])
        states = Lcg.factors[:count] * np.array([self.state], np.uint64) + Lcg.terms[:count]
        self.state = int(states[-1])
        return (states >> np.uint64(40)).astype(np.float64) / (1 << 24)

    def signed(self, count):
        """Numbers in [-1, 1)."""
        return 2.0 * self.uniform(count) - 1.0

    def vector(self, count, scale):
        return (self.signed(count) * scale).astype(np.float32)


def fnv1a(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return h


def numbers(label, *shape):
    """Numbers in [-1, 1) that belong to a label."""
    return Lcg(fnv1a(label)).signed(int(np.prod(shape))).reshape(shape)


def distance(values):
    """How far values lie from fixed numbers, as a root mean square: what both sides can print of a whole tensor."""
    return np.sqrt(np.mean((values.detach().double().numpy() - numbers("probe", *values.shape)) ** 2))


def start(repeats, more=lambda parser: None):
    """Reads --threads, --repeats and what `more` adds; sets the threads and prints the line on this side's machine."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=repeats, help="how often a piece of work is timed")
    more(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keeps = "MALLOC_TRIM_THRESHOLD_" in os.environ
    allocator = os.environ.get("LD_PRELOAD") or ("glibc, keeping" if keeps else "glibc")
    capability, threads = torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
    print(f"torch {torch.__version__}, {capability}, threads {threads}, allocator {allocator}", flush=True)
    return args


def median_ms(repeats, work):
    """The median of the milliseconds of `repeats` runs, each told its number."""
    times = []
    for i in range(repeats):
        begin = time.perf_counter()
        work(i)
        times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times)


def losses(name, values):
    print(name, "losses", *(f"{value:.6f}" for value in values), flush=True)


def ms(name, **times):
    print(name, "ms", *(f"{what} {value:.4f}" for what, value in times.items()), flush=True)
