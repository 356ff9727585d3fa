"""Environments: a bare worktree on tmpfs plus a combination's wheels, composed for one combination and thrown away."""
