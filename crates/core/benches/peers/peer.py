"""What the peers share: numbers that the Rust side can make too, the start of a program, the lines that it prints.

    NAME losses A B C
    NAME ms WHAT X WHAT Y
    NAME compile SECONDS
    left out: REASON

The Rust side of the first two is `plasticity_core::testing::peer`; `cargo xtask bench` reads these lines from both sides
in turns, and sets MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ so that glibc keeps freed memory, as the Rust side's
allocator does: the fair bar.

Two flags make four variants of a peer. `--compile` is `torch.compile` with its C++ backend; the third line tells the
seconds of the first calls, in which it compiles, and nothing compiles in what is timed. `--autocast` is bf16 autocast
around forward and loss, of networks only. A variant that cannot run here prints the fourth line and ends.
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
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


# What `start` has read; as if nothing had been asked for, where a program is imported.
args = argparse.Namespace(compile=False, autocast=False)
compilations = 0


def start(repeats, more=lambda parser: None, network=True):
    """Reads --threads, --repeats, --compile, for a network --autocast, and what `more` adds; sets the threads and prints
    the line on this side's machine."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=repeats, help="how often a piece of work is timed")
    parser.add_argument("--compile", action="store_true", help="torch.compile; needs a C++ compiler")
    if network:
        parser.add_argument("--autocast", action="store_true", help="bf16 autocast around forward and loss")
    more(parser)
    parser.parse_args(namespace=args)
    torch.set_num_threads(args.threads)
    keeps = "MALLOC_TRIM_THRESHOLD_" in os.environ
    allocator = os.environ.get("LD_PRELOAD") or ("glibc, keeping" if keeps else "glibc")
    capability, threads = torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
    print(f"torch {torch.__version__}, {capability}, threads {threads}, allocator {allocator}", flush=True)
    if args.autocast and not multiplies_bf16():
        left_out("this processor has no bf16 products")
    if args.compile:
        prepare_compiler()
    return args


def left_out(reason):
    print("left out:", reason, flush=True)
    sys.exit()


def multiplies_bf16():
    """Whether the processor has instructions for products of bf16: without them autocast is slower than f32."""
    has = torch.cpu.get_capabilities()
    return any(has.get(name) for name in ["avx512_bf16", "amx_bf16", "bf16"])


def prepare_compiler():
    global cache
    # Before anything of the compiler is imported, which would take a folder that stays. Removed at the end: every start
    # compiles anew.
    if "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
        cache = tempfile.TemporaryDirectory()
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache.name
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler:
        left_out("torch.compile needs a C++ compiler")


def compiled(function):
    """The function, compiled where that is asked for. All shapes are fixed, and a part that could not be compiled is an
    error."""
    return torch.compile(function, fullgraph=True, dynamic=False) if args.compile else function


def network(function):
    """Forward or loss of a network, under autocast and compiled as asked for."""

    def cast(*operands):
        with torch.autocast("cpu", torch.bfloat16):
            return function(*operands)

    return compiled(cast if args.autocast else function)


def exact():
    """Around what stays f32 in a network under autocast."""
    return torch.autocast("cpu", enabled=False) if args.autocast else contextlib.nullcontext()


def count_compilation(_):
    global compilations
    compilations += 1


@contextlib.contextmanager
def first_calls(name, anew=True):
    """Around the first calls of what is measured later: prints their seconds under --compile. What was compiled before is
    forgotten if `anew`, so that its guards cost nothing."""
    if args.compile and anew:
        torch.compiler.reset()
        torch._dynamo.callback.callback_handler.start_callbacks = [count_compilation]
    begin = time.perf_counter()
    yield
    if args.compile:
        print(f"{name} compile {time.perf_counter() - begin:.2f}", flush=True)


@contextlib.contextmanager
def settled():
    """Around what is timed: nothing may be compiled in it."""
    before = compilations
    yield
    if compilations != before:
        sys.exit(f"{compilations - before} compilations fell into what is timed")


def median_ms(repeats, work):
    """The median of the milliseconds of `repeats` runs, each told its number."""
    times = []
    with settled():
        for i in range(repeats):
            begin = time.perf_counter()
            work(i)
            times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times)


def losses(name, values):
    print(name, "losses", *(f"{value:.6f}" for value in values), flush=True)


def ms(name, **times):
    print(name, "ms", *(f"{what} {value:.4f}" for what, value in times.items()), flush=True)
