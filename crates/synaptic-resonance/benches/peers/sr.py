"""The host with and without memory in PyTorch, from the equations of docs/papers/synaptic-resonance.md: what the peers
measure.

Nothing here is taken from the Rust side but the names of the parameters, by which both sides fill them. Written as a
good user of PyTorch would: one product for queries, keys and values, one for the three rates, rotation of queries and
keys at once, `scaled_dot_product_attention` with a mask made once, the chunked form with everything but the state's
own recurrence outside the loop, `baddbmm`, a key/value cache with its room allocated before.
"""

import os
import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../../core/benches/peers"))
import peer  # noqa: E402


numbers = peer.numbers


def ids(seed, count, vocabulary):
    """Tokens below `vocabulary`."""
    return torch.from_numpy((peer.Lcg(seed).uniform(count) * vocabulary).astype("int64"))


def filled(path, *shape):
    """A parameter's values by its path. Everything is away from its initial value, the memory is switched on."""
    u, name = numbers(path, *shape), path.rsplit(".", 1)[-1]
    known = {"embedding": (0.0, 0.09), "forget_bias": (-4.0, 1.0), "gamma": (0.5, 0.2), "mu": (0.0, 0.5)}
    if name in known:
        mean, scale = known[name]
    elif name.startswith("norm") or name == "c":
        mean, scale = 1.0, 0.2
    elif name.endswith("bias"):
        mean, scale = 0.0, 0.2
    else:
        mean, scale = 0.0, (3.0 / shape[0]) ** 0.5
    return torch.from_numpy((mean + scale * u).astype(np.float32))


# The rule in chunks (section 5.2).


def inverse_by_doubling(a):
    """(I + a)^-1 for strictly lower a [.., C, C], neighbouring inverses merged (section 5.3 b)."""
    *batch, size, _ = a.shape
    a = a.reshape(-1, size, size)
    inverse, half = a.new_ones(len(a), size, 1, 1), 1
    while half < size:
        pairs = size // (2 * half)
        blocks = a.view(len(a), pairs, 2 * half, pairs, 2 * half).diagonal(dim1=1, dim2=3).movedim(-1, 1)
        upper, lower = inverse[:, 0::2], inverse[:, 1::2]
        below = -(lower @ blocks[:, :, half:, :half] @ upper)
        inverse = torch.cat([F.pad(upper, (0, half)), torch.cat([below, lower], -1)], -2)
        half *= 2
    return inverse.view(*batch, size, size)


def chunked(q, k, v, beta, log_a, s, chunk, inverse="solve"):
    """q, k, v [B, H, T, D], beta and log_a [B, H, T], s [B, H, Dv, Dk] -> read-outs [B, H, T, Dv] and the last s."""
    (b, h, t, dk), dv = q.shape, v.shape[-1]
    n = -(-t // chunk)
    if n * chunk != t:
        pad = n * chunk - t
        q, k, v = (F.pad(x, (0, 0, 0, pad)) for x in (q, k, v))
        beta, log_a = F.pad(beta, (0, pad)), F.pad(log_a, (0, pad))
    q, k, v = (x.reshape(b * h, n, chunk, -1) for x in (q, k, v))
    beta, log_a = beta.reshape(b * h, n, chunk, 1), log_a.reshape(b * h, n, chunk)
    lb = log_a.cumsum(-1)
    outside = torch.ones(chunk, chunk, dtype=torch.bool).triu(1)
    m = (lb[..., :, None] - lb[..., None, :]).masked_fill(outside, -1e30).exp()
    a = (beta * m * (k @ k.mT)).tril(-1)
    b_r = lb.exp()[..., None]
    right = torch.cat([beta * v, (beta * b_r) * k], -1)
    if inverse == "solve":
        right = torch.linalg.solve_triangular(a, right, upper=False, unitriangular=True)
    else:
        right = inverse_by_doubling(a) @ right
    uv, w = right.split([dv, dk], -1)
    kd = (lb[..., -1:] - lb).exp()[..., None] * k
    b_c = lb[..., -1].exp()
    s, states, us = s.reshape(b * h, dv, dk), [], []
    for uv_n, w_n, kd_n, b_n in zip(uv.unbind(1), w.unbind(1), kd.unbind(1), b_c.unbind(1)):
        states.append(s)
        u = torch.baddbmm(uv_n, w_n, s.mT, alpha=-1)
        us.append(u)
        s = torch.baddbmm(b_n[:, None, None] * s, u.mT, kd_n)
    o = (b_r * q) @ torch.stack(states, 1).mT + (m * (q @ k.mT)) @ torch.stack(us, 1)
    return o.view(b, h, n * chunk, dv)[:, :, :t], s.view(b, h, dv, dk)


# The model (sections 3 and 4.3).


def l2(x):
    return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + 1e-6)


def rotations(positions, width):
    """exp(i position theta_j), [positions, width / 2]; pairs (2 j, 2 j + 1), base 10000. Angles in f64. Complex, or with
    cosine and sine in a last dimension for `torch.compile`, which makes no loops of complex numbers."""
    theta = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = positions.to(torch.float64)[:, None] * theta
    if peer.args.compile:
        return torch.stack([angles.cos(), angles.sin()], -1).float()
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64)


