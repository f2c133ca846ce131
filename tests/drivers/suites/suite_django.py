"""Owns the tests of Django, from its source distribution."""

import os

from suite import PYTHON, Suite

# Those that look at the database: the backend itself, transactions, and the ORM in breadth.
LABELS = """
backends transactions transaction_hooks postgres_tests basic queries select_for_update
introspection inspectdb schema raw_query bulk_create delete update constraints get_or_create
lookup aggregation expressions expressions_case expressions_window db_functions db_utils
distinct_on_fields force_insert_update fixtures multiple_database prefetch_related timezones
indexes model_fields custom_pk save_delete_hooks async migrations migrate_signals
test_utils test_runner datetimes dates or_lookups nested_foreign_keys many_to_many many_to_one
one_to_one m2m_through sessions_tests cache servers
""".split()


class Django(Suite):
    """Through psycopg 3."""

    name = "django"
    package = "Django"
    chosen = f"with psycopg 3: {' '.join(LABELS)}"
    # Its test databases are made beforehand and kept, because a pooler holds on to connections.
    databases = ["postgres", "django", "other", "test_django", "test_other"]

    def folder(self):
        return os.path.join(super().folder(), "tests")

    def arguments(self, only):
        # Failures to set up a class are called `setUpClass (app.module.Class)`: never run alone.
        labels = LABELS if only is None else sorted({test.split(".")[0] for test in only})
        return [PYTHON, "runtests.py", "--settings=django_settings", "--parallel=1", "--noinput", "--keepdb",
                *labels]
