"""What is kept on this machine besides the state of vaults: places, configuration, credentials, locks."""