def rotate(x, by):
    """x [.., D], by as `rotations` makes it."""
    if not by.is_complex():
        (a, b), (cos, sin) = x.unflatten(-1, (-1, 2)).unbind(-1), by.unbind(-1)
        return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)
    return torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2))) * by).flatten(-2)


class Layer(nn.Module):
    def __init__(self, path, d, heads, memory, attention_blend):
        super().__init__()
        at = lambda name, *shape: filled(f"{path}.{name}", *shape)
        p, width = nn.Parameter, d // heads
        self.heads, self.memory, self.blends = heads, memory, memory or attention_blend
        self.norm1, self.norm2 = p(at("norm1", d)), p(at("norm2", d))
        self.qkv = p(torch.cat([at(f"attention.{x}", d, d) for x in "qkv"], 1))
        self.o = p(at("attention.o", d, d))
        self.up, self.down = p(at("up", d, 4 * d)), p(at("down", 4 * d, d))
        if memory:
            rates = ["write", "forget", "gate"]
            self.rates = p(torch.cat([at(f"memory.{x}", d, heads) for x in rates], 1))
            self.rates_bias = p(torch.cat([at(f"memory.{x}_bias", heads) for x in rates]))
            self.gamma, self.c = p(at("memory.gamma", heads)), p(at("memory.c", heads, width))
        if self.blends:
            self.mu = p(at("memory.mu" if memory else "attention.mu", heads, width))

    def mlp(self, x):
        n = F.rms_norm(x, x.shape[-1:], self.norm2, 1e-6)
        return x + F.gelu(n @ self.up) @ self.down

    def norm_and_gate(self, r, gate):
        """r [.., H, D], gate [.., H]."""
        r = self.c * r * torch.rsqrt((r * r).mean(-1, keepdim=True) + 1e-3)
        return (torch.tanh(self.gamma) * 2.0 * torch.sigmoid(gate))[..., None] * r

    def forward(self, x, by, mask, chunk, state):
        """x [B, T, d]; state: rotated keys and values of the window [B, H, w - 1, D], previous key, s."""
        b, t, d = x.shape
        n = F.rms_norm(x, (d,), self.norm1, 1e-6)
        # Under autocast products are bf16; rotation, blend and memory stay f32, as their states do.
        qkv = (n @ self.qkv).float().view(b, t, 3, self.heads, -1)
        q, k, v = qkv.unbind(2)
        if self.blends:
            before = torch.cat([state["prev"][:, None], k[:, :-1]], 1)
            blended = torch.lerp(k, before, torch.sigmoid(self.mu))
            new_prev = k[:, -1]
        if self.blends and not self.memory:
            turned = rotate(torch.stack([q, blended], 2), by)
        else:
            turned = rotate(qkv[:, :, :2], by)
        q_turned, k_turned = turned.transpose(1, 3).unbind(2)
        values = v.transpose(1, 2)
        if state["keys"].shape[2]:
            k_turned = torch.cat([state["keys"], k_turned], 2)
            values = torch.cat([state["values"], values], 2)
        y = F.scaled_dot_product_attention(q_turned, k_turned, values, attn_mask=mask).transpose(1, 2)
        new = {"keys": k_turned, "values": values}
        if self.memory:
            rates = torch.addmm(self.rates_bias, n.view(b * t, d), self.rates).float()
            beta, log_a, gate = rates.view(b, t, 3, -1).unbind(2)
            beta, log_a = torch.sigmoid(beta).transpose(1, 2), F.logsigmoid(-log_a).transpose(1, 2)
            heads_first = (z.transpose(1, 2) for z in (l2(q), l2(blended), v))
            with peer.exact():
                r, new["s"] = chunked(*heads_first, beta, log_a, state["s"], chunk)
            y = y + self.norm_and_gate(r.transpose(1, 2), gate)
        if self.blends:
            new["prev"] = new_prev
        return self.mlp(x + y.reshape(b, t, d) @ self.o), new

    def step(self, x, by, slot, used, state):
        """One token of one stream: x [1, d], written at `slot` of the cache, of which the first `used` places take part;
        changes the state in place, as its cache."""
        n = F.rms_norm(x, x.shape[-1:], self.norm1, 1e-6)
        qkv = (n @ self.qkv).float().view(3, self.heads, -1)
        q, k, v = qkv.unbind(0)
        q_turned, k_turned = rotate(qkv[:2], by).unbind(0)
        # A place that is a tensor is one of several.
        several = (lambda x: x) if isinstance(slot, int) else (lambda x: x[:, None])
        keys, values = state["keys"], state["values"]
        keys[0, :, slot], values[0, :, slot] = several(k_turned).to(keys.dtype), several(v).to(values.dtype)
        keys, values = keys[:, :, :used], values[:, :, :used]
        y = F.scaled_dot_product_attention(q_turned[None, :, None], keys, values).view(self.heads, -1)
        if self.memory:
            beta, log_a, gate = torch.addmm(self.rates_bias, n, self.rates).float().view(3, -1).unbind(0)
            key = l2(torch.lerp(k, state["prev"], torch.sigmoid(self.mu)))
            with peer.exact():
                s = state["s"] * torch.sigmoid(-log_a)[:, None, None]
                error = v[..., None] - s @ key[..., None]
                s = torch.baddbmm(s, torch.sigmoid(beta)[:, None, None] * error, key[:, None])
                r = (s @ l2(q)[..., None]).squeeze(-1)
            y = y + self.norm_and_gate(r, gate)
            state["s"], state["prev"] = s, k
        return self.mlp(x + y.view(1, -1) @ self.o)


