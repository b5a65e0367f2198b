"""The memory's rule in PyTorch: the peer of ../memory.rs, which starts it and takes turns with it.

Lines: `check chunk width` gives the weighted sum of the read-outs and, for every gradient, its product with fixed
numbers; `turn pass inverse chunk width` the least and the median milliseconds of a turn, `pass` being forward or
both, `inverse` doubling (section 5.3 b) or solve (`torch.linalg.solve_triangular`).

    echo "check 32 16" | python memory.py --threads 1
"""

import argparse

import numpy as np
import torch

import sr

BATCH, TIME, HEADS = 8, 256, 2


def tensor(label, *shape):
    return sr.numbers(sr.fnv1a(label), *shape)


class Operands:
    def __init__(self, width):
        rows = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)
        wide, narrow = (BATCH, TIME, HEADS, width), (BATCH, TIME, HEADS)
        values = {
            "q": rows(tensor("q", *wide)),
            "k": rows(tensor("k", *wide)),
            "v": tensor("v", *wide),
            "beta": 0.5 + 0.5 * tensor("beta", *narrow),
            "log_a": -0.1 - 0.1 * tensor("log_a", *narrow),
        }
        self.inputs = {name: torch.from_numpy(x.astype(np.float32)) for name, x in values.items()}
        self.tracked = {name: x.clone().requires_grad_() for name, x in self.inputs.items()}
        self.weight = torch.from_numpy(tensor("weight", *wide).astype(np.float32))
        self.s = torch.zeros(BATCH, HEADS, width, width)

    def forward(self, inputs, inverse, chunk):
        heads_first = [x.transpose(1, 2) for x in inputs.values()]
        return sr.chunked(*heads_first, self.s, chunk, inverse)[0].transpose(1, 2)

    def both(self, inverse, chunk):
        loss = (self.forward(self.tracked, inverse, chunk) * self.weight).sum()
        return loss.detach(), torch.autograd.grad(loss, list(self.tracked.values()))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    sr.machine(parser.parse_args().threads)
    known = {}

    def answer(what, *arguments):
        *way, chunk, width = arguments
        chunk, width = int(chunk), int(width)
        operands = known.setdefault(width, Operands(width))
        if what == "check":
            loss, gradients = operands.both("doubling", chunk)
            probes = [(g.double() * torch.from_numpy(tensor("probe", *g.shape))).sum() for g in gradients]
            return " ".join(f"{float(x):.7e}" for x in [loss, *probes])
        direction, inverse = way
        if direction == "forward":
            with torch.inference_mode():
                return sr.turn(lambda: operands.forward(operands.inputs, inverse, chunk), 0.02)
        return sr.turn(lambda: operands.both(inverse, chunk), 0.02)

    sr.serve(answer)


if __name__ == "__main__":
    main()
