"""The API description is complete and true: a generator of requests finds no answer that it does not describe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.services import running, settings
from zkmargin.service.http.app import create_app
from zkmargin.service.http.problems import MEDIA_TYPE, PROBLEMS


def test_every_call_is_described_with_examples_of_its_problems() -> None:
    tree = create_app(settings()).openapi()
    seen: set[str] = set()
    for path, calls in tree["paths"].items():
        for method, call in calls.items():
            where = f"{method} {path}"
            assert call["operationId"] not in seen, where
            seen.add(call["operationId"])
            assert call["tags"], where
            assert call["description"], where
            for status, answer in call["responses"].items():
                if status == "200":
                    continue
                assert set(answer["content"]) == {MEDIA_TYPE}, where
                examples = answer["content"][MEDIA_TYPE]["examples"]
                assert all(str(PROBLEMS[code].status) == status for code in examples), where
                assert all(e["value"]["code"] == code for code, e in examples.items()), where
            if "requestBody" in call:
                assert call["requestBody"]["content"]["application/json"]["example"], where
                assert {"400", "413", "415", "422"} <= set(call["responses"]), where
    assert "HTTPValidationError" not in str(tree)


@pytest.mark.slow
def test_generated_requests_find_nothing_undescribed(tmp_path: Path) -> None:
    with running(tmp_path / "log") as (server, url):
        # A schema cannot say which hexadecimal digits are points of a curve, so documents of the right form may be
        # refused: that one check is left out.
        command = [
            str(Path(sys.executable).parent / "schemathesis"), "run", f"{url}/v1/openapi.json", "--seed", "1",
            "--max-examples", "5", "--phases", "examples,fuzzing", "--exclude-checks", "positive_data_acceptance",
            "--no-color",
        ]  # fmt: skip
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout
        assert server.poll() is None
        log = (tmp_path / "log").read_text()
    assert '"status": 500' not in log
    assert '"event": "exception"' not in log
