"""Each test of a fault is in a row of the printed table."""

import ast
from pathlib import Path

from tests.faults.rows import ROWS

FOLDER = Path(__file__).parent


def test_rows_name_all_tests_of_faults() -> None:
    tests = {
        node.name
        for path in FOLDER.glob("test_*.py")
        if path != Path(__file__)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }
    assert tests == {test for row in ROWS.values() for test in row}, "add the test to a row of tests/faults/rows.py"
