"""The authorization server of some interop tests: django-oauth-toolkit on a loopback port.

    python app.py DIRECTORY PORT

sets up a database in DIRECTORY and becomes a gunicorn that serves. The issuer is
http://127.0.0.1:PORT/o; tokens are opaque. Clients, each with "<id>-secret":
  svc  client credentials      rs  asks about tokens      web  password, for alice
"""
import ctypes
import os
import secrets
import sys

from django.conf import settings

if __name__ == "__main__":
    os.environ["DOT_DIRECTORY"], os.environ["DOT_PORT"] = sys.argv[1:]

ISSUER = f"http://127.0.0.1:{os.environ['DOT_PORT']}/o"
DATABASE = os.path.join(os.environ["DOT_DIRECTORY"], "db.sqlite")

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATABASE}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "oauth2_provider",
    ],
    OAUTH2_PROVIDER={
        "ACCESS_TOKEN_EXPIRE_SECONDS": 3600,
        "OIDC_ISS_ENDPOINT": ISSUER,
        "SCOPES": {"read": "Read", "write": "Write", "introspection": "Ask about tokens"},
    },
    ROOT_URLCONF=__name__,
    SECRET_KEY=secrets.token_hex(),
    USE_TZ=True,
)

import django

django.setup()

from django.core.wsgi import get_wsgi_application
from django.urls import include, path
from oauth2_provider import urls

urlpatterns = [path("o/", include("oauth2_provider.urls")), *urls.metadata_urlpatterns]


def set_up():
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from oauth2_provider.models import Application

    call_command("migrate", verbosity=0)
    alice = User.objects.create_user("alice", password="alice-password")
    for name, grant, user in [
        ("svc", Application.GRANT_CLIENT_CREDENTIALS, None),
        ("rs", Application.GRANT_CLIENT_CREDENTIALS, None),
        ("web", Application.GRANT_PASSWORD, alice),
    ]:
        Application.objects.create(
            authorization_grant_type=grant,
            client_id=name,
            client_secret=f"{name}-secret",
            client_type=Application.CLIENT_CONFIDENTIAL,
            name=name,
            user=user,
        )


if __name__ == "__main__":
    # Started again on the same directory, it is the same server.
    if not os.path.exists(DATABASE):
        set_up()
    gunicorn = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--threads", "4"]
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    os.execv(sys.executable, [*gunicorn, "--bind", f"127.0.0.1:{sys.argv[2]}", "app:application"])

# Gunicorn serves from a child process, which is not to outlive it: PR_SET_PDEATHSIG, SIGKILL.
ctypes.CDLL(None).prctl(1, 9)
application = get_wsgi_application()
