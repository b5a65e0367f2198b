"""A cohort's local training in PyTorch: the peer of ../client_round.rs.

Same network (196-100-50-10), same numbers, same work: ten clients of 40 images, 5 epochs, batch 20, SGD with momentum
0.5. `bmm` gives scores and weights a client axis and multiplies batches of matrices; `loop` trains one client after
the other. Signs pass gradients straight through; masked weights are dense, as PyTorch has nothing faster for them.

    python client_round.py --threads 1
    MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296 python client_round.py

The second form lets glibc keep freed memory, as the Rust side's allocator does: the fair bar.
"""

import argparse
import math
import os
import statistics
import time

import numpy as np
import torch

WIDTHS, DENSITY = [196, 100, 50, 10], [0.13, 0.41, 0.80]
CLIENTS, IMAGES, EPOCHS, BATCH = 10, 40, 5, 20


class Lcg:
    """The generator of the Rust side, one number after the other."""

    def __init__(self, state):
        self.state = state

    def uniform(self, count):
        out, state = np.empty(count), self.state
        for i in range(count):
            state = (state * 6364136223846793005 + 1) & 0xFFFFFFFFFFFFFFFF
            out[i] = (state >> 40) / (1 << 24)
        self.state = state
        return out

    def vector(self, count, scale):
        return ((2.0 * self.uniform(count) - 1.0) * scale).astype(np.float32)


def network():
    """W0, the prune mask and the scores, each [out, in] per layer."""
    shapes = [(o, i) for i, o in zip(WIDTHS, WIDTHS[1:])]
    w, p, s = Lcg(1), Lcg(2), Lcg(3)
    make = lambda values, shape: torch.from_numpy(values.reshape(shape))
    weights = [make(w.vector(o * i, math.sqrt(6.0 / i)), (o, i)) for o, i in shapes]
    keep = [make((p.uniform(o * i) < d).astype(np.float32), (o, i)) for (o, i), d in zip(shapes, DENSITY)]
    scores = [make(s.vector(o * i, 0.1), (o, i)) for o, i in shapes]
    return weights, keep, scores


def clients():
    lcg = Lcg(4)
    patterns = [lcg.vector(WIDTHS[0], 1.0) for _ in range(10)]
    x, y = [], []
    for client in range(CLIENTS):
        labels = [(client + 3 * (image % 2)) % 10 for image in range(IMAGES)]
        x.append(np.stack([patterns[l] + lcg.vector(WIDTHS[0], 1.0) for l in labels]))
        y.append(labels)
    return torch.from_numpy(np.stack(x)), torch.tensor(y)


class Signed(torch.autograd.Function):
    """w with the sign of s flipped where s < 0; the gradient passes straight through."""

    @staticmethod
    def forward(ctx, s, w):
        ctx.save_for_backward(w)
        return torch.where(s >= 0, w, -w)

    @staticmethod
    def backward(ctx, gradient):
        (w,) = ctx.saved_tensors
        return gradient * w, None


def train_bmm(arm, x, y, epochs, batch):
    """All clients at once; losses of the steps of the first one."""
    frozen, start, lr = arm
    count, images = y.shape
    leaves = [s.expand(count, *s.shape).clone().requires_grad_() for s in start]
    optimiser = torch.optim.SGD(leaves, lr=lr, momentum=0.5)
    rows = torch.arange(count)[:, None]
    losses = []
    for _ in range(epochs):
        order = torch.stack([torch.randperm(images) for _ in range(count)])
        for begin in range(0, images, batch):
            pick = order[:, begin : begin + batch]
            h, labels = x[rows, pick], y[rows, pick]
            for i, leaf in enumerate(leaves):
                w = leaf if frozen is None else Signed.apply(leaf, frozen[i])
                h = torch.bmm(h, w.transpose(1, 2))
                if i < len(leaves) - 1:
                    h = torch.relu(h)
            each = torch.nn.functional.cross_entropy(h.flatten(0, 1), labels.flatten(), reduction="none")
            each = each.view(count, -1).mean(1)
            optimiser.zero_grad()
            each.sum().backward()
            optimiser.step()
            losses.append(each[0].detach())
    return losses


def train_loop(arm, x, y, epochs, batch):
    """One client after the other."""
    frozen, start, lr = arm
    losses = []
    for k in range(len(y)):
        leaves = [s.clone().requires_grad_() for s in start]
        optimiser = torch.optim.SGD(leaves, lr=lr, momentum=0.5)
        for _ in range(epochs):
            order = torch.randperm(y.shape[1])
            for begin in range(0, y.shape[1], batch):
                pick = order[begin : begin + batch]
                h = x[k, pick]
                for i, leaf in enumerate(leaves):
                    w = leaf if frozen is None else Signed.apply(leaf, frozen[i])
                    h = torch.nn.functional.linear(h, w)
                    if i < len(leaves) - 1:
                        h = torch.relu(h)
                loss = torch.nn.functional.cross_entropy(h, y[k, pick])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                if k == 0:
                    losses.append(loss.detach())
    return losses


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keeps = "MALLOC_TRIM_THRESHOLD_" in os.environ
    allocator = os.environ.get("LD_PRELOAD") or ("glibc, keeping" if keeps else "glibc")
    print(
        f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, threads "
        f"{torch.get_num_threads()}, allocator {allocator}"
    )
    weights, keep, scores = network()
    x, y = clients()
    arms = {
        "sign_0.2": ([w * p for w, p in zip(weights, keep)], scores, 1.0),
        "fedavg": (None, weights, 0.1),
    }
    for name, arm in arms.items():
        for form, train in [("bmm", train_bmm), ("loop", train_loop)]:
            losses = train(arm, x, y, 3, IMAGES)
            times = []
            for i in range(args.rounds):
                if i == args.rounds // 3:
                    cpu = time.process_time()
                begin = time.perf_counter()
                train(arm, x, y, EPOCHS, BATCH)
                times.append((time.perf_counter() - begin) / CLIENTS)
            counted = times[args.rounds // 3 :]
            cpu = (time.process_time() - cpu) / (len(counted) * CLIENTS)
            median = statistics.median(counted)
            print(
                f"{name:10} {form:4} ms/client-round {median * 1e3:.3f} cpu {cpu * 1e3:.3f} client-rounds/s {1 / median:.0f} "
                f"losses {losses[0]:.5f} {losses[1]:.5f} {losses[2]:.5f}"
            )


if __name__ == "__main__":
    main()
