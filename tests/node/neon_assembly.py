"""Prints the assembly that a micro-kernel becomes on an Arm processor, compiled on any machine.

``neon_assembly.py PROCESSOR FEATURES MODULE:NAME...``: the LLVM instructions that an intrinsic emits for 128-bit
vectors, compiled by LLVM alone. It takes a process of its own, because kernels look at the processor on import.
"""

import importlib
import os
import platform
import sys

import llvmlite.binding as llvm
from llvmlite import ir

TRIPLE = "aarch64-unknown-linux-gnu"
ARGUMENTS = {
    "tiles_f32": ("memory", 4, 5, "int", "int", "int", "floats", "words", "int"),
    "tiles_int8": ("memory", 4, 5, "int", "int", "int", 4, "words"),
    "sliding_int8": ("memory", 3, 4, 2, 3, 3, 3),
    "sweeps": ("memory", "memory", "memory", "int", "int"),
}
"""What the intrinsics of each module take: arrays of bytes or words, integers, tuples of integers, two floats."""


def kinds_of(module):
    from node.jit import types

    plain = {"memory": types.uint8[::1], "words": types.int64[::1], "int": types.int64}
    plain |= {"floats": types.UniTuple(types.float32, 2)}
    listed = ARGUMENTS[module.rsplit(".", 1)[-1]]
    return [types.UniTuple(types.int64, kind) if isinstance(kind, int) else plain[kind] for kind in listed]


def emitted(module, name):
    """Give an intrinsic as a function of its own, as LLVM text."""
    from numba.core.registry import cpu_target

    context, typing = cpu_target.target_context, cpu_target.typing_context
    kinds = kinds_of(module)
    signature, codegen = getattr(importlib.import_module(module), name)._defn(typing, *kinds)
    made = ir.Module(name)
    values = [context.get_value_type(kind) for kind in kinds]
    result = context.get_value_type(signature.return_type)
    function = ir.Function(made, ir.FunctionType(result, values), name)
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    builder.ret(codegen(context, builder, signature, function.args))
    made.triple = TRIPLE
    return str(made)


def assembly(text, processor, features):
    """Compile LLVM text as numba does: with every optimisation."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(TRIPLE).create_target_machine(cpu=processor, features=features, opt=3)
    module = llvm.parse_assembly(text)
    module.data_layout = str(machine.target_data)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = True
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return machine.emit_assembly(module)


def main():
    processor, features, *names = sys.argv[1:]
    os.environ["NUMBA_CPU_FEATURES"] = features
    platform.machine = lambda: "aarch64"
    for place in names:
        print(assembly(emitted(*place.split(":")), processor, features))


if __name__ == "__main__":
    main()
