"""A training step of the host with and without memory in PyTorch: the peer of ../host.rs.

    python host.py --threads 1 [--compile] [--autocast]
    MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296 python host.py

The second form lets glibc keep freed memory, as the Rust side's allocator does: the fair bar.
"""

import torch
from torch.nn import functional as F

import sr
from sr import peer

TIME, LAYERS, WINDOW, VOCABULARY, CHUNK = 256, 2, 64, 64, 32


def batch(index, rows):
    """Inputs and targets [rows, TIME]."""
    ids = sr.ids(100 + index, rows * (TIME + 1), VOCABULARY).view(rows, TIME + 1)
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


class Arm:
    def __init__(self, arm, d, heads):
        self.model = sr.Model(arm, VOCABULARY, d, LAYERS, heads, WINDOW, CHUNK)
        self.parameters = list(self.model.parameters())
        self.adam = torch.optim.AdamW(
            self.parameters, lr=3e-3, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.0, fused=True
        )
        self.loss = peer.network(self.forward)

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
    args = peer.start(20)
    for d, heads, rows in [(64, 2, 8), (256, 4, 2)]:
        batches = [batch(i, rows) for i in range(3)]
        for name in ["a0", "a11", "sr"]:
            arm, case = Arm(name, d, heads), f"{name}_d{d}_h{heads}_b{rows}"
            with peer.first_calls(case):
                peer.losses(case, [arm.step(*b) for b in batches])
            peer.ms(case, step=peer.median_ms(args.repeats, lambda i: arm.step(*batches[i % 3])))


if __name__ == "__main__":
    main()
