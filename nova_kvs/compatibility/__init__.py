# SPDX-License-Identifier: Apache-2.0
"""What nova-kvs relies on in Nova, Placement, oslo.db and SQLAlchemy.

``private`` lists every private name of theirs that we touch. ``releases``
tells which of their functions are known, by fingerprints of their source
(``source``) that ``fingerprint`` made of each supported release.
"""
