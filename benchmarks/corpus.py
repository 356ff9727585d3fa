"""The packages whose verdicts ``benchmarks.truth`` compares, by what is hard about them."""

from __future__ import annotations

__all__ = ["EXCLUDE_NEWER", "PACKAGES", "VERSIONS"]

EXCLUDE_NEWER = "2026-11-01T00:00:00Z"
VERSIONS = "6"
"""Newest releases of each: with six Pythons, 2 000 combinations and some more."""

PURE = (
    "attrs",
    "click",
    "colorama",
    "decorator",
    "docutils",
    "more-itertools",
    "packaging",
    "pluggy",
    "pygments",
    "python-dateutil",
    "tabulate",
    "typing-extensions",
    "wcwidth",
)
EXTENSIONS = (  # bounds keep to releases with wheels for most Pythons: some releases build, few for long
    "cffi",
    "cryptography",
    "lxml",
    "markupsafe",
    "msgpack",
    "multidict",
    "numpy>=2.1,<2.3",
    "pydantic",
    "pyyaml",
    "simplejson",
    "wrapt",
)
NAMESPACES = (
    "backports.tarfile",
    "google-api-core",
    "google-auth",
    "googleapis-common-protos",
    "jaraco.context",
    "jaraco.functools",
    "jaraco.text",
    "ruamel.yaml",
    "sphinxcontrib-applehelp",
    "zope.event",
    "zope.interface<8",
)
HEAVY = (
    "aiohttp",
    "flask",
    "httpx",
    "ipython",
    "jinja2",
    "pytest",
    "requests",
    "sqlalchemy",
    "werkzeug",
)
RESTLESS = (  # patch, fork, start threads, trace or look around when they are imported
    "anyio",
    "apscheduler",
    "billiard",
    "coverage",
    "debugpy",
    "dill",
    "eventlet",
    "freezegun",
    "future",
    "gevent<26",
    "greenlet<3.2",
    "kombu",
    "multiprocess",
    "pexpect",
    "psutil",
    "setuptools<67",
    "six",
    "tornado",
    "tqdm",
    "trio",
    "twisted",
    "uvloop>=0.21",
    "watchdog",
)
PACKAGES = (*PURE, *EXTENSIONS, *NAMESPACES, *HEAVY, *RESTLESS)
