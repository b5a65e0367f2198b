"""The passes of a convolution in PyTorch: the peer of ../conv.rs, which starts it and takes turns with it.

Reads lines `pass inputs outputs side kernel` from standard input; for each prints the least and the median
milliseconds of one turn, about 20 ms of repetitions. First prints its version, instruction set, threads and allocator.

    python conv.py --threads 1 < turns.txt

The Rust side sets MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_ and MALLOC_TOP_PAD_ so that glibc keeps freed memory,
as its own allocator does: the fair bar.
"""

import argparse
import os
import statistics
import sys
import time

import torch

BATCH = 64


def turn(name, inputs, outputs, side, kernel):
    """A function that runs the pass once and returns its seconds."""
    x = torch.randn(BATCH, inputs, side, side)
    weight, bias = torch.randn(outputs, inputs, kernel, kernel), torch.randn(outputs)
    track = {"forward": [], "input": [x], "weight": [weight], "backward": [x, weight, bias]}[name]
    for tensor in track:
        tensor.requires_grad_()

    def once():
        start = time.perf_counter()
        y = torch.nn.functional.conv2d(x, weight, bias, padding=kernel // 2)
        if track:
            start = time.perf_counter()
            torch.autograd.grad(y, track, torch.ones_like(y))
        return time.perf_counter() - start

    return once


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    threads = parser.parse_args().threads
    torch.set_num_threads(threads)
    keeps = "MALLOC_TRIM_THRESHOLD_" in os.environ
    allocator = os.environ.get("LD_PRELOAD") or ("glibc, keeping" if keeps else "glibc")
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"torch {torch.__version__}, {capability}, threads {torch.get_num_threads()}, allocator {allocator}", flush=True)
    turns = {}
    for line in sys.stdin:
        name, *sizes = line.split()
        if line not in turns:
            turns[line] = turn(name, *map(int, sizes))
            turns[line]()
        times, begin = [], time.perf_counter()
        while len(times) < 3 or time.perf_counter() - begin < 0.02:
            times.append(turns[line]() * 1e3)
        print(f"{min(times):.4f} {statistics.median(times):.4f}", flush=True)


if __name__ == "__main__":
    main()
