"""Whatever happens to logs and to the shipper, lines are stored as docs/use/ship.md says."""

import pytest
from support.ship_machine import ShipMachine

TestShipMachine = ShipMachine.TestCase
TestShipMachine.pytestmark = [pytest.mark.timeout(3600)]
