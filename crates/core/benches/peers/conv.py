"""The passes of a convolution in PyTorch: the peer of ../conv.rs.

    python conv.py --threads 1 [--compile]
    MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296 python conv.py
    python conv.py --threads 1 --turns < turns.txt

The second form lets glibc keep freed memory, as the Rust side's allocator does: the fair bar. The third is started by
../conv.rs, which takes turns with it: it reads lines `pass inputs outputs side kernel` and for each prints the least
and the median milliseconds of one turn, about 20 ms of repetitions.
"""

import statistics
import sys
import time

import torch

import peer

COMPARED = [(16, 14), (32, 14), (32, 28), (64, 14), (64, 28)]
BATCH = 64


def convolution(x, weight, bias):
    return torch.nn.functional.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def turn(name, inputs, outputs, side, kernel):
    """A function that runs the pass once and returns its seconds."""
    x = torch.randn(BATCH, inputs, side, side)
    weight, bias = torch.randn(outputs, inputs, kernel, kernel), torch.randn(outputs)
    track = {"forward": [], "input": [x], "weight": [weight], "backward": [x, weight, bias]}[name]
    for tensor in track:
        tensor.requires_grad_()
    forward = peer.compiled(convolution)

    def once():
        start = time.perf_counter()
        y = forward(x, weight, bias)
        if track:
            start = time.perf_counter()
            torch.autograd.grad(y, track, torch.ones_like(y))
        return time.perf_counter() - start

    return once


def distances(inputs, outputs, side, kernel):
    """How far output and gradients of four images lie from fixed numbers."""
    tensor = lambda label, *shape: torch.from_numpy(peer.numbers(label, *shape).astype("float32"))
    x, weight = tensor("x", 4, inputs, side, side), tensor("weight", outputs, inputs, kernel, kernel)
    track = [x, weight, tensor("bias", outputs)]
    for operand in track:
        operand.requires_grad_()
    y = peer.compiled(convolution)(*track)
    return [peer.distance(t) for t in [y, *torch.autograd.grad((y * tensor("loss", *y.shape)).sum(), track)]]


def turns():
    known = {}
    for line in sys.stdin:
        name, *sizes = line.split()
        if line not in known:
            known[line] = turn(name, *map(int, sizes))
            known[line]()
        times, begin = [], time.perf_counter()
        while len(times) < 3 or time.perf_counter() - begin < 0.02:
            times.append(known[line]() * 1e3)
        print(f"{min(times):.4f} {statistics.median(times):.4f}", flush=True)


def main():
    args = peer.start(30, lambda parser: parser.add_argument("--turns", action="store_true"), network=False)
    if args.turns:
        return turns()
    for channels, side in COMPARED:
        name = f"{channels}-{channels}_{side}x{side}_k3"
        works, times = ["forward", "input", "weight", "backward"], {}
        passes = {work: turn(work, channels, channels, side, 3) for work in works}
        with peer.first_calls(name):
            peer.losses(name, distances(channels, channels, side, 3))
            for once in passes.values():
                once()
        for work, once in passes.items():
            with peer.settled():
                times[work] = statistics.median(once() * 1e3 for _ in range(args.repeats))
        peer.ms(name, **times)


if __name__ == "__main__":
    main()
