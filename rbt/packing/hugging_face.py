"""`rbt bpe train --from MODEL`: the tokenizer of a model, with its ids, so that text can be packed for that model.

    MODEL/tokenizer.json, or vocab.json + merges.txt ──ids and merges, checked──> the five files of a tokenizer folder

MODEL is a RoBERTa folder of Hugging Face's, or one that rbt exported.
"""

from __future__ import annotations

import logging
from dataclasses import replace as changed
from pathlib import Path

from rbt.formats.foreign_tokenizer import check_text_rules, read_foreign
from rbt.formats.tokenizer import FILES, KIND, UNMERGED, VERSION, unmerged_tokens, write_tokenizer
from rbt.manifest import Manifest, record_files, write_manifest
from rbt.stage import exclusive, open_out
from rbt.storage import hash_file

log = logging.getLogger(__name__)
STAGE, STAGE_VERSION = "hugging-face", 1


def import_hugging_face(folder: Path, out: Path, *, replace: bool) -> Manifest:
    """Write the tokenizer of a model's folder into `out`, with the same ids, or find that it is there.

    Raises InputError where it is no byte-level BPE with RoBERTa's special tokens, or does with text what rbt does not;
    ArtefactError where `out` is another tokenizer.
    """
    tokenizer = read_foreign(folder)
    check_text_rules(folder, tokenizer)
    vocab, merges = tokenizer.vocab, tokenizer.merges
    inputs = {name: hash_file(folder / name) for name in tokenizer.files}
    with exclusive(out, KIND):
        identity = Manifest(KIND, VERSION, STAGE, STAGE_VERSION, {}, inputs, ())
        if (manifest := open_out(out, identity, replace)) is not None:
            log.info("%s: already imported from this", out)
            return manifest
        write_tokenizer(out, merges, vocab)
        facts = {"vocab_size": len(vocab), "merges": len(merges), UNMERGED: unmerged_tokens(vocab, merges)}
        return write_manifest(out, changed(identity, files=record_files(out, FILES), facts=facts))
