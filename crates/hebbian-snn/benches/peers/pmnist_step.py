"""One training step of the permuted-MNIST network in PyTorch: the peer of ../pmnist_step.rs.

Same network (784-800-800-10, batch 64, 20 steps of DSR), same numbers, same shortcuts: the first
layer's current is computed once, gradients of hidden layers are constant over time, the head acts
on rates, the feedback of fixed rows is removed once per batch. The time loop keeps no graph; the
backward pass is in closed form. `--projection` chooses where the projection acts. Under --compile and --autocast that is
all of the step: forward, gradients by hand and the lateral rule.

    python pmnist_step.py --threads 1 [--compile] [--autocast]
    MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296 python pmnist_step.py

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

BATCH, WIDTHS, STEPS = 64, [784, 800, 800, 10], 20
TAU, DT, ALPHA, BOUND = 1.0, 0.05, 0.3, 0.0005
TASKS = [
    (0, [0, 0, 0], [80, 200, 100]),
    (1, [80, 200, 100], [70, 70, 70]),
    (9, [460, 580, 480], [10, 10, 10]),
]


class Lcg(peer.Lcg):
    def matrix(self, rows, n, scale):
        return torch.from_numpy(self.vector(rows * n, scale).reshape(rows, n))


class Images:
    def __init__(self):
        lcg = Lcg(2)
        self.patterns = [lcg.uniform(784) < 0.19 for _ in range(10)]
        self.lcg = Lcg(3)

    def batch(self):
        pixels, labels = [], []
        for _ in range(BATCH):
            label = int(self.lcg.uniform(1)[0] * 10.0)
            labels.append(label)
            lit, noise = self.patterns[label], self.lcg.uniform(784)
            on = (lit == (noise < 0.9)) & (lit | (noise > 0.98))
            pixels.append((np.where(on, 0.2 + 0.8 * noise, 0.0) - 0.1307) / 0.3081)
        x = torch.from_numpy(np.stack(pixels).astype(np.float32))
        return x, torch.tensor(labels)


beta = math.exp(-DT / TAU)
rate_weights = torch.tensor([math.exp(-(STEPS - t) * DT / TAU) for t in range(1, STEPS + 1)])
rate_weights = (rate_weights / rate_weights.sum()).float()
readout_share = float((rate_weights.double() ** 2).sum())


def spiking(current, threshold):
    """The time loop: current [T, B, N] or [B, N]; returns the output [T, B, N]."""
    constant = current.dim() == 2
    first = current if constant else current[0]
    m = torch.zeros_like(first)
    out = torch.empty((STEPS, *first.shape))
    drive = current * (1.0 - beta)
    if peer.args.compile:
        # The compiler makes its own buffers, and one loop of all steps.
        fires = []
        for t in range(STEPS):
            m = (drive if constant else drive[t]) + beta * m
            fires.append((m >= ALPHA * threshold).float())
            m = m - threshold * fires[-1]
        return torch.stack(fires) * (threshold / DT)
    for t in range(STEPS):
        torch.add(drive if constant else drive[t], m, alpha=beta, out=m)
        fire = torch.ge(m, ALPHA * threshold, out=out[t])
        m.sub_(fire, alpha=threshold)
    return out.mul_(threshold / DT)


def wfr(z):
    return (rate_weights @ z.view(STEPS, -1)).view(z.shape[1:])


class Layer:
    """The lateral rows of one layer."""

    def __init__(self, layer, fixed, new, lr):
        n, lcg = WIDTHS[layer], Lcg(10 + layer)
        scale = math.sqrt(3.0 / n)
        self.old = lcg.matrix(fixed, n, scale) if fixed else None
        self.new = lcg.matrix(new, n, scale)
        self.v = torch.zeros_like(self.new)
        self.lr = lr

    def project(self, x):
        return x if self.old is None else torch.addmm(x, x @ self.old.T, self.old, alpha=-1)

    def project_gradient(self, g):
        return g if self.old is None else torch.addmm(g, self.old.T, self.old @ g, alpha=-1)

    def update(self, x, projected):
        for _ in range(5):
            y = x @ self.new.T
            rest = torch.addmm(projected, y, self.new, alpha=-1)
            d = (y.T @ rest).div_(len(x)).clamp_(-10, 10)
            self.v.mul_(0.9).add_(d, alpha=0.1)
            self.new.add_(self.v, alpha=self.lr)


class Arm:
    def __init__(self, task, projection):
        lcg = Lcg(1)
        self.w = [lcg.matrix(a, b, 1.0 / math.sqrt(a)) for a, b in zip(WIDTHS, WIDTHS[1:])]
        self.v = [0.3, 0.3]
        self.train_thresholds = task is None or task[0] == 0
        self.projection = projection
        self.lateral = None
        if task is not None:
            lrs = [0.001, 0.01, 0.01]
            self.lateral = [Layer(i, task[1][i], task[2][i], lrs[i]) for i in range(3)]
        self.work = peer.network(self.learn)

    @torch.no_grad()
    def step(self, x, labels):
        if self.train_thresholds:
            self.v = [max(v, BOUND) for v in self.v]
        # A number would be compiled in.
        thresholds = [torch.tensor(v, dtype=torch.float64) for v in self.v] if peer.args.compile else self.v
        loss, correct, moves = self.work(x, labels, thresholds)
        if self.train_thresholds:
            self.v = [v - 0.1 * float(move) * DT * STEPS for v, move in zip(self.v, moves)]
        return float(loss), int(correct)

    def learn(self, x, labels, v):
        """Loss, hits, and what the thresholds `v` move by; changes the weights."""
        w = self.w
        current1 = x @ w[0]
        s1 = spiking(current1, v[0])
        current2 = (s1.view(-1, WIDTHS[1]) @ w[1]).view(STEPS, BATCH, WIDTHS[2])
        s2 = spiking(current2, v[1])
        rates = [x, wfr(s1), wfr(s2)]
        logits = rates[2] @ w[2]
        loss = torch.nn.functional.cross_entropy(logits, labels)
        error = torch.softmax(logits, 1)
        error[torch.arange(BATCH), labels] -= 1.0
        error /= BATCH
        correct = (logits.argmax(1) == labels).sum()

        factors = [x * STEPS, s1.sum(0), rates[2]]
        if self.lateral is not None:
            by_input = self.projection == "input"
            for i, layer in enumerate(self.lateral):
                if i == 1 and by_input:
                    projected, factors[1] = layer.project(torch.cat([rates[1], factors[1]])).chunk(2)
                else:
                    projected = layer.project(rates[i])
                    if by_input:
                        factors[i] = projected * STEPS if i == 0 else projected
                layer.update(rates[i], projected)

        gradients, moves = [None] * 3, [None] * 2
        currents = [current1, wfr(current2)]
        for i in (2, 1, 0):
            gradients[i] = factors[i].T @ error
            if i == 0:
                break
            c = error @ w[i].T
            if i == 2:
                c *= readout_share
            top, rate = TAU * v[i - 1] / DT, currents[i - 1]
            if self.train_thresholds:
                moves[i - 1] = (c * (rate > top)).sum()
            error = c * ((rate > 0) & (rate < top)) / TAU
        if self.lateral is not None and self.projection == "weight":
            gradients = [l.project_gradient(g) for l, g in zip(self.lateral, gradients)]
        for weight, gradient in zip(w, gradients):
            weight.add_(gradient, alpha=-0.1)
        return loss, correct, moves


def main():
    args = peer.start(
        60, lambda parser: parser.add_argument("--projection", choices=["input", "weight"], default="input")
    )
    images = Images()
    batches = [images.batch() for _ in range(args.repeats)]
    for task in [None, *TASKS]:
        arm = Arm(task, args.projection)
        name = "naive" if task is None else f"hlop_task{task[0]}"
        first = -(-args.repeats // 3)
        with peer.first_calls(name):
            losses = [arm.step(*batch)[0] for batch in batches[:first]]
        times = []
        with peer.settled():
            for x, labels in batches[first:]:
                start = time.perf_counter()
                arm.step(x, labels)
                times.append((time.perf_counter() - start) * 1e3)
        peer.losses(name, losses[:3])
        peer.ms(name, step=statistics.median(times))


if __name__ == "__main__":
    main()
