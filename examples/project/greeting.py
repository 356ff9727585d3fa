"""A module that depends on colorama."""

from colorama import Fore


def greet(name: str) -> str:
    """Return a greeting in green."""
    return f"{Fore.GREEN}Hello, {name}!{Fore.RESET}"
