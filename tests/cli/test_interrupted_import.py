"""Ctrl-C while the command line loads its modules."""

import subprocess
import sys

LOADING = """
import sys, chainrule

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "chainrule.cli.doctor":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
from chainrule.cli import main
"""


def test_is_one_line():
    command = [sys.executable, "-c", LOADING]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 130
    assert done.stderr.startswith("chainrule: [interrupted] got Ctrl-C before there was a result; ")
    assert done.stderr.count("\n") == 1
