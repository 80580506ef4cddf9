"""Where the files of this checkout lie."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
GOLDEN, HELPERS = ROOT / "tests/golden", ROOT / "tests/helpers"
HALVES = ("export", "runtime", "benchmarks")

MODULES = {
    *(f"aerocam/{path.relative_to(ROOT)}" for half in HALVES for path in (ROOT / half).rglob("*.py")),
    *(str(path.relative_to(ROOT / "src")) for path in (ROOT / "src/aerocam").glob("*.py")),
    *(
        str(path.relative_to(ROOT / "src"))
        for name in ("cli", "bundle")
        for path in (ROOT / "src/aerocam" / name).rglob("*.py")
    ),
}
"""Every source file, as a path inside the package."""

INSTALLED = {name for name in MODULES if not name.startswith("aerocam/benchmarks/studies/")}
"""Those of the wheel: all but the studies."""

DATA = {"aerocam/py.typed", "aerocam/runtime/video/recording/records.schema.json"}
"""Its further files."""
