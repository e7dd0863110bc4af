"""Run by test_launch.py, once a rank: meetings of all ranks until something ends them."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from rbt.trainer.distributed import join
from rbt.trainer.speaking import saying_once


def meet(patience: float, folder: Path) -> None:
    """Meet 20 times a second; a file says that the ranks do."""
    with saying_once(), join("cpu", patience) as world:
        for step in range(1, 10_000):
            world.reach(step)
            world.sum([1.0])
            (folder / f"meeting-{world.rank}").touch()
            time.sleep(0.05)


if __name__ == "__main__":
    try:
        meet(float(sys.argv[1]), Path(sys.argv[2]))
    except Exception as error:
        sys.stderr.write(f"Error: {error}\n")
        sys.exit(2)
