# SPDX-License-Identifier: Apache-2.0
"""Every private name of Nova, Placement, oslo.db and SQLAlchemy we touch.

Use one as ``getattr(owner, private.X)``. A release may lack any of them:

* names of Nova are looked up while the native module that needs them loads,
  which is left out if one is not there;
* names of oslo.db are tried before anything becomes native;
* names of SQLAlchemy are read where a statement is planned. If one is
  missing, the tables that the statement names are loaded whole.

The functions that native ones replace, many of them private, are in
``releases.json``.
"""


class Name(str):
    """A private attribute.

    :ivar owner: "module:qualified name" of what has it, or "module".
    """

    def __new__(cls, owner, name):
        made = super().__new__(cls, name)
        made.owner = owner
        return made


# Nova ----------------------------------------------------------------

DB_CONNECTION_TYPE = Name("nova.db.utils", "_db_connection_type")
DEFAULT_QUOTA_NAME = Name("nova.db.main.api", "_DEFAULT_QUOTA_NAME")
FROM_LEGACY_VALUES = Name("nova.db.main.api", "_from_legacy_values")
#: Until Nova 32: later it is public, in nova.db.utils.
GET_REGEXP_OPS = Name("nova.db.main.api", "_get_regexp_ops")
HANDLE_CONVERSIONS = Name(
    "nova.db.main.api", "_handle_objects_related_type_conversions")
MEMBERS = Name("nova.db.api.models:InstanceGroup", "_members")
POLICIES = Name("nova.db.api.models:InstanceGroup", "_policies")
SCRUB_EMPTY_STR_VALUES = Name("nova.db.main.api", "_scrub_empty_str_values")
SET_OR_VALIDATE_UUID = Name("nova.db.main.api", "_set_or_validate_uuid")
SHADOW_TABLE_PREFIX = Name("nova.db.main.api", "_SHADOW_TABLE_PREFIX")

# Placement ----------------------------------------------------------------

ADD_TRAITS = Name("placement.objects.resource_provider",
                  "_add_traits_to_provider")
BASE_EXCEPTION = Name("placement.exception", "_BaseException")

# oslo.db ----------------------------------------------------------------

ENGINEFACADE_CONTEXT = Name("nova.context:RequestContext",
                            "_enginefacade_context")
EXTRA_KEYS = Name("oslo_db.sqlalchemy.models:ModelBase", "_extra_keys")
FACTORY = Name("oslo_db.sqlalchemy.enginefacade:_TransactionContextManager",
               "_factory")
FILTERS = Name("oslo_db.sqlalchemy.exc_filters", "_registry")

# SQLAlchemy ----------------------------------------------------------------

ALL_SELECTED_COLUMNS = Name("sqlalchemy.sql.selectable:Select",
                            "_all_selected_columns")
ANONYMOUS_LABEL = Name("sqlalchemy.sql.elements", "_anonymous_label")
BIND_PROCESSORS = Name("sqlalchemy.sql.compiler:SQLCompiler",
                       "_bind_processors")
#: Overridden, not read.
COMPOSE_SELECT_BODY = Name("sqlalchemy.sql.compiler:SQLCompiler",
                           "_compose_select_body")
CREATE_RAW_SELECT = Name("sqlalchemy.sql.selectable:Select",
                         "_create_raw_select")
DICT_PARAMETERS = Name("sqlalchemy.sql.dml:DMLState", "_dict_parameters")
DISTINCT = Name("sqlalchemy.sql.selectable:Select", "_distinct")
DISTINCT_ON = Name("sqlalchemy.sql.selectable:Select", "_distinct_on")
EXPANDED_PARAMETERS = Name(
    "sqlalchemy.engine.default:DefaultExecutionContext",
    "_expanded_parameters")
EXTRA_FROMS = Name("sqlalchemy.sql.dml:UpdateDMLState", "_extra_froms")
FETCH_CLAUSE = Name("sqlalchemy.sql.selectable:Select", "_fetch_clause")
FOR_UPDATE_ARG = Name("sqlalchemy.sql.selectable:Select", "_for_update_arg")
#: Overridden, not read.
GET_TABLE_PRAGMA = Name("sqlalchemy.dialects.sqlite.base:SQLiteDialect",
                        "_get_table_pragma")
#: Overridden, not read.
GET_TABLE_SQL = Name("sqlalchemy.dialects.sqlite.base:SQLiteDialect",
                     "_get_table_sql")
HAS_BIND_EXPRESSION = Name("sqlalchemy.types:TypeEngine",
                           "_has_bind_expression")
HAS_MULTI_PARAMETERS = Name("sqlalchemy.sql.dml:DMLState",
                            "_has_multi_parameters")
GROUP_BY_CLAUSES = Name("sqlalchemy.sql.selectable:Select",
                        "_group_by_clauses")
HAVING_CRITERIA = Name("sqlalchemy.sql.selectable:Select",
                       "_having_criteria")
LABEL_REFERENCE = Name("sqlalchemy.sql.elements", "_label_reference")
TEXT_REFERENCE = Name(
    "sqlalchemy.sql.elements", "_textual_label_reference")
LIMIT_CLAUSE = Name("sqlalchemy.sql.selectable:Select", "_limit_clause")
OFFSET_CLAUSE = Name("sqlalchemy.sql.selectable:Select", "_offset_clause")
ORDER_BY_CLAUSES = Name("sqlalchemy.sql.selectable:Select",
                        "_order_by_clauses")
PROXIES = Name("sqlalchemy.sql.elements:ColumnElement", "_proxies")
WHERE_CRITERIA = Name("sqlalchemy.sql.selectable:Select", "_where_criteria")


def function(owner, name):
    """Return a private function.

    :raises AttributeError: if it is not there, or something else is.
    """
    found = getattr(owner, name)
    if not callable(found):
        raise AttributeError("%s is no function" % name)
    return found


def all_names():
    """Return every Name of this module: constant -> Name."""
    return {constant: name for constant, name in globals().items()
            if isinstance(name, Name)}
