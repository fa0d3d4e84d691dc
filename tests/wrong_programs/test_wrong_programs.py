"""What the compiler says of programs that use the crate wrongly: each mistake has our sentence on what to write. Its other
words differ from version to version and are not looked at. No libtorch is needed: nothing is linked."""

import json
import os
import shutil
import subprocess
import unittest
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
# `make check-range` compiles the same dependencies.
TARGET = ROOT / "target" / "check-range" / "target"
# The mark behind a mistake; sentences begin behind it.
MARK = "//~ "


def printed(error):
    """All that is said of an error, but for the lines of the program that are shown with it: they hold the marks."""
    labels = [span["label"] or "" for span in error["spans"]]
    return "\n".join([error["message"], *labels, *(printed(child) for child in error["children"])])


def check(name):
    """What the compiler says of a program, and its errors as pairs: the lines that it points at, and its words."""
    # The versions that the workspace is tested with.
    shutil.copy(ROOT / "Cargo.lock", HERE / "Cargo.lock")
    cargo = os.environ.get("CARGO", "cargo")
    command = [cargo, "check", "--quiet", "--manifest-path", str(HERE / "Cargo.toml"), "--target-dir", str(TARGET)]
    done = subprocess.run([*command, "--bin", name, "--message-format", "json"], cwd=HERE, capture_output=True, text=True)
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    found = [message["message"] for message in messages if message["reason"] == "compiler-message"]
    errors = [error for error in found if error["level"] == "error" and error["spans"]]
    lines = [{span["line_start"] for span in error["spans"] if span["is_primary"]} for error in errors]
    return done, list(zip(lines, map(printed, errors)))


class WrongPrograms(unittest.TestCase):
    def test_each_mistake_has_our_sentence(self):
        lines = (HERE / "src" / "bin" / "wrong.rs").read_text().splitlines()
        wanted = {number: line.split(MARK)[1] for number, line in enumerate(lines, 1) if MARK in line}
        self.assertGreater(len(wanted), 20)
        done, errors = check("wrong")
        self.assertNotEqual(done.returncode, 0)
        for number, sentence in wanted.items():
            with self.subTest(line=lines[number - 1].strip()):
                self.assertIn(sentence, "\n".join(words for places, words in errors if number in places))
        unexpected = [words for places, words in errors if not places & wanted.keys()]
        self.assertEqual(unexpected, [], f"a line without a mark has an error\n{done.stderr}")

    def test_what_is_no_mistake_is_compiled(self):
        done, errors = check("right")
        self.assertEqual((done.returncode, errors), (0, []), done.stderr)


if __name__ == "__main__":
    unittest.main()
