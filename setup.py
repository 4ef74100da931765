"""Build of the native floor: Cython bindings over plain C11, kernels once per ISA.

``ALPHA_DEBUG=1`` builds with bounds checks and assertions; ``ALPHA_SANITIZE=address|thread`` adds a
sanitizer. Warnings of Cython and of the C compiler fail the build, and so do Cython's performance hints.
Builds with gcc and with clang, on Linux and macOS: what only one of them knows is tried, not guessed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import Cython.Compiler.Errors
import Cython.Compiler.Options


def _hint_is_error(position: Any, message: str, env: Any) -> None:
    if env.directives["show_performance_hints"]:
        Cython.Compiler.Errors.error(position, f"performance hint: {message}")


# Cython has a switch that makes warnings fail, but none for hints. The compiler's parts take this function
# by name when they are imported, which setuptools does too: so it is set before both.
Cython.Compiler.Errors.performance_hint = _hint_is_error
Cython.Compiler.Options.warning_errors = True

from Cython.Build import cythonize  # noqa: E402
from setuptools import Extension, setup  # noqa: E402
from setuptools.command.build_ext import build_ext  # noqa: E402
from setuptools.command.build_py import build_py  # noqa: E402

ROOT = Path(__file__).parent
DEBUG = os.environ.get("ALPHA_DEBUG", "") not in ("", "0")
SANITIZE = os.environ.get("ALPHA_SANITIZE", "")
# What is built for, not on. A universal macOS interpreter builds for both machines at once, so portable only.
X86 = sysconfig.get_platform().endswith(("x86_64", "amd64"))
MAC = sys.platform == "darwin"

INCLUDE = "alpha/_core/include"
HEADERS = sorted(str(p.relative_to(ROOT)) for p in (ROOT / INCLUDE).glob("*.h"))
# extension -> what is linked into it once per ISA
KERNELS = {"alpha._core.program": "alpha/_core/kernels.c", "alpha._core.plan": "alpha/_core/plan_kernels.c"}
ISAS = {"portable": []}
if X86:
    ISAS = {
        "portable": ["-march=x86-64"],
        "v3": ["-march=x86-64-v3"],
        "v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
    }

# gnu11: C11 with the system calls that pin threads. -ffp-contract=off: the numerics fix every rounding
# (docs/numerics.md). Never -ffast-math, never -march=native.
FLAGS = ["-std=gnu11", "-O1" if DEBUG else "-O3", "-g", "-ffp-contract=off", "-fno-strict-aliasing", "-pthread"]
KERNEL_FLAGS = ["-fno-math-errno", "-fno-trapping-math"]
# gcc would merge the jumps that end every operation of the feature program back into one; clang keeps them apart
IF_KNOWN = ["-fno-crossjumping", "-fno-gcse"]
WARNINGS = ["-Wall", "-Wextra", "-Werror"]
# what Cython's generated C is known to do; our own C is compiled without these exceptions
GENERATED = [
    "-Wno-unused-parameter",
    "-Wno-missing-field-initializers",
    "-Wno-unused-function",
    "-Wno-cast-function-type",
]
# what goes into a wheel holds no debugger's notes and no symbols, and with them no folder of the builder
SHIPPED = ["-g0"]
STRIPPED = ["-Wl,-x"] if MAC else ["-Wl,-s"]
MACROS: list[tuple[str, str | None]] = [("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")]
LINK = ["-pthread"]
if X86:
    MACROS.append(("ALPHA_X86", "1"))
if DEBUG:
    MACROS.append(("ALPHA_DEBUG", "1"))
    FLAGS.append("-UNDEBUG")  # the interpreter's own flags switch assert() off
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
    "show_performance_hints": not DEBUG,  # they would only tell that the checks cost time
    "warn.undeclared": False,
    "warn.unreachable": True,
}


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
        depends=[*HEADERS, *KERNELS.values(), "setup.py"],
    )


EXTENSIONS = [
    extension("ring"),
    extension("signal"),
    extension("tensor"),
    extension("guard", "m"),
    extension("log"),
    extension("model"),
    extension("program", "m"),
    extension("rows", "m"),
    extension("checks", "m"),
    extension("ort", "dl"),
    extension("plan", "m"),
    extension("pipeline", "m"),
    extension("seats", "m"),
    extension("worker", "m"),
]


class BuildExt(build_ext):
    """Compiles KERNELS once per ISA and links the objects into their extensions."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()  # pip and build give no number

    def run(self) -> None:
        # here, not when this file is read: a source distribution and the metadata need no C
        translated = {
            ext.name: ext
            for ext in cythonize(
                EXTENSIONS,
                compiler_directives=DIRECTIVES,
                include_path=["."],
                build_dir="build/cython-debug" if DEBUG else "build/cython",
                nthreads=0,
            )
        }
        for ext in self.extensions:
            ext.sources, ext.depends = translated[ext.name].sources, translated[ext.name].depends
        self.shipped = [] if self.inplace or DEBUG or SANITIZE else SHIPPED
        if self.shipped:
            for ext in self.extensions:
                ext.extra_compile_args = [*ext.extra_compile_args, *self.shipped]
                ext.extra_link_args = [*ext.extra_link_args, *STRIPPED]
        # objects of the other mode look up to date: only their flags differ
        stamp = ROOT / "build" / ("mode-inplace" if self.inplace else "mode-wheel")
        mode = f"debug={DEBUG} sanitize={SANITIZE}"
        if not stamp.is_file() or stamp.read_text() != mode:
            self.force = True
            stamp.unlink(missing_ok=True)
        super().run()
        stamp.parent.mkdir(exist_ok=True)
        stamp.write_text(mode)

    def build_extensions(self) -> None:
        self.known = [flag for flag in IF_KNOWN if self.takes(flag)]
        if self.shipped:  # an interpreter that somebody built at home hands on where its libraries lie
            self.compiler.linker_so = [word for word in self.compiler.linker_so if not word.startswith("-Wl,-rpath")]
        super().build_extensions()

    def takes(self, flag: str) -> bool:
        """Whether the compiler knows this flag."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "empty.c"
            source.write_text("extern int nothing;\n")
            command = [*self.compiler.compiler_so, "-Werror", flag, "-c", str(source), "-o", f"{source}.o"]
            return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def build_extension(self, ext: Extension) -> None:
        if ext.name in KERNELS:
            for isa, march in ISAS.items():
                ext.extra_objects += self.compiler.compile(
                    [KERNELS[ext.name]],
                    output_dir=str(Path(self.build_temp) / isa),
                    macros=[*MACROS, ("ALPHA_ISA", isa)],
                    include_dirs=[INCLUDE],
                    extra_postargs=[*FLAGS, *KERNEL_FLAGS, *self.known, *WARNINGS, *march, *self.shipped],
                    depends=ext.depends,
                )
        super().build_extension(ext)


class BuildPy(build_py):
    """Ships the committed registry and artifacts, so that ``alpha run`` works straight after install."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        if not (ROOT / "registry.json").is_file():
            raise SystemExit(
                "setup.py: no registry.json beside it; a wheel ships the committed registry and artifacts/"
            )
        target = Path(self.build_lib) / "alpha" / "_shipped"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        shutil.copy2(ROOT / "registry.json", target)
        shutil.copytree(ROOT / "artifacts", target / "artifacts")
        shutil.copytree(
            ROOT / "training" / "recipes", Path(self.build_lib) / "alpha_training" / "recipes", dirs_exist_ok=True
        )


setup(ext_modules=EXTENSIONS, cmdclass={"build_ext": BuildExt, "build_py": BuildPy})
