"""Peer: PyTorch on the CPU, eager, all cores. Needs torch and numpy, nothing else.

Speaks the protocol of protocol.ts: a job as JSON in the first argument, then one step for each line on standard input.
"""

import json
import math
import os
import re
import struct
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F


def read_weights(path):
    """Tensors of a safetensors file, by name; all are F32."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    tensors = {}
    for name, info in header.items():
        if name == "__metadata__":
            continue
        begin, end = info["data_offsets"]
        values = np.frombuffer(data[begin:end], dtype="<f4").reshape(info["shape"])
        tensors[name] = torch.from_numpy(values.copy()).requires_grad_()
    return tensors


def linear(x, p, name):
    return torch.addmm(p[name + ".bias"], x, p[name + ".weight"])


def norm(x, p, name):
    return F.layer_norm(x, x.shape[-1:], p[name + ".weight"], p[name + ".bias"], 1e-5)


def attention(qkv, mask, shape):
    B, T, H, C = (shape[k] for k in ("batchSize", "sequenceLength", "headCount", "hiddenSize"))
    q, k, v = (part.view(B, T, H, C // H).transpose(1, 2) for part in qkv.split(C, dim=1))
    scores = (q @ k.transpose(-2, -1)) * (1 / math.sqrt(C // H))
    weights = F.softmax(scores.masked_fill(mask, float("-inf")), dim=-1)
    return (weights @ v).transpose(1, 2).reshape(B * T, C)


def mean_loss(p, inputs, targets, mask, shape):
    B, T, C = (shape[k] for k in ("batchSize", "sequenceLength", "hiddenSize"))
    embedding = p["transformer.wte.weight"]
    x = (F.embedding(inputs, embedding) + p["transformer.wpe.weight"][:T]).view(B * T, C)
    for layer in range(shape["layerCount"]):
        name = f"transformer.h.{layer}"
        mixed = attention(linear(norm(x, p, f"{name}.ln_1"), p, f"{name}.attn.c_attn"), mask, shape)
        x = x + linear(mixed, p, f"{name}.attn.c_proj")
        wide = F.gelu(linear(norm(x, p, f"{name}.ln_2"), p, f"{name}.mlp.c_fc"), approximate="tanh")
        x = x + linear(wide, p, f"{name}.mlp.c_proj")
    logits = norm(x, p, "transformer.ln_f") @ embedding.t()
    return F.cross_entropy(logits, targets.view(-1))


def blas():
    """What computes the products: the libraries that this process has mapped, or what PyTorch was built with."""
    files = set()
    if os.path.exists("/proc/self/maps"):  # Linux alone
        with open("/proc/self/maps") as maps:
            files = {os.path.basename(line.split()[-1]) for line in maps if "/" in line}
    named = sorted(name for name in files if re.match(r"lib(\w*blas|blis|mkl_rt)", name))
    if any("openblas" in name for name in named):
        named = [name for name in named if "openblas" in name]
    built = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    found = ", ".join(named) or (built[1] if built else "unknown")
    # Netlib's own: one thread and no blocks that fit caches. Times with it say nothing about PyTorch.
    return f"{found} (the reference BLAS: slow)" if re.fullmatch(r"libblas\.so\.3[.\d]*", found) else found


def main():
    job = json.loads(sys.argv[1])
    shape, hyper = job["shape"], job["hyperparameters"]
    torch.set_num_threads(os.cpu_count() or 1)
    p = read_weights(os.path.join(job["modelFolder"], "model.safetensors"))
    tokens = np.fromfile(job["tokenFile"], dtype="<u2").astype(np.int64)
    decays = re.compile(r"\.(c_attn|c_proj|c_fc)\.weight$")
    decayed = [value for name, value in p.items() if decays.search(name)]
    plain = [value for name, value in p.items() if not decays.search(name)]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": hyper["weightDecay"]}, {"params": plain, "weight_decay": 0.0}],
        lr=hyper["learningRate"],
        betas=(hyper["beta1"], hyper["beta2"]),
        eps=hyper["eps"],
    )
    B, T = shape["batchSize"], shape["sequenceLength"]
    mask = torch.triu(torch.ones(T, T, dtype=torch.bool), 1)
    windows = (len(tokens) - 1) // T
    version = f"torch {torch.__version__}"
    adapter = f"CPU, {torch.get_num_threads()} threads, {blas()}"
    print(json.dumps({"ready": True, "version": version, "adapter": adapter}), flush=True)

    for index, line in enumerate(iter(sys.stdin.readline, "")):
        if line.strip() != "step":
            raise ValueError(f"unknown request {line!r}: expected step")
        starts = [(index * B + b) % windows * T for b in range(B)]
        inputs = torch.from_numpy(np.stack([tokens[s : s + T] for s in starts]))
        targets = torch.from_numpy(np.stack([tokens[s + 1 : s + T + 1] for s in starts]))
        started, cpu = time.perf_counter(), time.process_time()
        optimizer.zero_grad(set_to_none=True)
        loss = mean_loss(p, inputs, targets, mask, shape)
        loss.backward()
        optimizer.step()
        value = loss.item()
        ms, cpu_ms = 1000 * (time.perf_counter() - started), 1000 * (time.process_time() - cpu)
        print(json.dumps({"loss": value, "ms": ms, "cpuMs": cpu_ms, "gpu": None}), flush=True)


main()
