"""Import it before rbt: where rbt is not installed, as on a bare GPU image, it is that of this checkout."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if importlib.util.find_spec("rbt") is None:
    sys.path.insert(0, str(ROOT))
