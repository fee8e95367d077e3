"""The journal of systemd: its entries in order, behind a cursor, as journalctl gives them."""
