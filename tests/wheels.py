"""Small wheels that pip takes for real ones."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path


def write_wheel(folder: Path, name: str, version: str, tag: str, tree: Iterable[Path] = ()) -> Path:
    """Write a wheel that holds the Python files of ``tree`` (packages), and give its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    interpreter, abi, platform = tag.split("-")
    tags = "".join(f"Tag: {each}-{abi}-{platform}\n" for each in interpreter.split("."))
    with zipfile.ZipFile(path, "w") as wheel:
        for package in tree:
            for source in package.rglob("*.py"):
                wheel.write(source, source.relative_to(package.parent))
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n"
        )
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n{tags}")
        wheel.writestr(f"{info}/RECORD", "")
    return path
