"""A cohort's local training in PyTorch: the peer of ../client_round.rs.

Same network (196-100-50-10), same numbers, same work: ten clients of 40 images, 5 epochs, batch 20, SGD with momentum
0.5. `bmm` gives scores and weights a client axis and multiplies batches of matrices; `loop` trains one client after
the other. Signs pass gradients straight through; masked weights are dense, as PyTorch has nothing faster for them.

    python client_round.py --threads 1 [--compile] [--autocast]
    MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296 python client_round.py

The second form lets glibc keep freed memory, as the Rust side's allocator does: the fair bar.
"""

import math
import os
import statistics
import sys
import time

import numpy as np
import torch

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../../core/benches/peers"))
import peer  # noqa: E402
from peer import Lcg  # noqa: E402

WIDTHS, DENSITY = [196, 100, 50, 10], [0.13, 0.41, 0.80]
CLIENTS, IMAGES, EPOCHS, BATCH = 10, 40, 5, 20


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


def client_losses(leaves, frozen, h, labels):
    """The mean loss of each client."""
    for i, leaf in enumerate(leaves):
        w = leaf if frozen is None else Signed.apply(leaf, frozen[i])
        h = torch.bmm(h, w.transpose(1, 2))
        if i < len(leaves) - 1:
            h = torch.relu(h)
    each = torch.nn.functional.cross_entropy(h.flatten(0, 1), labels.flatten(), reduction="none")
    return each.view(len(labels), -1).mean(1)


def train_bmm(arm, x, y, epochs, batch):
    """All clients at once; losses of the steps of the first one."""
    frozen, start, lr = arm
    count, images = y.shape
    leaves = [s.expand(count, *s.shape).clone().requires_grad_() for s in start]
    optimiser = torch.optim.SGD(leaves, lr=lr, momentum=0.5)
    rows = torch.arange(count)[:, None]
    losses_of = peer.network(client_losses)
    losses = []
    for _ in range(epochs):
        order = torch.stack([torch.randperm(images) for _ in range(count)])
        for begin in range(0, images, batch):
            pick = order[:, begin : begin + batch]
            each = losses_of(leaves, frozen, x[rows, pick], y[rows, pick])
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


def measure(train, arm, x, y, repeats):
    """Milliseconds of a client's round, by the clock and of the processor; the first third warms up."""
    times, skipped = [], repeats // 3
    with peer.settled():
        for i in range(repeats):
            if i == skipped:
                cpu = time.process_time()
            begin = time.perf_counter()
            train(arm, x, y, EPOCHS, BATCH)
            times.append((time.perf_counter() - begin) * 1e3 / CLIENTS)
    cpu = (time.process_time() - cpu) * 1e3 / ((repeats - skipped) * CLIENTS)
    return statistics.median(times[skipped:]), cpu


def main():
    args = peer.start(20)
    weights, keep, scores = network()
    x, y = clients()
    arms = {
        "sign_0.2": ([w * p for w, p in zip(weights, keep)], scores, 1.0),
        "fedavg": (None, weights, 0.1),
    }
    for name, arm in arms.items():
        with peer.first_calls(name):
            peer.losses(name, train_bmm(arm, x, y, 3, IMAGES))
            train_bmm(arm, x, y, 1, BATCH)
        by_bmm, cpu = measure(train_bmm, arm, x, y, args.repeats)
        # A good user takes the client axis: it is what the Rust side is compared with, and what has variants.
        plain = not (args.compile or args.autocast)
        loop = {"loop": measure(train_loop, arm, x, y, args.repeats)[0]} if plain else {}
        peer.ms(name, round=by_bmm, cpu=cpu, **loop)


if __name__ == "__main__":
    main()
