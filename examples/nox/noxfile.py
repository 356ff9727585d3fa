"""``nox -s compat`` runs the matrix; what stands behind ``--`` goes to pytest: ``nox -s compat -- -n 8``."""

import os

import nox

SPIP = os.environ.get("SPIP_REQUIREMENT", "pytest-spip")


@nox.session
def compat(session):
    """Try every release of what this project stands on."""
    session.install(SPIP)
    session.run("pytest", "--spip-matrix=colorama>=0.4", "--spip-versions=minor", *session.posargs or ("-n", "auto"))
