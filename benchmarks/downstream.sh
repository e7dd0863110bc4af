#!/bin/sh
# Does pretraining help? A small model is pretrained on the sample of RBT_DATA, 10 MB of text, and fine-tuned on
# five tasks of GLUE beside the same model with fresh weights, five seeds each: some three hours of one core.
#
#     RBT_DATA=data sh benchmarks/downstream.sh [results folder]
#
# What was finished is not done again. RBT, the command, may be set.
set -e
RBT=${RBT:-$PWD/.venv/bin/rbt}
DATA=$(cd "${RBT_DATA:-../shared/data}" && pwd)
OUT=${1:-downstream-results}
mkdir -p "$OUT"
cd "$OUT"
export OMP_NUM_THREADS=1
cat > rbt.toml <<END
[corpus]
name = "real"
part_bytes = 8_000_000
[[source]]
kind = "wikipedia"
paths = ["$DATA/wikipedia/derived/enwiki-A-pages-articles-multistream.xml.bz2"]
[[source]]
kind = "bookcorpus"
paths = ["$DATA/books/100_english_novels/*.txt"]
[[source]]
kind = "ccnews"
paths = ["$DATA/warc/derived/CC-NEWS-like-A.warc.gz"]
since = ""
until = ""
[[source]]
kind = "table"
name = "web"
paths = ["$DATA/openwebtext/dolma_cc_head/multiple_files/cc_en_head-0091.jsonl.gz"]
columns = { id = "id", text = "text" }
[bpe]
vocab_size = 8000
[pack]
max_tokens = 128
validation_fraction = 0.02
[model]
layers = 4
hidden = 128
heads = 4
feed_forward = 512
dropout = 0.0
attention_dropout = 0.0
[data]
global_batch = 32
[schedule]
max_steps = 6000
warmup_steps = 400
peak_learning_rate = 1e-3
[run]
log_every = 100
checkpoint_every = 500
validate_every = 500
validation_rows = 256
[finetune]
learning_rate = 3e-4
batch_size = 32
epochs = 4
dropout = 0.0
attention_dropout = 0.0
dev_fraction = 0.1      # of MRPC, whose sample has no dev
END
"$RBT" corpus build
"$RBT" bpe train
"$RBT" pack
"$RBT" pretrain
"$RBT" export --out pretrained
"$RBT" pretrain --out fresh-run --set schedule.max_steps=1 --set schedule.warmup_steps=0 # one update, of rate 0
"$RBT" export --run fresh-run --out fresh
for model in fresh pretrained; do
    for task in stsb:STS-B mrpc:MRPC rte:RTE_resplit sst2:SST2_sentence cola:CoLA_2col; do
        name=${task%%:*}
        "$RBT" finetune "$name" --model "$model" --data "$DATA/tasks/glue/${task##*:}" \
            --out "scores/$model/$name" --seeds 5
    done
done
"$RBT" table scores/*/* --out table.md
