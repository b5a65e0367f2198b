"""A training step of the host with and without memory in PyTorch: the peer of ../host.rs, which takes turns with it.

Lines: `check arm d heads batch` gives the losses of the first three steps; `turn arm d heads batch` the least and the
median milliseconds of a turn of steps.

    printf 'check sr 64 2 8\nturn sr 64 2 8\n' | python host.py --threads 1
    python host.py --compile ...      # torch.compile of model and loss; needs a C++ compiler
"""

import argparse

import torch
from torch.nn import functional as F

import sr

TIME, LAYERS, WINDOW, VOCABULARY, CHUNK = 256, 2, 64, 64, 32


def batch(index, rows):
    """Inputs and targets [rows, TIME]."""
    drawn = (sr.numbers(100 + index, rows, TIME + 1) * 0.5 + 0.5) * VOCABULARY
    ids = torch.from_numpy(drawn.astype("int64"))
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


class Arm:
    def __init__(self, arm, d, heads, compiled):
        self.model = sr.Model(arm, VOCABULARY, d, LAYERS, heads, WINDOW, CHUNK)
        self.parameters = list(self.model.parameters())
        self.adam = torch.optim.AdamW(
            self.parameters, lr=3e-3, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.0, fused=True
        )
        self.loss = torch.compile(self.forward) if compiled else self.forward

    def forward(self, tokens, targets):
        logits, _ = self.model(tokens)
        return F.cross_entropy(logits.view(-1, VOCABULARY), targets.view(-1))

    def step(self, tokens, targets):
        self.adam.zero_grad(set_to_none=True)
        loss = self.loss(tokens, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.adam.step()
        return float(loss.detach())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    sr.machine(args.threads)
    arms = {}

    def answer(what, name, d, heads, rows):
        d, heads, rows = int(d), int(heads), int(rows)
        if what == "check":
            arms[name, d] = Arm(name, d, heads, args.compile)
            return " ".join(f"{arms[name, d].step(*batch(i, rows)):.7f}" for i in range(3))
        tokens, targets = batch(0, rows)
        return sr.turn(lambda: arms[name, d].step(tokens, targets), 0.2)

    sr.serve(answer)


if __name__ == "__main__":
    main()
