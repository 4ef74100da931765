"""``./dev bench --against REV``: is this tree slower than that revision? Built side by side, measured in one job.

Timing two builds one after the other measures the neighbours of a shared machine. Here both builds serve as waiting
processes on one processor and are asked for one short block after the other in random order, so that what disturbs
one disturbs the other. The place of code in memory alone can make a build a few percent faster or slower: so each
side is linked several times, with its objects in another order behind padding of another size, and a side's time is
the mean over its links. What the same side's links differ by among themselves (A/A) is the yardstick for what the
sides differ by. Instructions are counted beside the time where the machine lets us.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.against_block import BLOCK

HEAD = Path(__file__).resolve().parents[1]
LINKS = 3  # per side
ROUNDS = 60  # at a time
MOST_ROUNDS = 480
ENOUGH = 0.012  # standard error with which 10 % cannot be missed: no more rounds
FLOOR = 0.005  # standard error that no measurement here goes below
MARGIN = 0.03  # what is not worth an alarm
SIGMAS = 3.3  # one-sided 1 in 2,000
WITNESS = 0.02  # more instructions by this share are an alarm of their own
EVENTS = 120_000
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """One workload. ``slower``: head / base − 1 by time; ``error``: its standard error, from rounds and from links;
    ``instructions``: the same by instructions, None where they are not counted; ``alarm``: head is slower."""

    workload: str
    base_ns: float
    head_ns: float
    slower: float
    error: float
    instructions: float | None
    alarm: bool


def judge(name: str, base: Floats, head: Floats, instructions: tuple[float, float] | None) -> Verdict:
    """``base``, ``head``: ns per item [links, rounds], rounds interleaved. The difference of logarithms is taken round
    by round, so that a slow round cancels; its median over the rounds is the estimate. The error adds what rounds and
    what links scatter: differences between links of one side are differences of nothing but layout."""
    links = base.shape[0]
    by_round = np.log(head).mean(axis=0) - np.log(base).mean(axis=0)
    estimate = float(np.median(by_round))
    scatter = 1.4826 * float(np.median(np.abs(by_round - estimate)))
    of_rounds = 1.2533 * scatter / math.sqrt(by_round.size)
    # what links of one side differ by beyond what their own rounds scatter
    layout = 0.0
    if links > 1:
        for side in (base, head):
            own = np.log(side) - np.log(side).mean(axis=0)
            middle = np.median(own, axis=1)
            noise = (1.2533 * 1.4826 * np.median(np.abs(own - middle[:, None]), axis=1)) ** 2 / own.shape[1]
            layout += max(0.0, float(middle.var(ddof=1) - noise.mean()))
    error = math.sqrt(of_rounds**2 + layout / links + FLOOR**2)
    more = None if instructions is None else instructions[1] / instructions[0] - 1.0
    alarm = estimate - SIGMAS * error > math.log1p(MARGIN) or (more is not None and more > WITNESS)
    return Verdict(
        name,
        float(np.exp(np.median(np.log(base)))),
        float(np.exp(np.median(np.log(head)))),
        math.expm1(estimate),
        error,
        more,
        alarm,
    )


class Side:
    """A waiting process that serves one linked build."""

    def __init__(self, tree: Path, inputs: Sequence[str], cpu: int) -> None:
        command = [sys.executable, str(HEAD / "bench" / "against_block.py"), str(tree), *inputs, str(cpu)]
        env = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=env
        )
        line = self._read()
        found = json.loads(line)
        self.workloads: list[str] = found["workloads"]
        self.missing: dict[str, str] = found["missing"]

    def _read(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"bench: a measured process ended with exit code {self.process.wait()}")
        return line

    def block(self, name: str, items: int) -> tuple[int, int]:
        """(ns, instructions) of one block."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{name} {items}\n")
        ns, instructions = self._read().split()
        return int(ns), int(instructions)

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)


