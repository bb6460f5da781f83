# SPDX-License-Identifier: Apache-2.0
"""The parts of Nova, Placement, oslo.db and SQLAlchemy that we rely on.

``private`` lists every private name of theirs that we touch. ``releases``
tells which of their functions are known, by fingerprints of their source
(``source``) that ``fingerprint`` made of each supported release.
"""
