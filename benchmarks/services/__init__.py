# SPDX-License-Identifier: Apache-2.0
"""Lists, counts and look-ups of other services, at growing sizes."""
