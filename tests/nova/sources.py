# SPDX-License-Identifier: Apache-2.0
"""Gets the source tree whose tests are run.

Nova's wheel ships ``nova.tests`` but not ``doc/api_samples``, which the API
sample tests read, so the tests run from the source distribution of exactly
the release that is installed.
"""

import importlib.metadata
import os
import pathlib
import subprocess
import sys
import tarfile

from tests.nova import suites

DISTRIBUTIONS = {
    'nova': 'nova', 'placement': 'openstack-placement',
    **{name: name for name in suites.SERVICES}}


def installed_version(project: str) -> str:
    """Tell which release of a project this environment has.

    :param project: ``nova`` or ``placement``.
    :raises importlib.metadata.PackageNotFoundError: if there is none.
    """
    return importlib.metadata.version(DISTRIBUTIONS[project])


def source_tree(project: str, directory: pathlib.Path) -> pathlib.Path:
    """Return the unpacked source distribution of the installed release.

    Of Nova it is the checkout that the variable NOVA_SRC names, if it is set:
    what is installed should be that checkout then.

    :param project: ``nova`` or ``placement``.
    :param directory: where downloads are kept; an existing tree is reused.
    :returns: the directory that holds the project's top package.
    :raises subprocess.CalledProcessError: if pip cannot download it.
    """
    checkout = os.environ.get('NOVA_SRC')
    if checkout and project == 'nova':
        return pathlib.Path(checkout).resolve()
    version = installed_version(project)
    target = directory / f'{project}-{version}'
    if target.is_dir():
        return target
    download = directory / f'download-{project}-{version}'
    subprocess.run(
        [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps',
         '--no-binary', ':all:', '--dest', str(download),
         f'{DISTRIBUTIONS[project]}=={version}'],
        check=True)
    archive, = download.glob('*.tar.gz')
    with tarfile.open(archive) as tar:
        tar.extractall(download, filter='data')
    unpacked, = (path for path in download.iterdir() if path.is_dir())
    unpacked.rename(target)
    return target
