"""Whatever happens to logs and to the shipper, lines are stored as docs/use/ship.md says."""

import pytest
from hypothesis.stateful import run_state_machine_as_test
from support.ship_machine import ShipMachine


@pytest.mark.timeout(3600)
def test_lines_are_stored_as_the_table_says_whatever_happens_to_logs_and_shipper() -> None:
    run_state_machine_as_test(ShipMachine)