def compare(
    base: Sequence[Side], head: Sequence[Side], rounds: int, seed: int, plant: float = 0.0
) -> tuple[list[Verdict], dict[str, str]]:
    """Interleaved rounds over all links of both sides; verdicts, and what one of them cannot do.
    ``plant``: head gets so much more work in every block, which has to be found."""
    rng = random.Random(seed)
    sides = [*base, *head]
    missing = {name: why for side in sides for name, why in side.missing.items()}
    verdicts = []
    for name in [w for w in head[0].workloads if w not in missing]:
        times, counts = np.empty((len(sides), 0)), np.empty((len(sides), 0))
        while times.shape[1] < MOST_ROUNDS:
            more = [_round(name, sides, len(base), rng, plant) for _ in range(rounds + 2)][2:]
            times = np.hstack([times, np.array([m[0] for m in more]).T])
            counts = np.hstack([counts, np.array([m[1] for m in more]).T])
            n = len(base)
            witness = None
            if (counts > 0).all():
                witness = float(np.median(counts[:n])), float(np.median(counts[n:]))
            verdict = judge(name, times[:n], times[n:], witness)
            if verdict.error <= ENOUGH:
                break
        verdicts.append(verdict)
    return verdicts, missing


def _round(
    name: str, sides: Sequence[Side], n_base: int, rng: random.Random, plant: float
) -> tuple[list[float], list[float]]:
    """One block of every side in random order: ns and instructions an item."""
    plain = BLOCK // 4 if name == "model" else BLOCK  # a call of ONNX Runtime is long
    ns, counted = [0.0] * len(sides), [0.0] * len(sides)
    for s in rng.sample(range(len(sides)), len(sides)):
        spent, instructions = sides[s].block(name, plain if s < n_base else round(plain * (1.0 + plant)))
        ns[s], counted[s] = spent / plain, instructions / plain
    return ns, counted


def _run(command: Sequence[str], cwd: Path, log: Path, env: dict[str, str] | None = None) -> None:
    with log.open("ab") as out:
        code = subprocess.run(command, cwd=cwd, stdout=out, stderr=out, env={**os.environ, **(env or {})}).returncode
    if code:
        raise SystemExit(f"bench: {' '.join(command[:4])} … failed; everything is in {log}")


def checkout(revision: str, into: Path) -> str:
    """The revision's files in a folder of their own; its full hash."""
    git = ["git", "-C", str(HEAD)]
    found = subprocess.run([*git, "rev-parse", "--verify", f"{revision}^{{commit}}"], capture_output=True, text=True)
    if found.returncode:
        raise SystemExit(f"bench: {revision!r} names no commit of this repository")
    sha = found.stdout.strip()
    archive = subprocess.run([*git, "archive", sha], capture_output=True, check=True).stdout
    into.mkdir(parents=True)
    subprocess.run(["tar", "-x", "-C", str(into)], input=archive, check=True)
    return sha


