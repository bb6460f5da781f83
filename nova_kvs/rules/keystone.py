# SPDX-License-Identifier: Apache-2.0
"""Keystone: what belongs to a user, and who has a role in a project."""

from nova_kvs.rules import Rule

RULES = {
    "application_credential": Rule(("secret_hash", "user_id"), (("id",),)),
    "assignment": Rule(("actor_id", "target_id", "role_id"), (
        ("actor_id", "target_id"), ("target_id", "type"), ("role_id",))),
    "credential": Rule(("encrypted_blob", "user_id"), (
        ("user_id", "type"), ("project_id",))),
    # A list of users by name asks for those of other identity providers, too.
    "federated_user": Rule(("user_id", "display_name"), (
        ("display_name",),)),
    "local_user": Rule(("user_id", "name"), (("name",),)),
    "project": Rule(("is_domain", "parent_id"), (("name",),)),
    "trust": Rule(("trustor_user_id", "trustee_user_id"), (
        ("trustee_user_id",),)),
}
