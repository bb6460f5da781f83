# SPDX-License-Identifier: Apache-2.0
"""Write the golden files anew: ``python -m tests.unit.golden``.

Only where stored bytes change on purpose, which is a new format or one that
earlier versions of the code can live with.
"""

from tests.unit.golden import files
from tests.unit.golden import scenarios

for scenario in scenarios.SCENARIOS:
    path = files.path(scenario)
    path.write_text(files.text(scenario), encoding="ascii")
    print(path)
