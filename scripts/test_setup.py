"""The choices of scripts/setup, in checkouts that are empty but for its inputs, with Pythons that only say what they hold."""

import contextlib
import importlib.machinery
import importlib.util
import io
import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

HERE = Path(__file__).resolve().parent


def load_setup():
    loader = importlib.machinery.SourceFileLoader("setup_script", str(HERE / "setup"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("setup_script", loader))
    loader.exec_module(module)
    return module


setup = load_setup()
TENSORBOARD = {"tensorboard": "2.21.0", "tensorboard-data-server": "0.7.2", "numpy": "2.0.0"}


def make_libtorch(folder, version="2.13.0"):
    (folder / "include" / "torch").mkdir(parents=True)
    (folder / "lib").mkdir()
    (folder / "lib" / "libtorch.so").touch()
    (folder / "version.py").write_text(f"__version__ = '{version}+cu130'\n")
    return folder


def make_python(path, torch=None, releases=()):
    """A program that answers setup's question as a Python would that has these packages."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"torch-folder {torch or ''}"] + [f"{name} {release}" for name, release in dict(releases).items()]
    path.write_text("#!/bin/sh\ncat <<'END'\n" + "\n".join(lines) + "\nEND\n")
    path.chmod(0o755)
    return path


class Checkout(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name).resolve() / "checkout"
        self.elsewhere = Path(folder.name).resolve() / "elsewhere"
        self.root.mkdir()
        for name in ("requirements.txt", "constraints.txt"):
            (self.root / name).write_text((HERE.parent / name).read_text())
        self.venv = self.root / ".venv"
        self.config = self.root / ".cargo" / "config.toml"
        self.installed = []
        self.active = make_python(self.elsewhere / "bin" / "python3")
        tests = self

        def install(venv, with_torch):
            """What `python -m venv` and pip do, as far as setup can tell."""
            tests.installed.append("torch" if with_torch else "tensorboard")
            torch = make_libtorch(venv.folder / "lib" / "site-packages" / "torch") if with_torch else None
            make_python(venv.folder / "bin" / "python", torch, TENSORBOARD)

        patch = mock.patch.object(setup.Venv, "install", install)
        patch.start()
        self.addCleanup(patch.stop)

    def run_setup(self, **environment):
        environment.setdefault("CXX", "sh")
        with mock.patch.object(setup.sys, "executable", str(self.active)):
            with mock.patch.object(setup.shutil, "which", lambda name: None if name == "absent" else name):
                with contextlib.redirect_stdout(io.StringIO()) as said:
                    setup.set_up(self.root, environment)
        return said.getvalue()

    def refused(self, wanted, **environment):
        with self.assertRaisesRegex(setup.SetupError, wanted):
            self.run_setup(**environment)


class MadeEnvironment(Checkout):
    def test_bare_clone(self):
        self.run_setup()
        self.assertEqual(self.installed, ["torch"])
        self.assertIn('LIBTORCH = { value = ".venv/libtorch", relative = true }', self.config.read_text())
        self.assertEqual(os.readlink(self.venv / "libtorch"), "lib/site-packages/torch")
        self.assertTrue((self.venv / "libtorch" / "lib" / "libtorch.so").exists())

    def test_nothing_to_do_the_second_time(self):
        self.run_setup()
        before = (self.config.stat().st_mtime_ns, self.config.read_text())
        self.run_setup()
        self.assertEqual(self.installed, ["torch"])
        self.assertEqual(before, (self.config.stat().st_mtime_ns, self.config.read_text()))

    def test_changed_requirements(self):
        for name in ("requirements.txt", "constraints.txt"):
            self.run_setup()
            with open(self.root / name, "a") as file:
                file.write("# changed\n")
            self.installed.clear()
            self.run_setup()
            self.assertEqual(self.installed, ["torch"], name)

    def test_interrupted(self):
        install = setup.Venv.install

        def cut_off(venv, with_torch):
            install(venv, with_torch)
            raise KeyboardInterrupt

        with mock.patch.object(setup.Venv, "install", cut_off), self.assertRaises(KeyboardInterrupt):
            self.run_setup()
        self.assertFalse(self.config.exists())
        self.installed.clear()
        self.run_setup()
        self.assertEqual(self.installed, ["torch"])
        self.assertTrue(self.config.exists())

    def test_an_installation_that_went_wrong_unnoticed(self):
        def install_nothing(venv, with_torch):
            make_python(venv.folder / "bin" / "python")

        with mock.patch.object(setup.Venv, "install", install_nothing):
            self.refused("lacks what it installed")
        self.run_setup()

    def test_its_base_python_is_gone(self):
        self.run_setup()
        (self.venv / "bin" / "python").unlink()
        (self.venv / "bin" / "python").symlink_to("/nonexistent/python3")
        self.run_setup()
        self.assertEqual(self.installed, ["torch", "torch"])

    def test_torch_is_added_when_the_callers_is_gone(self):
        libtorch = make_libtorch(self.elsewhere / "libtorch")
        self.run_setup(LIBTORCH=str(libtorch))
        self.assertEqual(self.installed, ["tensorboard"])
        self.run_setup()
        self.assertEqual(self.installed, ["tensorboard", "torch"])


class ThereAlready(Checkout):
    def test_libtorch_variable(self):
        libtorch = make_libtorch(self.elsewhere / "libtorch")
        said = self.run_setup(LIBTORCH=str(libtorch))
        self.assertIn(f"LIBTORCH={libtorch}", said)
        self.assertFalse(self.config.exists())
        self.assertFalse((self.venv / "libtorch").exists())

    def test_libtorch_variable_that_is_wrong(self):
        self.refused("not an absolute path", LIBTORCH="libtorch")
        self.refused("holds no libtorch", LIBTORCH=str(self.elsewhere))
        old = str(make_libtorch(self.elsewhere / "old", "2.12.1"))
        self.refused(r"2\.12\.1.*2\.13\.0", LIBTORCH=old)
        self.run_setup(LIBTORCH=old, LIBTORCH_BYPASS_VERSION_CHECK="1")

    def test_unpacked_libtorch_tells_its_version_in_a_file(self):
        libtorch = make_libtorch(self.elsewhere / "libtorch")
        (libtorch / "build-version").write_text("2.11.0+cpu\n")
        self.refused(r"2\.11\.0", LIBTORCH=str(libtorch))

    def test_pytorch_variable(self):
        torch = make_libtorch(self.elsewhere / "site-packages" / "torch")
        make_python(self.active, torch)
        with mock.patch.dict(os.environ, PATH=f"{self.active.parent}:{os.environ['PATH']}"):
            said = self.run_setup(LIBTORCH_USE_PYTORCH="1", LIBTORCH="/ignored/by/torch-sys")
            self.assertIn(f"LIBTORCH_USE_PYTORCH: {torch}", said)
            make_python(self.active)
            self.refused("python3` has no torch", LIBTORCH_USE_PYTORCH="1")

    def test_active_environment(self):
        torch = make_libtorch(self.elsewhere / "site-packages" / "torch", "2.13.1")
        make_python(self.active, torch, TENSORBOARD)
        self.run_setup()
        self.assertEqual(self.installed, [])
        self.assertIn(f'LIBTORCH = "{torch}"', self.config.read_text())

    def test_active_environment_of_other_releases(self):
        torch = make_libtorch(self.elsewhere / "site-packages" / "torch", "2.12.0")
        make_python(self.active, torch, {**TENSORBOARD, "tensorboard": "2.20.0"})
        said = self.run_setup()
        self.assertEqual(self.installed, ["torch"])
        self.assertIn(str(self.venv / "bin" / "python"), said)

    def test_torch_without_libraries(self):
        torch = make_libtorch(self.elsewhere / "site-packages" / "torch")
        (torch / "lib" / "libtorch.so").unlink()
        make_python(self.active, torch, TENSORBOARD)
        self.run_setup()
        self.assertEqual(self.installed, ["torch"])


class UsersOwn(Checkout):
    def test_environment_that_has_all(self):
        torch = make_libtorch(self.venv / "lib" / "site-packages" / "torch")
        make_python(self.venv / "bin" / "python", torch, TENSORBOARD)
        self.run_setup()
        self.assertEqual(self.installed, [])
        self.assertFalse((self.venv / "libtorch").is_symlink())
        self.assertIn(f'LIBTORCH = "{torch}"', self.config.read_text())

    def test_environment_that_lacks_something(self):
        python = make_python(self.venv / "bin" / "python", None, TENSORBOARD)
        self.refused("was not made by set-up and lacks torch==2.13.0")
        self.assertEqual(self.installed, [])
        self.assertTrue(python.exists())

    def test_config_that_names_libtorch(self):
        self.config.parent.mkdir()
        self.config.write_text('[env]\nLIBTORCH = "/opt/libtorch"\n')
        self.run_setup()
        self.assertEqual(self.installed, ["tensorboard"])
        self.assertEqual(self.config.read_text(), '[env]\nLIBTORCH = "/opt/libtorch"\n')

    def test_config_that_names_none(self):
        self.config.parent.mkdir()
        self.config.write_text("# LIBTORCH is not set\n[build]\njobs = 2\n")
        self.refused(r"config.toml is your own and names no libtorch: add .*LIBTORCH = \{")
        self.assertEqual(self.installed, [])
        self.assertEqual(self.config.read_text(), "# LIBTORCH is not set\n[build]\njobs = 2\n")


class Tools(Checkout):
    def test_no_compiler(self):
        self.refused("'absent' is not on PATH.*install g", CXX="absent")
        self.assertEqual(self.installed, [])


if __name__ == "__main__":
    unittest.main()
