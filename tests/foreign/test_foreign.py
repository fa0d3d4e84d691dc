"""A program outside the workspace that follows the README to the letter: how the crate behaves in a dev profile that knows
nothing of it, where it is compiled without optimisation, and with the two lines that the README gives. No timing is checked."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
TARGET = ROOT / "target" / "foreign"
OPTIMISED = ["--config", 'profile.dev.package.tch-tensorboard.opt-level=3']
STEPS = 60


def blocks(language):
    """The blocks of the README in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def build(arguments):
    """The program, built in a target folder of its own, which the next run of the tests finds again."""
    # The versions that the workspace is tested with.
    shutil.copy(ROOT / "Cargo.lock", HERE / "Cargo.lock")
    cargo = os.environ.get("CARGO", "cargo")
    command = [cargo, "build", "--quiet", "--manifest-path", str(HERE / "Cargo.toml"), "--target-dir", str(TARGET)]
    subprocess.run([*command, *arguments], cwd=HERE, check=True)
    return TARGET / "debug" / "foreign"


class Foreign(unittest.TestCase):
    def run_program(self, program, **environment):
        """What a training run says: the report, stderr, the numbers of the last line, and the sizes of its event files."""
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            done = subprocess.run(
                [program, run, str(STEPS), "tiny"],
                env={**os.environ, **environment},
                capture_output=True,
                text=True,
                check=True,
            )
            files = [file.stat().st_size for file in run.glob("*tfevents*")]
        *report, last = done.stdout.splitlines()
        return "\n".join(report), done.stderr, [float(number) for number in last.split()[1:]], files

    def test_the_files_are_those_of_the_readme(self):
        script = next(block for block in blocks("rust,no_run") if "DEP_TCH_LIBTORCH_LIB" in block)
        self.assertEqual((HERE / "build.rs").read_text(), script)
        manifest = (HERE / "Cargo.toml").read_text()
        block = next(block for block in blocks("toml") if "[dependencies]" in block)
        wanted = re.search(r'^tch = "[^"]+"', block, re.MULTILINE).group()
        self.assertIn(wanted, manifest)
        self.assertIn("[profile.dev.package.tch-tensorboard]\nopt-level = 3", block)

    def test_a_dev_build_learns_and_names_the_two_lines_once(self):
        report, stderr, numbers, files = self.run_program(build([]))
        advice = [line for line in stderr.splitlines() if "[profile.dev.package.tch-tensorboard]" in line]
        self.assertEqual(len(advice), 1, stderr)
        self.assertIn("opt-level = 3", advice[0])
        self.assertIn("6 variables: 6 learning", report)
        self.assertIn("note: tch-tensorboard is compiled without optimisation", report)
        self.assertEqual(len(files), 1)
        self.assertGreater(files[0], 10_000)
        self.assertGreater(numbers[2], 0, "the writer has computed nothing")

    def test_a_dev_build_with_the_two_lines_says_nothing(self):
        report, stderr, _, files = self.run_program(build(OPTIMISED))
        self.assertEqual(stderr, "")
        self.assertIn("6 variables: 6 learning", report)
        self.assertNotIn("optimisation", report)
        self.assertEqual(len(files), 1)

    def test_a_program_that_logs_nothing_has_no_run(self):
        report, stderr, numbers, files = self.run_program(build(OPTIMISED), TCH_TENSORBOARD="off")
        self.assertEqual((report, stderr, files), ("", "", []))
        self.assertEqual(numbers[2:], [0, 0, 0, 0])


if __name__ == "__main__":
    unittest.main()
