#!/usr/bin/python3
"""Builds the fuzz targets (clang, libFuzzer, AddressSanitizer, UBSan) in build-fuzz and runs each for a fixed time.

Each target starts from its corpus in tests/fuzz/corpus/<target>/ and from what earlier runs found
(build-fuzz/corpus/<target>/). Prints one line per target; the exit code is 1 when a target found something.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = ROOT / "tests" / "fuzz"


def build(folder):
    if not (folder / "build.ninja").exists():
        configure = ["meson", "setup", str(folder), "-Dfuzzers=true", "-Db_sanitize=address,undefined",
                     "-Db_lundef=false", "-Doptimization=1"]
        subprocess.run(configure, cwd=ROOT, env=dict(os.environ, CC="clang"), check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", str(folder), "-j", "2", "--quiet", "fuzzers"], check=True)


def run(target, folder, seconds):
    """Runs one target; returns (count of executions, coverage, problem or None)."""
    found = folder / "corpus" / target
    artifacts = folder / "findings"
    found.mkdir(parents=True, exist_ok=True)
    artifacts.mkdir(exist_ok=True)
    command = [str(folder / "tests" / "fuzz" / target), str(found)]
    seeds = SOURCES / "corpus" / target
    if seeds.is_dir():
        command.append(str(seeds))
    command += [f"-max_total_time={seconds}", "-print_final_stats=1", "-timeout=10", "-rss_limit_mb=1024",
                f"-artifact_prefix={artifacts}/{target}-"]
    dictionary = SOURCES / f"{target}.dict"
    if dictionary.exists():
        command.append(f"-dict={dictionary}")
    environment = dict(os.environ, UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1")
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                          errors="replace", timeout=seconds + 120)
    count = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
    coverage = re.findall(r"cov: (\d+)", done.stderr)
    problem = None
    if done.returncode != 0:
        artifact = re.search(r"Test unit written to (\S+)", done.stderr)
        problem = "\n".join([line for line in done.stderr.splitlines() if not line.startswith("#")][-60:])
        if artifact:
            problem += f"\nrepeat with: {command[0]} {artifact.group(1)}"
    return int(count.group(1)) if count else 0, coverage[-1] if coverage else "-", problem


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=20, help="time for each target")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="targets at the same time")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build-fuzz", help="folder to build in")
    parser.add_argument("targets", nargs="*", help="all of them when none is named: fuzz_resp_request …")
    options = parser.parse_args()
    every = sorted(path.stem for path in SOURCES.glob("fuzz_*.c"))
    unknown = set(options.targets) - set(every)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are: {', '.join(every)}")
    build(options.build)
    targets = options.targets or every
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        runs = {target: pool.submit(run, target, options.build, options.seconds) for target in targets}
        for target, result in runs.items():
            count, coverage, problem = result.result()
            failed += problem is not None
            print(f"{target:<24} {count:>10} runs  {coverage:>6} edges  {'FAILED' if problem else 'ok'}", flush=True)
            if problem:
                print(problem, file=sys.stderr)
    print(f"{len(targets) - failed} fuzz targets passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
