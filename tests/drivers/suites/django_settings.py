"""Settings of Django's tests: two databases behind one address."""

import os


def _database(name):
    return {
        "ENGINE": "django.db.backends.postgresql", "NAME": name, "USER": os.environ["PGUSER"],
        "HOST": os.environ["PGHOST"], "PORT": os.environ["PGPORT"],
    }


DATABASES = {"default": _database("django"), "other": _database("other")}
SECRET_KEY = "tests only"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
TEST_RUNNER = "record_django.Runner"
