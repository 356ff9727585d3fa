"""requirements x versions x interpreters -> Plan."""
