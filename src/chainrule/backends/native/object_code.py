"""LLVM IR to object code, and object code to functions in memory."""

from __future__ import annotations

from collections.abc import Iterable

import llvmlite.binding as llvm

from .processor import Target, host


def _machine(target: Target) -> llvm.TargetMachine:
    host()  # initialises the native target; `cross` did so for the others
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, reloc="pic", codemodel="small"
    )


# Of LLVM's pipeline for loops. At 2 and 3 a first step takes up to 13 % longer, and only the floor
# division of whole numbers gains, a tenth: elements are computed and loaded once in the IR already.
# Vectorisers run at each level.
LOOPS = 1


def _parsed(text: str, machine: llvm.TargetMachine) -> llvm.ModuleRef:
    """The module after verification."""
    module = llvm.parse_assembly(text)
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    module.verify()
    return module


def _optimised(text: str, machine: llvm.TargetMachine, level: int = LOOPS) -> llvm.ModuleRef:
    """The module after LLVM's pipeline of a level."""
    module = _parsed(text, machine)
    options = llvm.create_pipeline_tuning_options(speed_level=level)
    options.loop_vectorization = options.slp_vectorization = True
    # A loop that is written out before the vectoriser sees it is often not vectorised any more.
    options.loop_interleaving, options.loop_unrolling = True, False
    builder = llvm.create_pass_builder(machine, options)
    passes = builder.getModulePassManager()
    passes.run(module, builder)
    _free_passes(passes)
    return module


def _free_passes(passes: llvm.newpassmanagers.NewPassManager) -> None:
    """Free a pass manager: 60 to 300 kB with what its passes hold.

    In llvmlite 0.50 its class inherits `_dispose` from the wrong base, so close() frees nothing.
    """
    if type(passes)._dispose is not llvm.ffi.ObjectRef._dispose:
        passes.close()
        return
    llvm.newpassmanagers.NewPassManager._dispose(passes)
    passes.detach()


def compile_ir(text: str, target: Target, level: int = LOOPS, vectors: str = "") -> bytes:
    """LLVM IR to object code. Only operations that carry `contract` may be fused (FMA).

    level    of LLVM's pipeline: 0 for a module that has nothing to gain from it
    vectors  another module, written as vectors: the pipeline would take as long as making its code,
             and no step would be faster
    """
    machine = _machine(target)
    module = _optimised(text, machine, level)
    if vectors:
        module.link_in(_parsed(vectors, machine))
    return bytes(machine.emit_object(module))


def assembly(text: str, target: Target) -> str:
    """What `compile_ir` makes, as text to be read."""
    machine = _machine(target)
    return str(machine.emit_assembly(_optimised(text, machine)))


class Library:
    """Functions in memory for as long as this object lives."""

    def __init__(self, object_code: bytes, names: Iterable[str]) -> None:
        self.names = frozenset(names)
        for name in self.names:  # LLVM would end the process when asked for one that is not there
            if name.encode() + b"\0" not in object_code:
                raise KeyError(name)
        # JITLink puts code beside its constants, as the small code model needs.
        self._jit = llvm.create_lljit_compiler(_machine(host()), use_jit_link=True)
        library = llvm.JITLibraryBuilder().add_current_process().add_object_img(object_code)
        for name in self.names:
            library.export_symbol(name)
        self._tracker = library.link(self._jit, "program")

    def address(self, name: str) -> int:
        """Where the function begins, for ctypes."""
        if name not in self.names:
            raise KeyError(name)
        return int(self._tracker[name])


def load(object_code: bytes, names: Iterable[str]) -> Library:
    """Object code made for this processor -> its functions of these names."""
    return Library(object_code, names)
