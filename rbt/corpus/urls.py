"""`rbt corpus urls`: Reddit dumps to the URL list of WebText.

    dumps ─read (a task each)─> runs of links by hash ─sum (a task a range of hashes)─> wanted.npy, urls-NNN.tsv.gz

WebText's rule (Radford et al. 2019, section 2.1): outbound links that got at least 3 karma. Here the karma of a URL is
summed over its submissions in all dumps, as OpenWebText2 does. Everything under OUT/work can be made again; while it
is kept, another --minimum-karma or one more dump reads no dump twice.
"""

from __future__ import annotations

import datetime
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rbt.corpus.urls_blacklist import Blacklist, load_blacklist
from rbt.corpus.urls_dumps import BUCKETS, READ, SOURCE, read_dump
from rbt.corpus.urls_sum import SUM, number_of_parts, sum_part
from rbt.engine import Engine
from rbt.errors import ConfigError, InputError
from rbt.formats import quarantine
from rbt.formats.parts import read_batches, rebatch, write_table
from rbt.formats.urls import ANY_PART, KIND, LEDGER, VERSION, WANTED, write_wanted
from rbt.ledger import Ledger
from rbt.manifest import PROVENANCE, Manifest, is_artefact, read_json, record_files, to_json, write_manifest
from rbt.stage import WORK, Receipt, Task, clear, exclusive, finished, run_tasks
from rbt.storage import as_text, atomic_path, common_folder, expand_inputs, input_stamps, write_text

log = logging.getLogger(__name__)
STAGE, STAGE_VERSION = "corpus urls", 1


@dataclass(frozen=True)
class UrlsConfig:
    """The options of `rbt corpus urls`. Dates are ISO 8601 (UTC), `since` included, `until` not; "" = no bound."""

    minimum_karma: int = 3  # sum over all submissions of a URL
    over_18: bool = False  # keep links of submissions that are not for minors
    since: str = ""
    until: str = ""
    blacklists: tuple[str, ...] = ()  # files beside our own list
    maximum_errors: float = 0.05  # share of unreadable lines before it stops
    keep_work: bool = True


@dataclass(frozen=True)
class Dump:
    """One raw file. `origin`: its name below the folder that all share."""

    location: str
    origin: str
    stamp: dict[str, int | str]


def build_urls(
    dumps: Sequence[str], out: Path, config: UrlsConfig, engine: Engine, *, replace: bool = False
) -> Manifest:
    """Write the URL list of these dumps (paths, globs, URLs) to `out`, or find it there.

    Raises ConfigError, InputError, ArtefactError.
    """
    blacklist, files = load_blacklist(config.blacklists), list_dumps(dumps)
    rules = {"over_18": config.over_18, "since": timestamp(config.since), "until": timestamp(config.until)}
    options = {**rules, "minimum_karma": config.minimum_karma, "blacklist": blacklist.fingerprint}
    with exclusive(out, KIND):
        work = out / WORK
        if (built := find_finished(files, options, out, replace)) is not None:
            drop_work(work, config.keep_work)  # a kill may have come between the manifest and this
            return built
        read = read_dumps(files, rules, blacklist, work / READ, engine)
        check_dumps(files, read, config.maximum_errors)
        identity = identity_of(files, [receipt.result["raw_hash"] for receipt in read], options)
        if (built := finished(out, identity, replace)) is not None:  # a dump was touched, and is the same
            before = read_json(out / PROVENANCE) if (out / PROVENANCE).is_file() else {}
            write_text(out / PROVENANCE, to_json({**before, **provenance(files, read)}))
            drop_work(work, config.keep_work)
            return built
        summed = sum_runs(read, work, config.minimum_karma, engine)
        if is_artefact(out):
            clear(out)
        manifest = finish(files, read, summed, identity, out)
        drop_work(work, config.keep_work)
    return manifest


def drop_work(work: Path, keep_work: bool) -> None:
    """Delete what can be made again, unless it is to be kept."""
    for stage in () if keep_work else (READ, SUM):
        if (work / stage).is_dir():
            shutil.rmtree(work / stage)


def timestamp(date: str) -> int | None:
    """Seconds since 1970 of an ISO date, UTC where it does not say; None for "". Raises ConfigError."""
    if not date:
        return None
    try:
        moment = datetime.datetime.fromisoformat(date)
    except ValueError as error:
        raise ConfigError("expected a date like 2018-01-01", found=repr(date)) from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    return int(moment.timestamp())


def list_dumps(patterns: Sequence[str]) -> list[Dump]:
    """The dumps behind paths, globs and URLs, sorted. Raises InputError where there is none."""
    locations, folder = expand_inputs(patterns, Path()), common_folder(patterns, Path())
    prefix = "" if folder in ("", ".") else f"{folder}/"
    stamps = input_stamps(locations)
    return [
        Dump(location, as_text(location.removeprefix(prefix)), stamp)
        for location, stamp in zip(locations, stamps, strict=True)
    ]


def identity_of(files: Sequence[Dump], hashes: Sequence[str], options: dict[str, Any]) -> Manifest:
    """What the list is made by and from."""
    raw = [{"origin": file.origin, "hash": hash} for file, hash in zip(files, hashes, strict=True)]
    return Manifest(KIND, VERSION, STAGE, STAGE_VERSION, options, {"raw": raw}, ())


