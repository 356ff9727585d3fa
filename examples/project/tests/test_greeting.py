from greeting import greet


def test_it_greets_in_green() -> None:
    assert greet("you") == "\x1b[32mHello, you!\x1b[39m"
