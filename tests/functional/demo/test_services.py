# SPDX-License-Identifier: Apache-2.0
"""The demo with a real Keystone and Glance, which have to be installed."""

import pytest
import sqlalchemy

from tests import fixtures
from tests.functional.demo import test_demo


@pytest.mark.slow
def test_tokens_and_an_image_on_the_same_store(tmp_path):
    with fixtures.RedisServerFixture() as server:
        with test_demo.DemoProcess(
                tmp_path, "--services", "--servers", "10",
                "--url", server.url("demo")) as demo:
            assert demo.finish() == 0, demo.lines
        assert "10 of 10 servers ACTIVE" in demo.lines
        engine = sqlalchemy.create_engine(server.url("demo_glance"))
        with engine.connect() as connection:
            assert connection.execute(sqlalchemy.text(
                "SELECT status FROM images")).fetchall() == [("active",)]
        engine.dispose()