def build(tree: Path, links: int, seed: int, work: Path) -> list[Path]:
    """Compile a tree once, then link it ``links`` times in different orders; a folder with a package ``alpha`` each."""
    log, record = work / "log", work / "links"
    linker = f"{sys.executable} {HEAD / 'bench' / 'link_order.py'} {record}"
    _run(
        [sys.executable, "setup.py", "build_ext", "--build-temp", str(work / "temp"), "--build-lib", str(work / "lib")],
        tree,
        log,
        {"LDSHARED": f"{linker} {os.environ.get('CC', 'gcc')} -shared -pthread"},
    )
    commands = [json.loads(line) for line in record.read_text().splitlines()]
    out = []
    for k in range(links):
        rng = random.Random(seed * 1000 + k)
        folder = work / f"link{k}"
        shutil.copytree(tree / "alpha", folder / "alpha", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        pad = work / f"pad{k}.o"
        source = f'.text\n.skip {rng.randrange(1, 256) * 16}, 0x90\n.section .note.GNU-stack,"",@progbits\n'
        subprocess.run(["cc", "-x", "assembler", "-c", "-", "-o", str(pad)], input=source, text=True, check=True)
        for command in commands:
            target = Path(command[command.index("-o") + 1])
            objects = [c for c in command if c.endswith(".o")]
            rest = [c for c in command if not c.endswith(".o")]
            rng.shuffle(objects)
            rest[rest.index("-o") + 1] = str(folder / "alpha" / "_core" / target.name)
            at = rest.index("-o")
            _run([*rest[:at], str(pad), *objects, *rest[at:]], tree, log)
        out.append(folder)
    return out


def inputs(work: Path) -> list[str]:
    """Events for all sides: quotes and trades, five levels of a book, and the artifact that is run."""
    from alpha.data.simulate import simulate

    files = []
    for name, levels in (("events", 1), ("levels", 5)):
        files.append(str(work / f"{name}.npy"))
        np.save(files[-1], simulate(EVENTS, seed=11, levels=levels).events[:EVENTS])
    return [*files, str(HEAD / "artifacts" / "demo" / "v1")]


def _show(verdicts: Sequence[Verdict], missing: dict[str, str]) -> None:
    from alpha.cli import show

    show.table(
        "head against base: an alarm needs more than chance and layout explain",
        ("workload", "base ns", "head ns", "slower", "± error", "instructions", "alarm"),
        [
            (
                v.workload,
                round(v.base_ns, 1),
                round(v.head_ns, 1),
                f"{100 * v.slower:+.1f} %",
                f"{100 * v.error:.1f} %",
                "not counted here" if v.instructions is None else f"{100 * v.instructions:+.2f} %",
                v.alarm,
            )
            for v in verdicts
        ],
    )
    for name, why in missing.items():
        print(f"{name} is left out: one side cannot run it ({why})")


def main(argv: Sequence[str] | None = None) -> int:
    """Exit 1 on an alarm."""
    parser = argparse.ArgumentParser(prog="dev bench --against", description=__doc__)
    parser.add_argument("revision", metavar="REV", help="a commit, tag or branch to compare this tree with")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds at a time, at most {MOST_ROUNDS} in all")
    parser.add_argument("--links", type=int, default=LINKS, help="how often each side is linked")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--calibrate", type=int, metavar="N", help="N comparisons of the revision with itself: alarms?")
    parser.add_argument(
        "--plant", type=float, default=0.0, metavar="SHARE", help="slow head down by so much; 0.1 = 10 %%"
    )
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    cpu = max(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="alpha-against-") as folder:
        work = Path(folder)
        checkout(args.revision, work / "base-tree")
        print("building both sides", file=sys.stderr)
        (work / "base").mkdir()
        (work / "head").mkdir()
        links = args.links * (2 if args.calibrate else 1)
        trees = [build(work / "base-tree", links, args.seed, work / "base")]
        if not args.calibrate:
            trees.append(build(HEAD, links, args.seed + 7, work / "head"))
        files = inputs(work)
        sides = [[Side(tree, files, cpu) for tree in side] for side in trees]
        try:
            if args.calibrate:
                return _calibrate(sides[0], args)
            verdicts, missing = compare(sides[0], sides[1], args.rounds, args.seed, args.plant)
        finally:
            for side in [s for group in sides for s in group]:
                side.close()
    if args.json:
        print(json.dumps({"schema": "alpha/against/1", "verdicts": [asdict(v) for v in verdicts], "missing": missing}))
    else:
        _show(verdicts, missing)
    return 1 if any(v.alarm for v in verdicts) else 0


def _calibrate(sides: Sequence[Side], args: argparse.Namespace) -> int:
    """How often the gate cries over nothing, or finds what was planted."""
    rng = random.Random(args.seed)
    alarms = 0
    largest: dict[str, float] = {}
    errors: dict[str, list[float]] = {}
    for k in range(args.calibrate):
        picked = rng.sample(list(sides), len(sides))
        half = len(sides) // 2
        verdicts, _ = compare(picked[:half], picked[half:], args.rounds, args.seed + k, args.plant)
        alarms += any(v.alarm for v in verdicts)
        for v in verdicts:
            largest[v.workload] = max(largest.get(v.workload, -1.0), v.slower)
            errors.setdefault(v.workload, []).append(v.error)
        print(f"\r{k + 1} of {args.calibrate}: {alarms} alarms", end="", file=sys.stderr)
    print(file=sys.stderr)
    print(
        json.dumps(
            {
                "schema": "alpha/against-calibration/1",
                "runs": args.calibrate,
                "planted": args.plant,
                "alarms": alarms,
                "largest_slower": largest,
                "median_error": {name: float(np.median(e)) for name, e in errors.items()},
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