class Model(nn.Module):
    """`arm`: a0 window alone, a11 with blended keys, sr with memory, a9 full attention (window none)."""

    def __init__(self, arm, vocabulary, d, layers, heads, window, chunk=32):
        super().__init__()
        self.window, self.heads, self.width, self.chunk = window, heads, d // heads, chunk
        self.embedding = nn.Parameter(filled("embedding", vocabulary, d))
        self.blocks = nn.ModuleList(Layer(f"blocks.{i}", d, heads, arm == "sr", arm == "a11") for i in range(layers))
        self.norm = nn.Parameter(filled("norm", d))
        self.masks = {}
        self.read = peer.network(self.one)

    def start(self, batch):
        empty, width = torch.zeros(batch, self.heads, 0, self.width), self.width
        layer = lambda: {
            "s": torch.zeros(batch, self.heads, width, width),
            "prev": torch.zeros(batch, self.heads, width),
            "keys": empty,
            "values": empty,
        }
        return {"position": 0, "layers": [layer() for _ in self.blocks]}

    def around(self, position, ring, t):
        """Rotations of the t new tokens and the mask [t, ring + t], made once for a place."""
        if (position, ring, t) not in self.masks:
            by = rotations(torch.arange(position, position + t), self.width)[:, None, None]
            distance = torch.arange(t)[:, None] + ring - torch.arange(ring + t)
            seen = (distance >= 0) & (distance < (self.window or ring + t))
            self.masks = {(position, ring, t): (by, torch.zeros(t, ring + t).masked_fill(~seen, -torch.inf))}
        return self.masks[position, ring, t]

    def forward(self, tokens, state=None):
        """tokens [B, T] -> logits [B, T, V] and the state after them."""
        state = state or self.start(len(tokens))
        b, t = tokens.shape
        by, mask = self.around(state["position"], state["layers"][0]["keys"].shape[2], t)
        x, layers = F.embedding(tokens, self.embedding), []
        for block, layer in zip(self.blocks, state["layers"]):
            x, new = block(x, by, mask, self.chunk, layer)
            layers.append(new)
        x = F.rms_norm(x, x.shape[-1:], self.norm, 1e-6)
        return x @ self.embedding.T, {"position": state["position"] + t, "layers": layers}

    def shorten(self, state):
        """Keeps of keys and values what the window can still see."""
        for layer in state["layers"]:
            for name in ("keys", "values"):
                layer[name] = layer[name][:, :, -(self.window - 1) :]
        return state

    def cache(self, state, room):
        """The state of `step`: place p of a window's circular cache holds the token p modulo w; for full attention
        there is room for `room` more tokens. Under autocast it is bf16, as attention reads it."""
        position, layers = state["position"], []
        kind = torch.bfloat16 if peer.args.autocast else torch.float32
        for layer in state["layers"]:
            new = {"prev": layer["prev"][0].clone(), "s": layer["s"][0].clone()} if "s" in layer else {}
            for name in ("keys", "values"):
                held = layer[name]
                count = held.shape[2]
                places = torch.arange(position - count, position) % self.window if self.window else torch.arange(count)
                new[name] = held.new_zeros(1, self.heads, self.window or count + room, self.width, dtype=kind)
                new[name][:, :, places] = held.to(kind)
            layers.append(new)
        return {"position": position, "layers": layers}

    def step(self, token, state):
        """Logits [1, V] after one token [1] of one stream; changes `state`."""
        position, layers = state["position"], state["layers"]
        state["position"] = position + 1
        by = rotations(torch.tensor([position]), self.width)
        slot = position % self.window if self.window else position
        used = min(position + 1, self.window or position + 1)
        if peer.args.compile:
            # Numbers that change would be compiled in: a place is a tensor, and a cache that grows is as long as what is
            # used of it, the new token in the last place, with a length that the compiler leaves open. To read all places
            # through a mask is three times slower.
            if self.window:
                slot = torch.tensor([slot])
            else:
                layers, slot = [self.grown(layer, used) for layer in layers], -1
            used = None
        return self.read(token, by, slot, used, layers)

    def grown(self, layer, used):
        views = {name: layer[name][:, :, :used] for name in ("keys", "values")}
        for view in views.values():
            torch._dynamo.mark_dynamic(view, 2)
        return views

    def one(self, token, by, slot, used, layers):
        x = F.embedding(token, self.embedding)
        for block, layer in zip(self.blocks, layers):
            x = block.step(x, by, slot, used, layer)
        return F.rms_norm(x, x.shape[-1:], self.norm, 1e-6) @ self.embedding.T
