#!/bin/sh
# The main job on the mini corpus: raw files to an exported model. Run by `make demo`, which sets BIN and EXAMPLES.
set -eu
demo=$1
PATH="$BIN:$PATH"
rm -rf "$demo"
rbt init "$demo" --recipe demo --quiet
ln -s "$EXAMPLES/raw" "$demo/raw"
cd "$demo"
say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; "$@"; }
say rbt corpus build
say rbt bpe train
say rbt pack
say rbt pretrain
say rbt export
say rbt fill-mask "The keeper climbed the stairs of the <mask> and lit the lamp."
say rbt verify .
cat <<END

Built in $demo/: corpus/ (Arrow parts), tokenizer/, packed/ (tokens and index), run/ (checkpoints), model/ (for transformers).
Try next, in that folder:
  rbt corpus show --random 1               a document
  rbt corpus why wikipedia:241             why a document is not in the corpus
  rbt corpus duplicates                    removed duplicates beside what was kept
  rbt pack --explain 12                    a block: its sentences, documents and ids
  rbt pack stats --plot stats.png          how blocks fill rows
  rbt trace --run run --step 7             what a step of training read
  rbt trace --run run --document wikipedia:12
  rbt pack --format doc-sentences          another format over the same tokens
  rbt pretrain --set schedule.max_steps=5000 --out longer
and docs/reproduce.md for the paper's recipe.
END
