"""Coverage-guided fuzzing of what reads strangers' bytes: `python -m tests.fuzz.runner [TARGET ...] [--seconds N]`.

Needs the extra `fuzz` (atheris). Each target runs in a process of its own, one after the other; inputs that reach
something new are kept in `.cache/fuzz/TARGET`, and what is a bug in `.cache/fuzz/bugs`. `--minimise` then writes
`tests/fuzz/corpus`, which `test_corpus.py` replays: of all inputs known, as few as reach the same lines.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from random import Random

from tests.fuzz import corpus

ROOT = Path(__file__).parents[2]
FOUND = ROOT / ".cache/fuzz"
_LIBFUZZER = ("-max_len=8192", "-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1", "-use_value_profile=1")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--minimise", action="store_true", help="write tests/fuzz/corpus instead of fuzzing")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.only:
        _fuzz(chosen.only, chosen.seconds)
    names = chosen.targets or list(corpus.NAMES)
    if chosen.minimise:
        for name in names:
            print(name, *corpus.minimise(name, FOUND / name), flush=True)
        return 0
    return max(_run(name, chosen.seconds) for name in names)


def _run(name: str, seconds: int) -> int:
    command = [sys.executable, "-m", "tests.fuzz.runner", "--only", name, "--seconds", str(seconds)]
    print(f"=== {name}", flush=True)
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def _fuzz(name: str, seconds: int) -> None:
    """Does not return: libFuzzer ends the process, with 0 or with what a bug is worth."""
    import atheris

    with atheris.instrument_imports(include=["core", "data_plane"]):
        from tests.fuzz.mutate import mutated
        from tests.fuzz.targets import all_targets

        target = all_targets()[name]

    def mutator(data: bytes, most: int, seed: int) -> bytes:
        return mutated(data, Random(seed), lambda one: atheris.Mutate(one, most))[:most]

    kept, bugs = FOUND / name, FOUND / "bugs"
    kept.mkdir(parents=True, exist_ok=True)
    bugs.mkdir(exist_ok=True)
    corpus.sow(name, kept)
    arguments = [*_LIBFUZZER, f"-max_total_time={seconds}", f"-artifact_prefix={bugs}/{name}-", str(kept)]
    atheris.Setup(["fuzz", *arguments], target, custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
