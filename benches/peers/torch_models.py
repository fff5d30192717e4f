"""The models of the step rows in PyTorch, written for speed on a CPU.

Notation: a sequence of n tokens has items s_i and times t_i, i = 0..n-1, oldest first; E is the item table
[n_items, d], P the position table [length, d]. LN is layer norm with weight and bias over d, variance without
correction, epsilon 1e-5. Linear layers are x W^T + b with W [out, in]. Sums over j run over j <= i (causal).

Frame of both sequence models (`item_embedding.weight` = E, `position_embedding.weight` = P, `final_norm`):

    x_i = sqrt(d) E[s_i] + P[n - 1 - i]          position 0 is the newest token; dropout on x
    x   = layer_l(x) for l = 0..n_layers - 1
    h_i = final_norm(x_i),   score of item a at token i: h_i . E[a]         tied output, not scaled

SASRec layer (`layers.l.norm1`, `query` [d, d], `key_value` [2 d, d]: keys then values, `norm2`, `linear1`,
`linear2` [d, d]); head m has the columns m d / n_heads .. of queries, keys and values:

    g = norm1(x),  q = query(g),  (k, v) = key_value(x)
    a_i = sum_j softmax_j(q_i . k_j / sqrt(d / n_heads)) v_j                dropout on the softmax
    z = norm2(g + a)                                                        heads side by side, no projection
    x' = z + linear2(relu(linear1(z)))                                      dropout after relu and linear2

as in the code of Kang and McAuley (ICDM 2018): the residual goes around the normalized input.

HSTU layer (`layers.l.norm1`, `uvqk` [4 d, d]: u, v, q, k in this order, `position_bias` [length], `time_bias`
[48], `norm2`, `output` [d, d]), one head:

    (u, v, q, k) = silu(uvqk(norm1(x)))
    a_i = 1 / length sum_j silu(q_i . k_j + position_bias[i - j] + time_bias[bits(t_i - t_j)]) v_j
    x'  = x + output(u * norm2(a))

bits(gap) is the number of binary digits of a gap in milliseconds (0 for 0), at most 47. After Zhai et al.
(ICML 2024, equations 1 to 3); their buckets are of the natural logarithm.

Losses of a sequence model, means over all T tokens with target y and negatives a:

    bce     softplus(-h . E[y]) + softplus(h . E[a])
    own     -log softmax over {y} and the token's negatives, at y
    shared  the same with one set of negatives for all tokens, less those equal to y
    full    -log softmax over all items, at y

DeepFM (`embedding.weight` = V [rows, 16], `linear.weight` = w [rows, 1], `dense_linear` [1, 13], `mlp.0` [400, 429],
`mlp.1` and `mlp.2` [400, 400], `mlp.3` [1, 400]), rows r_f of the 26 fields, dense values x; after Guo et al.
(IJCAI 2017):

    logit = dense_linear(x) + sum_f w[r_f] + 1/2 sum_d ((sum_f V[r_f, d])^2 - sum_f V[r_f, d]^2)
            + mlp(V[r_0] .. V[r_25], x)                                     relu between its layers
    loss  = mean of softplus(logit) - click logit
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from step_rows import D_FIELD, HIDDEN, N_DENSE, N_FIELDS, TABLE_ROWS

N_TIME_BUCKETS = 48


class SasrecLayer(nn.Module):
    def __init__(self, row):
        super().__init__()
        d = row.d_model
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.query, self.key_value = nn.Linear(d, d), nn.Linear(d, 2 * d)
        self.linear1, self.linear2 = nn.Linear(d, d), nn.Linear(d, d)
        self.n_heads, self.dropout = row.n_heads, row.dropout

    def heads(self, x):
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)

    def forward(self, x, _bias):
        g = self.norm1(x)
        q = self.query(g)
        k, v = self.key_value(x).chunk(2, dim=-1)
        a = F.scaled_dot_product_attention(
            self.heads(q), self.heads(k), self.heads(v), is_causal=True, dropout_p=self.dropout)
        z = self.norm2(g + a.transpose(1, 2).flatten(2))
        inner = F.dropout(F.relu(self.linear1(z)), self.dropout)
        return z + F.dropout(self.linear2(inner), self.dropout)


class HstuLayer(nn.Module):
    def __init__(self, row):
        super().__init__()
        d = row.d_model
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.uvqk, self.output = nn.Linear(d, 4 * d), nn.Linear(d, d)
        self.position_bias = nn.Parameter(torch.zeros(row.length))
        self.time_bias = nn.Parameter(torch.zeros(N_TIME_BUCKETS))

    def forward(self, x, bias):
        u, v, q, k = F.silu(self.uvqk(self.norm1(x))).chunk(4, dim=-1)
        scores = q @ k.transpose(1, 2)
        scores = scores + gather(self.position_bias, bias.distances)
        scores = scores + gather(self.time_bias, bias.buckets)
        a = (F.silu(scores) * bias.mask) @ v
        return x + self.output(u * self.norm2(a))


class Bias:
    """What the layers of HSTU share: where to look up their biases."""

    def __init__(self, timestamps):
        n = timestamps.shape[1]
        steps = torch.arange(n)
        self.distances = (steps[:, None] - steps[None, :]).clamp_(min=0)
        self.mask = torch.ones(n, n).tril_().div_(n)
        gaps = (timestamps[:, :, None] - timestamps[:, None, :]).clamp_(min=0)
        # The powers of two up to a gap are its binary digits. (What torch.compile makes of frexp does not build.)
        powers = 2 ** torch.arange(N_TIME_BUCKETS - 1)
        self.buckets = torch.bucketize(gaps, powers, right=True)


def gather(table, indices):
    """table[indices]; the backward of `index_select` is faster than those of indexing and embedding."""
    return table.index_select(0, indices.flatten()).view(indices.shape)


class SequenceModel(nn.Module):
    def __init__(self, row, sparse):
        super().__init__()
        layer = {"sasrec": SasrecLayer, "hstu": HstuLayer}[row.model]
        sparse = sparse and row.loss != "full"  # which touches every item
        self.item_embedding = nn.Embedding(row.n_items, row.d_model, sparse=sparse)
        self.position_embedding = nn.Embedding(row.length, row.d_model)
        self.layers = nn.ModuleList(layer(row) for _ in range(row.n_layers))
        self.final_norm = nn.LayerNorm(row.d_model)
        self.scale, self.dropout = math.sqrt(row.d_model), row.dropout
        self.loss = {"bce": self.bce, "own": self.own, "shared": self.shared, "full": self.full}[row.loss]

    def forward(self, batch):
        x = self.item_embedding(batch["items"]) * self.scale + self.position_embedding.weight.flip(0)
        x = F.dropout(x, self.dropout)
        bias = Bias(batch["timestamps"]) if "timestamps" in batch else None
        for layer in self.layers:
            x = layer(x, bias)
        hidden = self.final_norm(x).flatten(0, 1)
        return self.loss(hidden, batch["targets"], batch.get("negatives"))

    def bce(self, hidden, targets, negatives):
        positive = (hidden * self.item_embedding(targets)).sum(-1)
        negative = (hidden * self.item_embedding(negatives.squeeze(1))).sum(-1)
        return (F.softplus(-positive) + F.softplus(negative)).mean()

    def own(self, hidden, targets, negatives):
        candidates = self.item_embedding(torch.cat([targets[:, None], negatives], dim=1))
        # torch.compile fuses this product with the lookup, which it cannot with a batched matrix product.
        logits = (candidates * hidden[:, None]).sum(-1)
        return (logits.logsumexp(-1) - logits[:, 0]).mean()

    def shared(self, hidden, targets, negatives):
        positive = (hidden * self.item_embedding(targets)).sum(-1, keepdim=True)
        logits = hidden @ self.item_embedding(negatives).T
        logits = logits.masked_fill(targets[:, None] == negatives, -torch.inf)
        return (torch.cat([positive, logits], dim=1).logsumexp(-1) - positive.squeeze(1)).mean()

    def full(self, hidden, targets, _negatives):
        items = self.item_embedding.weight
        return F.linear_cross_entropy(hidden, items, targets, options=nn.LinearCrossEntropyOptions())


class DeepFm(nn.Module):
    def __init__(self, _row, sparse):
        super().__init__()
        self.embedding = nn.Embedding(TABLE_ROWS, D_FIELD, sparse=sparse)
        self.linear = nn.Embedding(TABLE_ROWS, 1, sparse=sparse)
        self.dense_linear = nn.Linear(N_DENSE, 1)
        sizes = [N_FIELDS * D_FIELD + N_DENSE, *HIDDEN, 1]
        self.mlp = nn.ModuleList(nn.Linear(*pair) for pair in zip(sizes, sizes[1:]))

    def forward(self, batch):
        rows, dense = batch["sparse"], batch["dense"]
        v = self.embedding(rows)
        pairs = 0.5 * (v.sum(1).square() - v.square().sum(1)).sum(-1)
        x = torch.cat([v.flatten(1), dense], dim=1)
        for layer in self.mlp[:-1]:
            x = F.relu(layer(x))
        first_order = self.linear(rows).sum((1, 2)) + self.dense_linear(dense).squeeze(1)
        logits = first_order + pairs + self.mlp[-1](x).squeeze(1)
        return F.binary_cross_entropy_with_logits(logits, batch["clicks"])


def build(row, sparse=False):
    """The model of a row; `sparse` asks for sparse gradients of the large tables."""
    return (DeepFm if row.model == "deepfm" else SequenceModel)(row, sparse)
