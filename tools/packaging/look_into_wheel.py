"""What must be in a wheel and what must not: look_into_wheel.py WHEEL. Prints what is wrong, and exits 1."""

import re
import sys
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

# Which words a library's licence file is named by.
LICENCES = {
    "libdnnl": "libdnnl",
    "libgomp": "libgomp",
    "libonnx_proto": "libonnx",
    "libOpenCL": "ocl-icd",
    "libprotobuf": "libprotobuf",
    "libzstd": "libzstd",
}


def licence_faults(names: list[str], texts: dict[str, str]) -> Iterator[str]:
    def is_there(word: str) -> bool:
        return any(name.startswith(word) for name in texts)

    for library in (name for name in names if name.startswith("opt_partition.libs/") and ".so" in name):
        base = re.split(r"[-.]", Path(library).name)[0]
        if not is_there(LICENCES.get(base, base)):
            yield f"{library} has no licence"
    for word in ("LICENSE", "llvm", "libcli11"):
        if not is_there(word):
            yield f"no licence {word}*"
    for common in sorted({c for text in texts.values() for c in re.findall(r"/common-licenses/([\w.-]*\w)", text)}):
        if f"{common}.txt" not in texts:
            yield f"a licence refers to {common}, which is not there"


def faults(path: Path) -> Iterator[str]:
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        metadata = Parser().parsestr(wheel.read(next(n for n in names if n.endswith("dist-info/METADATA"))).decode())
        mode = wheel.getinfo("opt_partition/bin/opt-partition").external_attr >> 16
        licences = [name for name in names if "dist-info/licenses/" in name]
        texts = {Path(name).name: wheel.read(name).decode("utf-8", "replace") for name in licences}
    version = re.search(r"project\(opt-partition VERSION ([0-9.]+)", Path("CMakeLists.txt").read_text())
    if version is None or metadata["Version"] != version[1]:
        yield f"version {metadata['Version']}, CMakeLists.txt says {version and version[1]}"
    if not re.fullmatch(r"opt_partition-[0-9.]+-py3-none-manylinux_\d+_\d+_\w+\.whl", path.name):
        yield f"{path.name}: not for any system of its libc and every Python 3"
    if not mode & 0o100:
        yield "the program may not be executed"
    if any("mpi" in name.lower() for name in names):
        yield "something of MPI is inside"
    if "opt_partition/py.typed" not in names:
        yield "no py.typed"
    yield from licence_faults(names, texts)


if __name__ == "__main__":
    problems = list(faults(Path(sys.argv[1])))
    for problem in problems:
        print(f"{sys.argv[1]}: {problem}", file=sys.stderr)
    sys.exit(bool(problems))
