"""What a run leaves on disk: plan, provisions, ledger, telemetry."""
