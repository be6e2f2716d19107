"""Times for files that say what is in them, so that compiled kernels last as long as what they were compiled from.

numba takes compiled code for current when the source file has the time and size that it had then, and does not see
edits in files that it imports. Here a file's time is a hash of its text and of the text of all of the node that it
imports, directly or not. A kernel is then compiled anew for the guest when it has to be, and only then.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Mapping
from pathlib import Path

FIRST_S = 1_000_000_000
RANGE_S = 1_000_000_000
"""Such times lie between 2001 and 2033, which every file system can hold."""


def stamps(files: Mapping[str, Path]) -> dict[str, int]:
    """Give the time of each file in seconds since 1970.

    Parameters
    ----------
    files : mapping of str to Path
        Python files by their path below the folder of packages (``node/jit.py``).
    """
    texts = {name: path.read_bytes() for name, path in files.items()}
    imports = {name: _imports(text, texts) for name, text in texts.items()}
    return {name: _stamp(name, texts, imports) for name in texts}


def _imports(text: bytes, known: Mapping[str, bytes]) -> frozenset[str]:
    """Give the files among ``known`` that a module imports by absolute names."""
    modules: set[str] = set()
    for part in ast.walk(ast.parse(text)):
        if isinstance(part, ast.Import):
            modules.update(alias.name for alias in part.names)
        elif isinstance(part, ast.ImportFrom) and part.module and not part.level:
            modules.add(part.module)
            modules.update(f"{part.module}.{alias.name}" for alias in part.names)
    paths = {module.replace(".", "/") for module in modules}
    return frozenset(name for path in paths for name in (f"{path}.py", f"{path}/__init__.py") if name in known)


def _stamp(name: str, texts: Mapping[str, bytes], imports: Mapping[str, frozenset[str]]) -> int:
    reached, waiting = {name}, [name]
    while waiting:
        new = imports[waiting.pop()] - reached
        reached |= new
        waiting.extend(new)
    digest = hashlib.sha256()
    for path in sorted(reached):
        digest.update(path.encode() + b"\0" + texts[path] + b"\0")
    return FIRST_S + int.from_bytes(digest.digest()[:8], "big") % RANGE_S
