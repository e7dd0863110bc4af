#!/bin/sh
# Everything that needs a GPU, in one go of some six minutes: probes, tests, the loader, base and large beside the
# Trainer. From the root of a checkout, with torch, numpy, safetensors, transformers and accelerate; rbt need not be
# installed. One part that fails, or takes too long, does not end the others. PYTHON, PACKED (a packed folder with
# full-sentences of 512, else one is generated, which takes numba) and BUDGET may be set.
#
#     sh benchmarks/gpu.sh [results folder]
PYTHON=${PYTHON:-python3}
OUT=${1:-gpu-results}
mkdir -p "$OUT"
START=$(date +%s)
BUDGET=${BUDGET:-330} # seconds after which no part begins
export PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1
export TORCHINDUCTOR_CACHE_DIR="${TORCHINDUCTOR_CACHE_DIR:-/tmp/inductor}" # processes share what they compile

part() { # name, seconds at most, command
    name=$1 limit=$2
    shift 2
    printf '\n## %s\n\n' "$name"
    began=$(date +%s)
    if [ "$((began - START))" -gt "$BUDGET" ]; then
        echo "left out: $((began - START)) s have gone"
        return
    fi
    timeout "$limit" "$@" 2>"$OUT/errors.txt"
    status=$?
    if [ "$status" -ne 0 ]; then
        printf '\n%s ended with status %s:\n' "$name" "$status"
        tail -n 15 "$OUT/errors.txt"
    fi
    printf '(%s s)\n' "$(($(date +%s) - began))"
}

measured() { # name, seconds at most, options of train.py
    name=$1 limit=$2
    shift 2
    part "$name" "$limit" "$PYTHON" benchmarks/train.py --packed "$PACKED" --seconds 120 "$@"
}

{
    part "the machine" 30 sh -c "nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv; nproc;
        $PYTHON -c 'import torch, numpy; print(torch.__version__, numpy.__version__)'"
    part "attention by edges" 60 "$PYTHON" -c "
import torch
from rbt.trainer.attention import has_varlen
for dtype in (torch.bfloat16, torch.float16, torch.float32):
    print(dtype, {head: has_varlen(torch.device('cuda'), dtype, head) for head in (32, 64)})"
    if [ -z "$PACKED" ]; then
        PACKED="$OUT/packed"
        part "rows" 90 "$PYTHON" -c "
import sys; sys.path.insert(0, 'benchmarks')
from pathlib import Path
from generated_rows import write_packed
print(write_packed(Path('$PACKED'), 5_000_000))"
    fi
    measured "base" 165 --size base --micro-batch 128 --steps 12 --only rbt --only "Trainer, run_mlm's rows"
    measured "large" 165 --size large --micro-batch 64 --steps 12 --only rbt --only "Trainer, run_mlm's rows"
    part "tests" 100 "$PYTHON" -m pytest -q -x -p no:cacheprovider -W ignore tests/trainer/test_gpu.py \
        tests/trainer/test_model.py -k "gpu or edges"
    measured "base, other micro-batches" 120 --size base --micro-batch 64 --micro-batch 256 --steps 12 --only rbt
    part "loader" 60 "$PYTHON" benchmarks/loader.py --packed "$PACKED" --format full-sentences --steps 2 --runs 1 \
        --only "rbt: order" --only "rbt: advice" --only "rbt: read" --only "rbt: mask" --only "rbt: tensors" \
        --only "rbt: all of it" --only "transformers' collator"
    measured "base, as it is without the compiler" 60 --size base --micro-batch 128 --steps 12 --compile no --only rbt
} 2>&1 | tee "$OUT/results.md"
rm -rf "$OUT/packed"
