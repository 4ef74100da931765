"""Build of the native floor: Cython bindings over plain C11, kernels once per ISA.

``ALPHA_DEBUG=1`` builds with bounds checks and assertions; ``ALPHA_SANITIZE=address|thread`` adds a
sanitizer. Warnings of Cython and of the C compiler fail the build.
"""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import Cython.Compiler.Options
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
DEBUG = os.environ.get("ALPHA_DEBUG", "") not in ("", "0")
SANITIZE = os.environ.get("ALPHA_SANITIZE", "")
X86 = platform.machine().lower() in ("x86_64", "amd64")

INCLUDE = "alpha/_core/include"
HEADERS = sorted(str(p.relative_to(ROOT)) for p in (ROOT / INCLUDE).glob("*.h"))
KERNELS = ["alpha/_core/kernels.c"]  # linked into alpha._core.program, once per ISA
ISAS = {"portable": []}
if X86:
    ISAS = {
        "portable": ["-march=x86-64"],
        "v3": ["-march=x86-64-v3"],
        "v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
    }

# -ffp-contract=off: the numerics fix every rounding (docs/numerics.md). Never -ffast-math, never -march=native.
FLAGS = ["-std=gnu11", "-O1" if DEBUG else "-O3", "-g", "-ffp-contract=off", "-fno-strict-aliasing", "-pthread"]
WARNINGS = ["-Wall", "-Wextra", "-Werror"]
# what Cython's generated C is known to do; our own C is compiled without these exceptions
GENERATED = [
    "-Wno-unused-parameter",
    "-Wno-missing-field-initializers",
    "-Wno-unused-function",
    "-Wno-cast-function-type",
]
MACROS: list[tuple[str, str | None]] = [("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")]
LINK = ["-pthread"]
if X86:
    MACROS.append(("ALPHA_X86", "1"))
if DEBUG:
    MACROS.append(("ALPHA_DEBUG", "1"))
if SANITIZE:
    FLAGS.append(f"-fsanitize={SANITIZE}")
    LINK.append(f"-fsanitize={SANITIZE}")

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": DEBUG,
    "initializedcheck": DEBUG,
    "nonecheck": DEBUG,
    "cdivision": True,
    "embedsignature": True,
    "freethreading_compatible": False,
    "show_performance_hints": True,
    "warn.undeclared": False,
    "warn.unreachable": True,
}
Cython.Compiler.Options.warning_errors = True


def extension(name: str, *libraries: str) -> Extension:
    """One binding, compiled from alpha/_core/<name>.pyx."""
    return Extension(
        f"alpha._core.{name}",
        [f"alpha/_core/{name}.pyx"],
        include_dirs=[INCLUDE],
        define_macros=MACROS,
        extra_compile_args=[*FLAGS, *WARNINGS, *GENERATED],
        extra_link_args=LINK,
        libraries=list(libraries),
        depends=[*HEADERS, *KERNELS],
    )


EXTENSIONS = [
    extension("ring"),
    extension("tensor"),
    extension("guard", "m"),
    extension("model"),
    extension("program", "m"),
    extension("rows", "m"),
    extension("ort", "dl"),
    extension("pipeline", "m"),
    extension("worker", "m"),
]


class BuildExt(build_ext):
    """Compiles KERNELS once per ISA and links the objects into alpha._core.program."""

    def build_extension(self, ext: Extension) -> None:
        if ext.name == "alpha._core.program":
            for isa, march in ISAS.items():
                ext.extra_objects += self.compiler.compile(
                    KERNELS,
                    output_dir=str(Path(self.build_temp) / isa),
                    macros=[*MACROS, ("ALPHA_ISA", isa)],
                    include_dirs=[INCLUDE],
                    extra_postargs=[*FLAGS, *WARNINGS, *march],
                    depends=ext.depends,
                )
        super().build_extension(ext)


class BuildPy(build_py):
    """Ships the committed registry and artifacts, so that ``alpha run`` works straight after install."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "alpha" / "_shipped"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        shutil.copy2(ROOT / "registry.json", target)
        shutil.copytree(ROOT / "artifacts", target / "artifacts")
        shutil.copytree(
            ROOT / "training" / "recipes", Path(self.build_lib) / "alpha_training" / "recipes", dirs_exist_ok=True
        )


setup(
    ext_modules=cythonize(
        EXTENSIONS,
        compiler_directives=DIRECTIVES,
        include_path=["."],
        build_dir="build/cython-debug" if DEBUG else "build/cython",
        nthreads=0,
    ),
    cmdclass={"build_ext": BuildExt, "build_py": BuildPy},
)
