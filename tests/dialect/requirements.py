# SPDX-License-Identifier: Apache-2.0
"""What the dialect has of what SQLAlchemy's compliance suite asks about.

Open are the features that the suite thinks rare and SQLite has; closed
what the dialect, or SQLite, has not, each with its reason.
"""

from sqlalchemy.testing import exclusions
from sqlalchemy.testing import requirements

_open = property(lambda self: exclusions.open())


def _closed(reason):
    """Return a requirement that is not met.

    :param reason: why not.
    """
    return property(
        lambda self: exclusions.skip_if(lambda config: True, reason))


_NO_SCHEMAS = "a database has one schema, the main one"
_NO_TEMPORARY = "a workspace keeps nothing beyond its transaction"
_NO_SQLITE = "SQLite has no syntax for it"


class Requirements(requirements.SuiteRequirements):
    """The features of the dialect."""

    # What SQLite has.
    ctes = _open
    ctes_with_update_delete = _open
    datetime_historic = _open
    date_historic = _open
    datetime_literals = _closed("SQLite has text for dates")
    delete_returning = _open
    insert_returning = _open
    update_returning = _open
    foreign_key_constraint_reflection = _open
    foreign_key_constraint_option_reflection_ondelete = _open
    insert_from_select = _open
    intersect = _open
    except_ = _open
    multivalues_inserts = _open
    primary_key_constraint_reflection = _open
    implicitly_named_constraints = _closed("SQLite gives no names")
    recursive_fk_cascade = _closed("foreign keys are not enforced")
    reflect_table_options = _open
    reflects_pk_names = _open
    savepoints = _open
    time_microseconds = _open
    tuple_in = _open
    tuple_in_w_empty = _open
    unique_constraint_reflection = _open
    unicode_ddl = _open
    update_from = _open
    views = _open
    window_functions = _open
    json_type = _open
    json_array_indexes = _open
    reflects_json_type = _open
    computed_columns = _open
    computed_columns_stored = _open
    computed_columns_virtual = _open
    computed_columns_default_persisted = _closed(_NO_SQLITE)
    computed_columns_reflect_persisted = _open
    check_constraint_reflection = _open
    inline_check_constraint_reflection = _open
    # Isolation.
    independent_connections = _open
    isolation_level = _open
    autocommit = _open

    def get_isolation_levels(self, config):
        return {"default": "READ COMMITTED",
                "supported": ["READ COMMITTED", "AUTOCOMMIT", "SERIALIZABLE"]}

    # What there is not.
    schemas = _closed(_NO_SCHEMAS)
    cross_schema_fk_reflection = _closed(_NO_SCHEMAS)
    temporary_tables = _closed(_NO_TEMPORARY)
    temp_table_names = _closed(_NO_TEMPORARY)
    temp_table_reflection = _closed(_NO_TEMPORARY)
    temp_table_reflect_indexes = _closed(_NO_TEMPORARY)
    has_temp_table = _closed(_NO_TEMPORARY)
    temporary_views = _closed(_NO_TEMPORARY)
    create_temp_table_as = _closed(_NO_TEMPORARY)
    parens_in_union_contained_select_w_limit_offset = _closed(_NO_SQLITE)
    parens_in_union_contained_select_wo_limit_offset = _closed(_NO_SQLITE)