def find_finished(files: Sequence[Dump], options: dict[str, Any], out: Path, replace: bool) -> Manifest | None:
    """The list in `out` where its dumps have the sizes and times they had then: so no dump is read to find it."""
    if not is_artefact(out) or not (out / PROVENANCE).is_file():
        return None
    recorded = {entry["location"]: entry for entry in read_json(out / PROVENANCE).get("raw", [])}
    entries = [recorded.get(as_text(file.location)) for file in files]
    hashes = [
        entry["hash"] for file, entry in zip(files, entries, strict=True)
        if entry is not None and entry["stamp"] == file.stamp
    ]
    if len(hashes) < len(files):
        return None
    return finished(out, identity_of(files, hashes, options), replace)


def read_dumps(
    files: Sequence[Dump], rules: dict[str, Any], blacklist: Blacklist, folder: Path, engine: Engine
) -> list[Receipt]:
    """Read every dump; receipts in order of the files."""
    lists = {"domains": sorted(blacklist.domains), "extensions": sorted(blacklist.extensions)}
    tasks = [
        Task(
            f"{number:05d}", {"origin": file.origin, "rules": rules, "blacklist": blacklist.fingerprint},
            max(int(file.stamp["size"]), 1), file.stamp, {"location": file.location, **lists},
        )
        for number, file in enumerate(files)
    ]
    return run_tasks(READ, STAGE_VERSION, {}, tasks, read_dump, folder, engine, unit="B")


def check_dumps(files: Sequence[Dump], receipts: Sequence[Receipt], maximum_errors: float) -> None:
    """Stop where a dump is there twice, is no dump, or nothing is left. Raises InputError."""
    first: dict[str, Dump] = {}
    for file, receipt in zip(files, receipts, strict=True):
        same = first.setdefault(receipt.result["raw_hash"], file)
        if same is not file:
            raise InputError(
                "expected each dump once, since karma is summed", path=file.location,
                found=f"the content of {same.location}", cure="leave one of them out",
            )
        row = receipt.ledger.row(READ, SOURCE)
        lines, errors = max(row.incoming.documents, 1), row.other["quarantined"]
        if errors / lines > maximum_errors:
            first_error = "see work/read/*.quarantine.arrow; mend the file or raise --maximum-errors"
            raise InputError(
                f"expected at most {maximum_errors:.1%} unreadable lines", path=file.location,
                found=f"{errors} of {lines}", cure=first_error,
            )


def sum_runs(read: Sequence[Receipt], work: Path, minimum_karma: int, engine: Engine) -> list[Receipt]:
    """Sum all runs; receipts in order of hash."""
    links = sum(receipt.result["links"] for receipt in read)
    parts = number_of_parts(links)
    runs = [vars(receipt.files[0]) for receipt in read]
    tasks = [
        Task(
            f"{part:03d}",
            {
                "part": part, "first": part * BUCKETS // parts, "stop": (part + 1) * BUCKETS // parts,
                "minimum_karma": minimum_karma, "runs": runs,
            },
            context={"runs": str(work / READ)},
        )
        for part in range(parts)
    ]
    receipts = run_tasks(SUM, STAGE_VERSION, {}, tasks, sum_part, work / SUM, engine, unit="part")
    if not any(receipt.result["urls"] for receipt in receipts):
        raise InputError(
            f"expected URLs with a karma of {minimum_karma} or more", found=f"none among {links} links",
            cure="see the dropped lines' rules in work/read/receipts; other --since, --until, --minimum-karma",
        )
    return receipts


def finish(
    files: Sequence[Dump], read: Sequence[Receipt], summed: Sequence[Receipt], identity: Manifest, out: Path
) -> Manifest:
    """Join what the tasks made, and write the manifest."""
    ledger = Ledger()
    for receipt in (*read, *summed):
        ledger.merge(receipt.ledger)
    ledger.chain((READ, SUM))
    folder = out / WORK / SUM
    urls = write_wanted(out / WANTED, [folder / receipt.files[1].path for receipt in summed])
    listed = [receipt.files[0].path for receipt in summed]
    for stale in set(out.glob(ANY_PART)) - {out / name for name in listed}:  # of a run that was killed here
        stale.unlink()
    for name in listed:
        with atomic_path(out / name) as temporary:
            shutil.copyfile(folder / name, temporary)
    batches = (
        batch for receipt in read
        for batch in read_batches(out / WORK / READ / receipt.files[1].path, quarantine.SCHEMA)
    )
    write_table(out / quarantine.NAME, rebatch(batches), quarantine.SCHEMA)
    write_text(out / LEDGER, to_json(ledger.table()))
    facts = {"urls": urls, "submissions": ledger.row(SUM, SOURCE).incoming.documents, "parts": listed}
    records = record_files(out, [WANTED, *listed, quarantine.NAME, LEDGER])
    manifest = Manifest(
        KIND, VERSION, STAGE, STAGE_VERSION, identity.config, identity.inputs, records, facts, ledger
    )
    return write_manifest(out, manifest, provenance(files, read))


def provenance(files: Sequence[Dump], read: Sequence[Receipt]) -> dict[str, Any]:
    """By what the dumps are known again without reading them."""
    raw = [
        {"location": as_text(file.location), "stamp": file.stamp, "hash": receipt.result["raw_hash"]}
        for file, receipt in zip(files, read, strict=True)
    ]
    return {"raw": raw}
