"""The table of what was compared, printed at the end of the run."""

import pytest

ROWS = pytest.StashKey[list]()


@pytest.fixture(scope="session")
def verdicts(pytestconfig):
    """Rows (what, ours, theirs, difference, allowed) of the table."""
    return pytestconfig.stash.setdefault(ROWS, [])


def pytest_terminal_summary(terminalreporter, config):
    rows = config.stash.get(ROWS, [])
    if not rows:
        return
    terminalreporter.section("beside other programs")
    terminalreporter.write_line(
        f"{'compared':50s} {'ours':>9s} {'theirs':>9s} {'apart':>9s}  allowed"
    )
    for what, ours, theirs, apart, allowed in rows:
        terminalreporter.write_line(
            f"{what:50s} {ours:9.4f} {theirs:9.4f} {apart:9.1e}  {allowed:g}"
        )
