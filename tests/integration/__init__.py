"""Tests of several parts with what is outside for real: git, uv, kernels' namespaces, fork servers, indexes."""
