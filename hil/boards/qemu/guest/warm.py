"""Compiles the kernels of the modules named, then prints every file that this process imported."""

import sys

from node.compiling import warm_up

warm_up(None, sys.argv[1:])
for module in list(sys.modules.values()):
    if (getattr(module, "__file__", None) or "").endswith(".py"):
        print(module.__file__)
