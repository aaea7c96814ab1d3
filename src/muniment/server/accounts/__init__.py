"""People and their machines: accounts, devices, enrolment codes."""
