"""Workers of dask that the tests of this folder share; without dask they are skipped."""

import os

import pytest

from skfem_ml.lod.blocks import local_client


@pytest.fixture(scope="session")
def client():
    pytest.importorskip("distributed", reason='dask.distributed is not installed: pip install "skfem-ml[distributed]"')
    with local_client(2) as client:
        yield client


@pytest.fixture
def pids(client):
    """The processes of the workers, both of them: one that was killed is started again."""
    client.wait_for_workers(2)
    return list(client.run(os.getpid).values())
